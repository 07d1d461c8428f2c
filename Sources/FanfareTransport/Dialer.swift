package import FanfareModel
package import NIOCore
import NIOPosix

/// Opens frame connections to brokers.
package enum Dialer {
    /// How long one attempt may take.
    package static let attemptWithin = TimeAmount.seconds(5)

    /// Connects to `endpoint`; `prepare` runs on `loop` and adds the connection's handler.
    package static func dial(
        _ endpoint: Endpoint,
        on loop: any EventLoop,
        prepare: @escaping @Sendable (any Channel) throws -> Void
    ) -> EventLoopFuture<any Channel> {
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(attemptWithin)
            .channelInitializer { channel in channel.eventLoop.makeCompletedFuture { try prepare(channel) } }
        switch endpoint {
        case .unix(let path): return bootstrap.connect(unixDomainSocketPath: path)
        case .tcp(let host, let port): return bootstrap.connect(host: host, port: port)
        }
    }
}
