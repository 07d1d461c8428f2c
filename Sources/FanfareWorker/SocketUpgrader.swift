import FanfareTransport
import NIOCore
import NIOHTTP1
import NIOWebSocket

/// The handshake of RFC 6455: NIO computes the answer, then only our own handler stays in the pipeline.
final class SocketUpgrader: HTTPServerProtocolUpgrader {
    /// The site answers this request otherwise.
    struct Refused: Error {}

    let supportedProtocol = "websocket"
    let requiredUpgradeHeaders: [String] = []
    private let worker: WorkerLoop
    private let handshake = NIOWebSocketServerUpgrader(
        shouldUpgrade: { channel, _ in channel.eventLoop.makeSucceededFuture(HTTPHeaders()) },
        upgradePipelineHandler: { channel, _ in channel.eventLoop.makeSucceededVoidFuture() }
    )

    init(worker: WorkerLoop) {
        self.worker = worker
    }

    func buildUpgradeResponse(
        channel: any Channel,
        upgradeRequest: HTTPRequestHead,
        initialResponseHeaders: HTTPHeaders
    ) -> EventLoopFuture<HTTPHeaders> {
        guard case .upgrade = worker.answer(upgradeRequest) else {
            return channel.eventLoop.makeFailedFuture(Refused())
        }
        return handshake.buildUpgradeResponse(
            channel: channel,
            upgradeRequest: upgradeRequest,
            initialResponseHeaders: initialResponseHeaders
        )
    }

    func upgrade(context: ChannelHandlerContext, upgradeRequest: HTTPRequestHead) -> EventLoopFuture<Void> {
        context.eventLoop.makeCompletedFuture {
            // Decided when the response was built; the number of sockets since then does not matter any more.
            guard case .upgrade(let route, let request) = worker.site.answer(upgradeRequest, hasRoom: true) else {
                throw Refused()
            }
            let pipeline = context.pipeline.syncOperations
            let stranger = try pipeline.handler(type: HTTPHandler.self)
            pipeline.removeHandler(stranger, promise: nil)
            let writer = SocketWriter(channel: context.channel)
            let socket = worker.open(writer, remote: Self.remote(context.channel), route, request)
            try pipeline.addHandler(SocketHandler(socket: socket))
        }
    }

    private static func remote(_ channel: any Channel) -> String {
        guard let address = channel.remoteAddress, let host = address.ipAddress, let port = address.port else {
            return ""
        }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

/// The one handler of an established socket: bytes in, and the end.
final class SocketHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let socket: Socket

    init(socket: Socket) {
        self.socket = socket
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        unwrapInboundIn(data).withUnsafeReadableBytes { socket.received($0) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        socket.disconnected()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        socket.abandon(.abnormal)
    }
}
