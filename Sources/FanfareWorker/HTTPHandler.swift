import NIOCore
import NIOHTTP1

/// A connection before it is a WebSocket, or instead of one: answers its first request and closes.
final class HTTPHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let worker: WorkerLoop
    private var context: ChannelHandlerContext?
    private var hasAnswered = false

    init(worker: WorkerLoop) {
        self.worker = worker
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        worker.strangerCame(self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        worker.strangerLeft(self)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(let head) = unwrapInboundIn(data), !hasAnswered else { return }
        hasAnswered = true
        switch worker.answer(head) {
        case .respond(let response):
            write(response, context, withBody: head.method != .HEAD)
        case .upgrade:
            // The handshake is in order and yet was not carried out: something in it only NIO's upgrader saw.
            write(.text(.badRequest, "The WebSocket handshake is not in order."), context, withBody: true)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // The refusal itself follows as a request that is answered.
        guard !(error is SocketUpgrader.Refused) else { return }
        if error is HTTPParserError { worker.countResponse(.badRequest) }
        context.close(promise: nil)
    }

    /// Closes whatever is going on.
    func abandon() {
        context?.close(promise: nil)
    }

    private func write(_ response: Response, _ context: ChannelHandlerContext, withBody: Bool) {
        worker.countResponse(response.status)
        let head = HTTPResponseHead(version: .http1_1, status: response.status, headers: response.headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if withBody {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: response.body)))), promise: nil)
        }
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { _ in
            // Only our half: bytes of the request that are still coming must not reset the connection before the
            // answer is read. The peer closes the rest, or the deadline does.
            self.context?.close(mode: .output, promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: written)
    }
}
