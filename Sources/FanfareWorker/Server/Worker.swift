import FanfareClient
import FanfareModel
public import Logging
public import ServiceLifecycle
import UnixSignals

/// A worker: serves WebSockets and the pages around them, joined to all other workers by a broker.
///
/// ```swift
/// var router = Router()
/// router.webSocket("/ws/chat/<slug:room>/") { _, context in Chat(room: try context.captures.string("room")) }
/// try await Worker(router).serve()
/// ```
///
/// It holds nothing but its connections: run as many as you like, on one port or many. A broker that cannot be reached
/// is no failure: it keeps trying, and closes new connections with 1013 until then.
public struct Worker: Service {
    /// How a worker reaches its broker and where it listens.
    public struct Configuration: Sendable {
        /// A name people recognise in `fanfare workers`.
        public var name = "worker-\(ProcessFacts.identifier)"
        /// Brokers as `unix:/path` or `tcp://host:port`, tried in order. Empty: `$FANFARE_BROKER`, else the standard place.
        public var brokers: [String] = []
        /// `HOST:PORT`. Several workers may share one.
        public var listen = "127.0.0.1:8000"
        /// Certificate with its chain and its key, both files in PEM, for TLS from here to the client.
        public var tlsFiles: (certificate: String, key: String)?
        /// Which pages may open WebSockets where no ``AllowedOrigins`` says otherwise.
        public var origins = OriginPolicy.sameOrigin
        /// The bounds of connections.
        public var limits = WorkerLimits()
        /// Seconds that connections get to end after a stop was asked for.
        public var stopWithinSeconds = 10.0
        /// Called once, when connections are taken, with the port: the one the system chose when ``listen`` ends in `:0`.
        public var onReady: (@Sendable (_ port: Int) -> Void)?

        /// The documented defaults.
        public init() {}
    }

    private let router: Router
    private let configuration: Configuration
    private let logger: Logger

    /// - Parameters:
    ///   - router: What is served.
    ///   - configuration: Where it listens, which broker it is for, its bounds.
    ///   - logger: Where the worker and its handlers write.
    public init(
        _ router: Router,
        configuration: Configuration = Configuration(),
        logger: Logger = Logger(label: "fanfare.worker")
    ) {
        self.router = router
        self.configuration = configuration
        self.logger = logger
    }

    /// Serves until its task is cancelled or a graceful shutdown is asked for; then connections end with 1001.
    ///
    /// - Throws: What is wrong with the configuration, in one line.
    public func run() async throws {
        let server = try await WorkerServer.start(try plan(), router: router, logger: logger)
        logger.info("ready", metadata: ["listen": "\(configuration.listen)", "port": "\(server.port)"])
        configuration.onReady?(server.port)
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        await withGracefulShutdownHandler {
            await withTaskCancellationHandler {
                for await _ in stream {}
            } onCancel: {
                continuation.finish()
            }
        } onGracefulShutdown: {
            continuation.finish()
        }
        await server.stop(within: Milliseconds(seconds: configuration.stopWithinSeconds))
    }

    /// ``run()`` until SIGTERM or SIGINT.
    ///
    /// - Parameter others: Run and stopped together with it, such as a ``BackgroundWorker``.
    public func serve(with others: [any Service] = []) async throws {
        let group = ServiceGroup(
            services: others + [self],
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: logger
        )
        try await group.run()
    }

    private func plan() throws -> WorkerServer.Configuration {
        var plan = WorkerServer.Configuration()
        plan.name = configuration.name
        plan.version = Version.current
        plan.brokers = try ProcessFacts.endpoints(configuration.brokers)
        (plan.listenHost, plan.listenPort) = try Endpoint.hostAndPort(configuration.listen, portDefault: nil)
        plan.workerLimits = configuration.limits
        plan.origins = configuration.origins
        plan.tls = configuration.tlsFiles.map { .init(certificateFile: $0.certificate, keyFile: $0.key) }
        return plan
    }
}
