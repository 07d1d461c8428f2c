import FanfareModel
import Logging
import NIOCore
import NIOHTTP1

/// One connection: one request, one answer, then the end.
final class OpsConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// What all connections of a port share; on its loop.
    final class Shared {
        let routes: [String: OpsServer.Route]
        let refusals: OpsRefusals
        let logger: Logger
        var isLoopbackListener = false
        var connections = 0
        var streams = 0

        init(routes: [String: OpsServer.Route], refusals: OpsRefusals, logger: Logger) {
            self.routes = routes
            self.refusals = refusals
            self.logger = logger
        }
    }

    private let shared: Shared
    private var isAnswered = false
    private var deadline: Scheduled<Void>?
    /// What goes on after the head of a stream.
    private var streaming: Task<Void, Never>?
    private var heartbeat: RepeatedTask?

    init(_ shared: Shared) {
        self.shared = shared
    }

    func channelActive(context: ChannelHandlerContext) {
        close(context, in: OpsServer.connectionSeconds)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        heartbeat?.cancel()
        if let streaming {
            streaming.cancel()
            shared.streams -= 1
        }
        streaming = nil
        context.fireChannelInactive()
    }

    private func close(_ context: ChannelHandlerContext, in seconds: Int) {
        deadline?.cancel()
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: .seconds(Int64(seconds))) { channel.close(promise: nil) }
    }

    // MARK: The request

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(let head) = unwrapInboundIn(data), !isAnswered else { return }
        isAnswered = true
        guard head.method == .GET || head.method == .HEAD else {
            return write(.json(405, ["error": "only GET and HEAD are answered here"]), isHead: false, context)
        }
        let isHead = head.method == .HEAD
        let request = OpsRequest(
            target: head.uri,
            fields: head.headers.map { ($0.name, $0.value) },
            peer: context.remoteAddress?.ipAddress ?? "",
            isLoopbackListener: shared.isLoopbackListener
        )
        guard let route = shared.routes[request.path] else {
            let known = shared.routes.keys.sorted().map { MessageValue.string($0) }
            return write(.json(404, ["error": "nothing is here", "paths": .array(known)]), isHead: isHead, context)
        }
        let answer = context.eventLoop.makePromise(of: OpsResponse.self)
        answer.completeWithTask { await route(request) }
        answer.futureResult.assumeIsolated().whenSuccess { self.write($0, isHead: isHead, context) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        shared.logger.debug("operations connection failed", metadata: ["error": "\(error)"])
        guard let problem = error as? HTTPParserError, !isAnswered else { return context.close(promise: nil) }
        isAnswered = true
        shared.refusals.count(.malformed)
        let status = problem == .headerOverflow ? 431 : 400
        write(
            .json(status, ["error": .string("this port cannot read the request: \(problem)")]),
            isHead: false,
            context
        )
    }

    // MARK: The answer

    private func write(_ response: OpsResponse, isHead: Bool, _ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        guard let stream = response.stream, !isHead else { return writeWhole(response, isHead: isHead, context) }
        guard shared.streams < OpsServer.streams else {
            shared.refusals.count(.streams)
            let text = "\(OpsServer.streams) streams are open, as many as this port serves; close one"
            return writeWhole(.json(503, ["error": .string(text)]), isHead: false, context)
        }
        shared.streams += 1
        close(context, in: OpsServer.streamSeconds)
        context.writeAndFlush(wrapOutboundOut(.head(head(of: response))), promise: nil)
        let channel = context.channel
        streaming = Task {
            await stream(OpsStream(channel: channel))
            try? await channel.writeAndFlush(HTTPServerResponsePart.end(nil))
            try? await channel.close()
        }
        beat(context)
    }

    /// Writes the answer and ends our side. What the peer still sends is read and dropped until it closes too or
    /// the deadline comes: closing with unread bytes would reset the connection and take the answer with it.
    private func writeWhole(_ response: OpsResponse, isHead: Bool, _ context: ChannelHandlerContext) {
        let body = ByteBuffer(string: response.body)
        var head = head(of: response)
        if response.stream == nil { head.headers.replaceOrAdd(name: "content-length", value: "\(body.readableBytes)") }
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if !isHead { context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        context.close(mode: .output, promise: nil)
    }

    private func head(of response: OpsResponse) -> HTTPResponseHead {
        var fields = HTTPHeaders([("content-type", response.contentType)])
        for (name, value) in OpsResponse.fields.merging(response.fields, uniquingKeysWith: { $1 }) {
            fields.add(name: name, value: value)
        }
        return HTTPResponseHead(version: .http1_1, status: .init(statusCode: response.status), headers: fields)
    }

    /// An empty comment from time to time: proxies keep a silent stream no longer than a minute, and a peer that has
    /// gone without a word is noticed.
    private func beat(_ context: ChannelHandlerContext) {
        let every = TimeAmount.seconds(Int64(OpsServer.heartbeatSeconds))
        let channel = context.channel
        heartbeat = context.eventLoop.scheduleRepeatedTask(initialDelay: every, delay: every) { _ in
            guard channel.isWritable else { return }
            let comment = HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: ":\n\n")))
            channel.writeAndFlush(comment, promise: nil)
        }
    }
}

/// The way of a stream to its reader.
package struct OpsStream: Sendable {
    let channel: any Channel

    /// Writes a piece and returns when the system has taken it: who reads slowly is written to slowly.
    ///
    /// - Throws: When the connection has ended, which it does when the reader takes nothing for
    ///   ``OpsServer/connectionSeconds``.
    package func write(_ text: String) async throws {
        let channel = channel
        let stalled = channel.eventLoop.scheduleTask(in: .seconds(Int64(OpsServer.connectionSeconds))) {
            channel.close(promise: nil)
        }
        defer { stalled.cancel() }
        try await channel.writeAndFlush(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: text))))
    }
}
