import FanfareTransport
import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOWebSocket

/// The handshake of RFC 6455: the request goes its way through the router, NIO computes the answer, then only our own
/// handler stays in the pipeline.
final class SocketUpgrader: HTTPServerProtocolUpgrader {
    /// The request is answered otherwise.
    struct Refused: Error {}

    let supportedProtocol = "websocket"
    let requiredUpgradeHeaders: [String] = []
    private let handshake = NIOWebSocketServerUpgrader(
        shouldUpgrade: { channel, _ in channel.eventLoop.makeSucceededFuture(HTTPHeaders()) },
        upgradePipelineHandler: { channel, _ in channel.eventLoop.makeSucceededVoidFuture() }
    )

    func buildUpgradeResponse(
        channel: any Channel,
        upgradeRequest: HTTPRequestHead,
        initialResponseHeaders: HTTPHeaders
    ) -> EventLoopFuture<HTTPHeaders> {
        guard case .success(let request) = Handshake.request(of: upgradeRequest, peer: Peer.text(channel)),
            let handler = try? channel.pipeline.syncOperations.handler(type: HTTPHandler.self)
        else {
            return channel.eventLoop.makeFailedFuture(Refused())
        }
        let accepted = channel.eventLoop.makePromise(of: HTTPFields.self)
        handler.begin(request, accepted)
        let handshake = NIOLoopBound(handshake, eventLoop: channel.eventLoop)
        let serverName = handler.worker.serverName
        return accepted.futureResult.flatMap { fields in
            handshake.value.buildUpgradeResponse(
                channel: channel,
                upgradeRequest: upgradeRequest,
                initialResponseHeaders: initialResponseHeaders
            ).map { answer in
                var headers = Self.merge(fields, into: answer)
                if let serverName { headers.replaceOrAdd(name: "server", value: serverName) }
                return headers
            }
        }
    }

    /// Adds a consumer's and its middleware's headers to those of the handshake. NIO passes on none of its own accord.
    private static func merge(_ fields: HTTPFields, into handshake: HTTPHeaders) -> HTTPHeaders {
        var headers = handshake
        for field in fields where !reserved.contains(field.name) {
            headers.add(name: field.name.rawName, value: field.value)
        }
        return headers
    }

    /// What the handshake itself says, and what would give its answer a body.
    private static let reserved: Set<HTTPField.Name> = [
        .connection, .upgrade, .secWebSocketAccept, .contentLength, .transferEncoding,
    ]

    func upgrade(context: ChannelHandlerContext, upgradeRequest: HTTPRequestHead) -> EventLoopFuture<Void> {
        context.eventLoop.makeCompletedFuture {
            let pipeline = context.pipeline.syncOperations
            let stranger = try pipeline.handler(type: HTTPHandler.self)
            guard let exchange = stranger.takeExchange() else { throw Refused() }
            pipeline.removeHandler(stranger, promise: nil)
            let writer =
                stranger.isEncrypted
                ? SocketWriter(channel: context.channel, isTransformed: true)
                : (context.channel as? PipelineChannel)?.takeWriter()
            guard let writer, let socket = exchange.attach(writer) else { throw Refused() }
            try pipeline.addHandler(SocketHandler(socket: socket, staysInPipeline: stranger.isEncrypted))
        }
    }
}

/// Passes a socket what its pipeline reads: for ever over TLS, else what came behind the handshake, until the pipeline is
/// done and the socket takes over the bare connection.
final class SocketHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let socket: Socket
    /// When it stays in the pipeline.
    private let reader: PipelineReader?

    init(socket: Socket, staysInPipeline: Bool) {
        self.socket = socket
        reader =
            staysInPipeline
            ? PipelineReader(on: socket.worker.eventLoop, socket) { [unowned socket] in socket.isBehind = $0 } : nil
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard reader == nil, event is HTTPServerUpgradeEvents, let channel = context.channel as? PipelineChannel
        else {
            return context.fireUserInboundEventTriggered(event)
        }
        // When NIO has passed on what it kept meanwhile.
        socket.worker.onNextTurn { [socket] in channel.release(to: socket) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        guard let reader else { return bytes.withUnsafeReadableBytes { socket.received($0) } }
        reader.received(bytes)
    }

    func channelInactive(context: ChannelHandlerContext) {
        reader?.finish()
        socket.disconnected()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        socket.abandon(.abnormal)
    }
}
