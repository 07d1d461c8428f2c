package import FanfareModel
package import NIOCore
import NIOPosix

/// Opens frame connections to brokers.
package enum Dialer {
    /// How long one attempt may take; with TLS its handshake may take as long again.
    package static let attemptWithin = TimeAmount.seconds(5)

    /// Makes the connection when the peer has answered, with the token to show it. On the loop.
    package typealias Making = @Sendable (_ token: String?) -> FrameConnection

    /// Connects to `endpoint`: without NIO's bootstraps on an ``EpollLoop``, with them on any other loop.
    ///
    /// - Parameters:
    ///   - security: What to show and to check; its files are read now, elsewhere.
    ///   - loop: The loop the connection lives on.
    /// - Returns: Completes when the connection is open, which with TLS is after the handshake; fails with why not.
    package static func dial(
        _ endpoint: Endpoint,
        security: BrokerSecurity = BrokerSecurity(),
        on loop: any EventLoop,
        make: @escaping Making
    ) -> EventLoopFuture<Void> {
        let name = security.serverName
        guard DialCredentials.needsFiles(security, for: endpoint) else {
            do {
                return dial(endpoint, try DialCredentials.read(security, for: endpoint), name, on: loop, make)
            } catch {
                return loop.makeFailedFuture(error)
            }
        }
        return NIOThreadPool.singleton.runIfActive(eventLoop: loop) {
            try DialCredentials.read(security, for: endpoint)
        }.flatMap { dial(endpoint, $0, name, on: loop, make) }
    }

    private static func dial(
        _ endpoint: Endpoint,
        _ credentials: DialCredentials,
        _ serverName: String?,
        on loop: any EventLoop,
        _ make: @escaping Making
    ) -> EventLoopFuture<Void> {
        if let loop = loop as? EpollLoop { return dial(endpoint, credentials, serverName, on: loop, make) }
        let token = credentials.token
        let bootstrap = ClientBootstrap(group: loop).connectTimeout(attemptWithin)
        if case .tls(let host, let port) = endpoint {
            return bootstrap.connect(host: host, port: port).flatMap { channel in
                secure(channel, credentials, endpoint, serverName, make)
            }
        }
        let plain = bootstrap.channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(make(token)) }
        }
        return switch endpoint {
        case .unix(let path): plain.connect(unixDomainSocketPath: path).map { _ in }
        case .tcp(let host, let port), .tls(let host, let port): plain.connect(host: host, port: port).map { _ in }
        }
    }

    private static func dial(
        _ endpoint: Endpoint,
        _ credentials: DialCredentials,
        _ serverName: String?,
        on loop: EpollLoop,
        _ make: @escaping Making
    ) -> EventLoopFuture<Void> {
        addresses(of: endpoint, loop).flatMap { addresses in
            let attempt = connect(to: addresses[...], on: loop)
            guard case .tls = endpoint else {
                return attempt.map { descriptor in
                    let connection = make(credentials.token)
                    let carrier = DescriptorConnection(descriptor, on: loop, receiver: connection)
                    connection.open(carrier.writer, remote: "\(endpoint)")
                }
            }
            return attempt.flatMap { descriptor in
                // Where a certificate is for an address and not for a name, there is only this one.
                let channel = PipelineChannel(descriptor, on: loop, remoteAddress: addresses.first)
                defer { channel.activate() }
                return secure(channel, credentials, endpoint, serverName, make)
            }
        }
    }

    private static func secure(
        _ channel: any Channel,
        _ credentials: DialCredentials,
        _ endpoint: Endpoint,
        _ serverName: String?,
        _ make: @escaping Making
    ) -> EventLoopFuture<Void> {
        guard let tls = credentials.tls else { preconditionFailure("\(endpoint) was dialled without TLS") }
        return DialHandshake.begin(on: channel, tls, endpoint, serverName: serverName) { make(credentials.token) }
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
        case .tcp(let host, let port), .tls(let host, let port):
            if let address = try? SocketAddress(ipAddress: host, port: port) {
                return loop.makeSucceededFuture([address])
            }
            // Looking up a name may take its time.
            return NIOThreadPool.singleton.runIfActive(eventLoop: loop) { try HostName.resolve(host, port: port) }
        }
    }
}
