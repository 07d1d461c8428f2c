package import FanfareModel
package import NIOCore
import NIOPosix

/// Opens frame connections to brokers.
package enum Dialer {
    /// How long one attempt may take.
    package static let attemptWithin = TimeAmount.seconds(5)

    /// Connects to `endpoint`: without NIO on an ``EpollLoop``, with it on any other loop.
    ///
    /// - Parameters:
    ///   - loop: The loop the connection lives on.
    ///   - make: Makes the connection, on `loop`, when the peer has answered.
    /// - Returns: Completes when the connection is open; fails with why it is not.
    package static func dial(
        _ endpoint: Endpoint,
        on loop: any EventLoop,
        make: @escaping @Sendable () -> FrameConnection
    ) -> EventLoopFuture<Void> {
        if let loop = loop as? EpollLoop { return dial(endpoint, on: loop, make) }
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(attemptWithin)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(make()) }
            }
        switch endpoint {
        case .unix(let path): return bootstrap.connect(unixDomainSocketPath: path).map { _ in }
        case .tcp(let host, let port): return bootstrap.connect(host: host, port: port).map { _ in }
        case .tls: return loop.makeFailedFuture(noTLS(endpoint))
        }
    }

    private static func dial(
        _ endpoint: Endpoint,
        on loop: EpollLoop,
        _ make: @escaping @Sendable () -> FrameConnection
    ) -> EventLoopFuture<Void> {
        addresses(of: endpoint, loop).flatMap { addresses in
            connect(to: addresses[...], on: loop)
        }.map { descriptor in
            let connection = make()
            let carrier = DescriptorConnection(descriptor, on: loop, receiver: connection)
            connection.open(carrier.writer, remote: "\(endpoint)")
        }
    }

    private static func noTLS(_ endpoint: Endpoint) -> ProgramFailure {
        ProgramFailure(.configuration, "cannot dial \(endpoint): there is no TLS yet")
    }

    /// Tries one address after the other; fails with what the last one said.
    static func connect(to addresses: ArraySlice<SocketAddress>, on loop: EpollLoop) -> EventLoopFuture<CInt> {
        guard let first = addresses.first else { return loop.makeFailedFuture(ChannelError.unknownLocalAddress) }
        let attempt = ConnectAttempt.begin(first, on: loop, within: attemptWithin)
        guard addresses.count > 1 else { return attempt }
        return attempt.flatMapError { _ in connect(to: addresses.dropFirst(), on: loop) }
    }

    private static func addresses(of endpoint: Endpoint, _ loop: EpollLoop) -> EventLoopFuture<[SocketAddress]> {
        switch endpoint {
        case .unix(let path):
            return loop.makeCompletedFuture { [try SocketAddress(unixDomainSocketPath: path)] }
        case .tls: return loop.makeFailedFuture(noTLS(endpoint))
        case .tcp(let host, let port):
            if let address = try? SocketAddress(ipAddress: host, port: port) {
                return loop.makeSucceededFuture([address])
            }
            // Looking up a name may take its time.
            return NIOThreadPool.singleton.runIfActive(eventLoop: loop) { try HostName.resolve(host, port: port) }
        }
    }
}
