package import FanfareModel
import Glibc
package import Logging
import NIOCore
import NIOHTTP1
import NIOPosix

/// What the operations port answers.
package struct OpsResponse: Sendable {
    /// The HTTP status code.
    package var status: Int
    package var contentType: String
    package var body: String

    package init(status: Int, contentType: String, body: String) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    /// `value` as one line of JSON.
    package static func json(_ status: Int = 200, _ value: MessageValue) -> OpsResponse {
        OpsResponse(status: status, contentType: "application/json", body: JSONText.render(value) + "\n")
    }

    /// The numbers of a program for Prometheus.
    package static func metrics(_ metrics: Metrics) -> OpsResponse {
        OpsResponse(status: 200, contentType: Metrics.contentType, body: metrics.text)
    }
}

/// The operations port: a small HTTP/1.1 server for probes, scrapers and people with `curl`.
///
/// It has a thread of its own, so that a busy program still says how it is. A connection carries one request and
/// is closed; nothing about it can grow.
package final class OpsServer: Sendable {
    /// Answers one path. Runs on any thread; an answer after ``connectionSeconds`` reaches nobody.
    package typealias Route = @Sendable () async -> OpsResponse

    /// Connections at once. More: the newest is closed.
    package static let connections = 64
    /// From the first byte to the last of one connection. Longer: closed.
    package static let connectionSeconds = 10
    /// Bytes of all header fields of a request, and of one. More: 431.
    package static let headerBytes = 16_384
    /// Header fields of a request. More: 431.
    package static let headerFields = 64

    /// The port as bound.
    package let port: Int
    private let group: MultiThreadedEventLoopGroup
    private let channel: any Channel

    private init(port: Int, group: MultiThreadedEventLoopGroup, channel: any Channel) {
        self.port = port
        self.group = group
        self.channel = channel
    }

    /// Listens and answers until ``stop()``.
    ///
    /// - Parameters:
    ///   - host: Address or name to listen on.
    ///   - port: 0 lets the system choose.
    ///   - routes: What to answer, by path; other paths get 404.
    ///   - logger: Told about failures of single connections, at debug.
    /// - Throws: `ProgramFailure(.configuration)` when the address cannot be listened on.
    package static func start(
        host: String,
        port: Int,
        routes: [String: Route],
        logger: Logger
    ) async throws(ProgramFailure) -> OpsServer {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let open = NIOLoopBoundBox.makeBoxSendingValue(0, as: Int.self, eventLoop: loop)
        let bootstrap = ServerBootstrap(group: loop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                loop.makeCompletedFuture {
                    guard open.value < connections else { throw ChannelError.ioOnClosedChannel }
                    open.value += 1
                    channel.closeFuture.assumeIsolated().whenComplete { _ in open.value -= 1 }
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline(
                        withPipeliningAssistance: false,
                        withErrorHandling: false,
                        withEncoderConfiguration: .init(),
                        withDecoderLimitConfiguration: headerLimits
                    )
                    try channel.pipeline.syncOperations.addHandler(OpsConnection(routes: routes, logger: logger))
                }
            }
        do {
            let channel = try await bootstrap.bind(host: host, port: port).get()
            return OpsServer(port: channel.localAddress?.port ?? port, group: group, channel: channel)
        } catch {
            try? await group.shutdownGracefully()
            let reason = (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)"
            let address = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
            throw ProgramFailure(
                .configuration,
                "cannot listen for operations on \(address): \(reason); choose another --ops or stop what has it"
            )
        }
    }

    /// Stops listening and closes every connection.
    package func stop() async {
        try? await channel.close().get()
        try? await group.shutdownGracefully()
    }

    private static var headerLimits: NIOHTTPDecoderLimitConfiguration {
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = headerBytes
        limits.maxHeaderListSize = headerBytes
        limits.maxHeaderFieldCount = headerFields
        return limits
    }
}

/// One connection: one request, one answer, then the end.
private final class OpsConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let routes: [String: OpsServer.Route]
    private let logger: Logger
    private var isAnswered = false
    private var deadline: Scheduled<Void>?

    init(routes: [String: OpsServer.Route], logger: Logger) {
        self.routes = routes
        self.logger = logger
    }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: .seconds(Int64(OpsServer.connectionSeconds))) {
            channel.close(promise: nil)
        }
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(let head) = unwrapInboundIn(data), !isAnswered else { return }
        isAnswered = true
        guard head.method == .GET || head.method == .HEAD else {
            return write(.json(405, ["error": "only GET and HEAD are answered here"]), isHead: false, context)
        }
        let isHead = head.method == .HEAD
        let path = String(head.uri.prefix { $0 != "?" })
        guard let route = routes[path] else {
            let known = routes.keys.sorted().map { MessageValue.string($0) }
            return write(.json(404, ["error": "nothing is here", "paths": .array(known)]), isHead: isHead, context)
        }
        let answer = context.eventLoop.makePromise(of: OpsResponse.self)
        answer.completeWithTask { await route() }
        answer.futureResult.assumeIsolated().whenSuccess { self.write($0, isHead: isHead, context) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        logger.debug("operations connection failed", metadata: ["error": "\(error)"])
        guard let problem = error as? HTTPParserError, !isAnswered else { return context.close(promise: nil) }
        isAnswered = true
        let status = problem == .headerOverflow ? 431 : 400
        write(
            .json(status, ["error": .string("this port cannot read the request: \(problem)")]),
            isHead: false,
            context
        )
    }

    /// Writes the answer and ends our side. What the peer still sends is read and dropped until it closes too or
    /// the deadline comes: closing with unread bytes would reset the connection and take the answer with it.
    private func write(_ response: OpsResponse, isHead: Bool, _ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        let body = ByteBuffer(string: response.body)
        let fields: HTTPHeaders = [
            "content-type": response.contentType,
            "content-length": String(body.readableBytes),
            "cache-control": "no-store",
            "connection": "close",
        ]
        let head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: response.status), headers: fields)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if !isHead { context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        context.close(mode: .output, promise: nil)
    }
}
