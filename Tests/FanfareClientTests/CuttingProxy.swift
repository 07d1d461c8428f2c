import NIOCore
import NIOPosix

/// Stands between layers and a broker on a Unix socket, and breaks connections anywhere in their bytes. On one loop.
final class CuttingProxy: Sendable {
    private let loop: any EventLoop
    private let pairs: NIOLoopBoundBox<[Pair]>
    private let server: any Channel

    /// The two halves of a connection.
    private final class Pair {
        let near: any Channel
        let far: any Channel
        /// Bytes that may still pass, in either direction, until it breaks.
        var left: Int?

        init(_ near: any Channel, _ far: any Channel) {
            self.near = near
            self.far = far
        }

        func cut() {
            near.close(promise: nil)
            far.close(promise: nil)
        }
    }

    private final class Half: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        var pair: Pair?
        private var early: [ByteBuffer] = []

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = unwrapInboundIn(data)
            guard let pair else { return early.append(bytes) }
            let other = context.channel === pair.near ? pair.far : pair.near
            guard let left = pair.left else { return other.writeAndFlush(bytes, promise: nil) }
            pair.left = max(0, left - bytes.readableBytes)
            guard left < bytes.readableBytes else { return other.writeAndFlush(bytes, promise: nil) }
            if let part = bytes.readSlice(length: left) { other.writeAndFlush(part, promise: nil) }
            pair.cut()
        }

        func begin(_ pair: Pair) {
            self.pair = pair
            for bytes in early { pair.far.writeAndFlush(bytes, promise: nil) }
            early = []
        }

        func channelInactive(context: ChannelHandlerContext) {
            pair?.cut()
        }
    }

    static func start(at path: String, to broker: String) async throws -> CuttingProxy {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let pairs = NIOLoopBoundBox<[Pair]>.makeBoxSendingValue([], eventLoop: loop)
        let server = try await ServerBootstrap(group: loop).childChannelInitializer { near in
            near.eventLoop.makeCompletedFuture {
                let half = Half()
                try near.pipeline.syncOperations.addHandler(half)
                let bound = NIOLoopBound(half, eventLoop: loop)
                ClientBootstrap(group: loop).channelInitializer { far in
                    far.eventLoop.makeCompletedFuture { try far.pipeline.syncOperations.addHandler(Half()) }
                }.connect(unixDomainSocketPath: broker).whenComplete { result in
                    guard case .success(let far) = result else { return near.close(promise: nil) }
                    guard let other = try? far.pipeline.syncOperations.handler(type: Half.self) else { return }
                    let pair = Pair(near, far)
                    other.pair = pair
                    pairs.value.append(pair)
                    bound.value.begin(pair)
                }
            }
        }.bind(unixDomainSocketPath: path).get()
        return CuttingProxy(loop, pairs, server)
    }

    private init(_ loop: any EventLoop, _ pairs: NIOLoopBoundBox<[Pair]>, _ server: any Channel) {
        self.loop = loop
        self.pairs = pairs
        self.server = server
    }

    /// Breaks each connection after so many more bytes.
    func cut(after bytes: Int) async throws {
        try await loop.submit { [pairs] in
            for pair in pairs.value {
                if bytes == 0 { pair.cut() } else { pair.left = bytes }
            }
            pairs.value.removeAll { !$0.near.isActive }
        }.get()
    }

    func stop() async throws {
        try await cut(after: 0)
        try await server.close()
    }
}
