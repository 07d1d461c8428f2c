import NIOCore
import NIOPosix

/// Opens sockets on one loop, a bounded number at a time, so that the kernel's queue of the worker holds them.
final class SocketOpener {
    private let loop: any EventLoop
    private let host: String
    private let port: Int
    private var waiting: [LoadSocket] = []
    private var underWay = 0
    private var allOpen: EventLoopPromise<Void>?

    private static let underWayMaximum = 128
    /// A stalled peer takes little before the sender notices: a small window, and segments as on Ethernet. Over
    /// loopback's segments of 64 KiB the kernel would keep megabytes for it.
    private static let stalledReceiveBytes = 4_096
    private static let stalledSegmentBytes = 1_460
    /// `TCP_MAXSEG` of `netinet/tcp.h`.
    private static let maximumSegmentOption: NIOBSDSocket.Option = .init(rawValue: 2)
    /// The memberships of the last sockets are on their way to the broker; they count when acknowledged.
    private static let settlingTime = TimeAmount.milliseconds(500)

    init(loop: any EventLoop, host: String, port: Int) {
        self.loop = loop
        self.host = host
        self.port = port
    }

    /// Opens `sockets`, the first one first; fails with the first that was not let in.
    func open(_ sockets: [LoadSocket]) -> EventLoopFuture<Void> {
        let promise = loop.makePromise(of: Void.self)
        allOpen = promise
        waiting = sockets.reversed()
        advance()
        return promise.futureResult
    }

    private func advance() {
        while allOpen != nil, underWay < Self.underWayMaximum, let socket = waiting.popLast() { open(socket) }
        guard let promise = allOpen, underWay == 0, waiting.isEmpty else { return }
        allOpen = nil
        loop.scheduleTask(in: Self.settlingTime) { promise.succeed() }
    }

    private func open(_ socket: LoadSocket) {
        underWay += 1
        let promise = loop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { result in
            self.underWay -= 1
            if case .failure(let error) = result {
                self.allOpen?.fail(error)
                self.allOpen = nil
            }
            self.advance()
        }
        let bound = NIOLoopBound(socket, eventLoop: loop)
        bootstrap(stalled: socket.isStalled)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(bound.value)
                }
            }
            .connect(host: host, port: port)
            .assumeIsolated().whenComplete { result in
                switch result {
                case .success: socket.open(host: "\(self.host):\(self.port)", promise)
                case .failure(let error): promise.fail(LoadFailure("cannot connect: \(error)"))
                }
            }
    }

    private func bootstrap(stalled: Bool) -> ClientBootstrap {
        let bootstrap = ClientBootstrap(group: loop)
        guard stalled else { return bootstrap }
        return
            bootstrap
            .channelOption(.socketOption(.so_rcvbuf), value: Self.stalledReceiveBytes)
            .channelOption(.tcpOption(Self.maximumSegmentOption), value: Self.stalledSegmentBytes)
    }
}
