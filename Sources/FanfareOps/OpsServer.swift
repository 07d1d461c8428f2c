package import FanfareModel
import Glibc
package import Logging
import NIOCore
import NIOHTTP1
import NIOPosix

/// The operations port: a small HTTP/1.1 server for probes, scrapers, people with `curl` and the dashboard.
///
/// It has a thread of its own, so that a busy program still says how it is. A connection carries one request and
/// is closed; nothing about it can grow. What is turned away is counted (``OpsRefusals``).
package final class OpsServer: Sendable {
    /// Answers one path. Runs on any thread; an answer after ``connectionSeconds`` reaches nobody.
    package typealias Route = @Sendable (OpsRequest) async -> OpsResponse

    /// Connections at once. More: the newest is closed.
    package static let connections = 64
    /// From the first byte to the last of one connection, and of one piece of a stream. Longer: closed.
    package static let connectionSeconds = 10
    /// Connections among them that carry a stream. More: 503.
    package static let streams = 16
    /// The life of a stream. Longer: closed; who still reads asks again.
    package static let streamSeconds = 3_600
    /// How often a stream says that it lives.
    package static let heartbeatSeconds = 15
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
    ///   - refusals: Counts what is turned away.
    ///   - logger: Told the port, and about failures of single connections, at debug.
    /// - Throws: `ProgramFailure(.configuration)` when the address cannot be listened on.
    package static func start(
        host: String,
        port: Int,
        routes: [String: Route],
        refusals: OpsRefusals = OpsRefusals(),
        logger: Logger
    ) async throws(ProgramFailure) -> OpsServer {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let shared = NIOLoopBoundBox.makeBoxSendingValue(
            OpsConnection.Shared(routes: routes, refusals: refusals, logger: logger),
            as: OpsConnection.Shared.self,
            eventLoop: loop
        )
        let bootstrap = ServerBootstrap(group: loop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                loop.makeCompletedFuture { try admit(channel, shared.value) }
            }
        do {
            let channel = try await bootstrap.bind(host: host, port: port).get()
            let isLoopback = channel.localAddress?.ipAddress.map { Loopback.isAddress($0) } ?? false
            try await loop.submit { shared.value.isLoopbackListener = isLoopback }.get()
            let port = channel.localAddress?.port ?? port
            logger.info("operations port open", metadata: ["host": "\(host)", "port": .stringConvertible(port)])
            return OpsServer(port: port, group: group, channel: channel)
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

    /// Makes a connection ready to be asked, if there is room for it.
    private static func admit(_ channel: any Channel, _ shared: OpsConnection.Shared) throws {
        guard shared.connections < connections else {
            shared.refusals.count(.connections)
            throw ChannelError.ioOnClosedChannel
        }
        shared.connections += 1
        channel.closeFuture.assumeIsolated().whenComplete { _ in shared.connections -= 1 }
        try channel.pipeline.syncOperations.configureHTTPServerPipeline(
            withPipeliningAssistance: false,
            withErrorHandling: false,
            withEncoderConfiguration: .init(),
            withDecoderLimitConfiguration: headerLimits
        )
        try channel.pipeline.syncOperations.addHandler(OpsConnection(shared))
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
