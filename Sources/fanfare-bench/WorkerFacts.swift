import Foundation
import NIOCore
import NIOPosix

/// What a worker says of itself on `/healthz` of its operations port.
struct WorkerFacts: Decodable, Sendable {
    var pid: Int32
    /// Sockets closed, by the code that began it.
    var closes: [String: Int]

    /// - Parameter address: `HOST:PORT`.
    static func read(from address: String) async throws -> WorkerFacts {
        guard let colon = address.lastIndex(of: ":"), let port = Int(address[address.index(after: colon)...]) else {
            throw LoadFailure("--ops wants HOST:PORT, not \"\(address)\"")
        }
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let answer = loop.makePromise(of: String.self)
        do {
            _ = try await ClientBootstrap(group: loop)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(AnswerReader(answer))
                    }
                }
                .connect(host: String(address[..<colon]), port: port).get()
        } catch {
            answer.fail(error)
        }
        let parts = try await answer.futureResult.get().components(separatedBy: "\r\n\r\n")
        guard parts.count > 1 else { throw LoadFailure("\(address) gave no answer to GET /healthz") }
        return try JSONDecoder().decode(WorkerFacts.self, from: Data(parts[1].utf8))
    }
}

/// Asks for `/healthz` and reads until the connection ends.
private final class AnswerReader: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let answer: EventLoopPromise<String>
    private var received = ByteBuffer()

    init(_ answer: EventLoopPromise<String>) {
        self.answer = answer
    }

    func channelActive(context: ChannelHandlerContext) {
        let request = "GET /healthz HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n"
        context.writeAndFlush(NIOAny(ByteBuffer(string: request)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received.writeImmutableBuffer(unwrapInboundIn(data))
    }

    func channelInactive(context: ChannelHandlerContext) {
        answer.succeed(String(buffer: received))
    }
}
