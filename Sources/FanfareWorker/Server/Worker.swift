import FanfareClient
import FanfareModel
public import Logging
public import ServiceLifecycle
public import Tracing
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
        /// Seconds over which connections are closed after a stop was asked for, each with 1012 and the time after which
        /// its client may come back. Few connections take less: 20 ms each.
        public var drainSeconds = 10.0
        /// Seconds between the announcement of a stop, on `/readyz`, and the end of accepting.
        public var drainDelaySeconds = 0.0
        /// Seconds after ``drainSeconds`` for close frames to be answered, handlers to end and pages to be sent.
        public var stopWithinSeconds = 10.0
        /// Called once, when connections are taken, with the port: the one the system chose when ``listen`` ends in `:0`.
        public var onReady: (@Sendable (_ port: Int) -> Void)?
        /// Makes the spans of messages, and joins them to those of other processes; `nil`: what the process has
        /// bootstrapped (`InstrumentationSystem`) by the time the worker runs, if it has.
        public var tracer: (any Tracer)?

        /// Called once a second with what the worker holds and has counted, for the metrics system of the program. On the
        /// worker's event loop: keep it and return.
        public var onHealth: (@Sendable (WorkerHealth) -> Void)?

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

    /// Serves until a graceful shutdown is asked for, or the broker asks for it (`fanfare drain`): then it is drained.
    /// When its task is cancelled, also in the middle of that, connections end at once with 1001.
    ///
    /// - Throws: What is wrong with the configuration, in one line.
    public func run() async throws {
        let (stopped, continuation) = AsyncStream.makeStream(of: Void.self)
        let server = try await WorkerServer.start(try plan(), router: router, logger: logger) {
            continuation.finish()
        }
        logger.info("ready", metadata: ["listen": "\(configuration.listen)", "port": "\(server.port)"])
        configuration.onReady?(server.port)
        let drain = DrainPlan(
            delay: Milliseconds(seconds: configuration.drainDelaySeconds),
            spread: Milliseconds(seconds: configuration.drainSeconds),
            rest: Milliseconds(seconds: configuration.stopWithinSeconds)
        )
        await withGracefulShutdownHandler {
            for await _ in stopped {}
        } onGracefulShutdown: {
            Task { await server.drain(drain) }
        }
        // Nothing is left of a worker that was drained.
        await server.stop(within: Milliseconds(0))
    }

    /// ``run()`` until SIGTERM or SIGINT; a second one stops at once.
    ///
    /// - Parameter others: Run and stopped together with it, such as a ``BackgroundWorker``.
    public func serve(with others: [any Service] = []) async throws {
        let services =
            others.map { ServiceGroupConfiguration.ServiceConfiguration(service: $0) }
            + [.init(service: self, successTerminationBehavior: .gracefullyShutdownGroup)]
        let group = ServiceGroup(configuration: .init(services: services, logger: logger))
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            tasks.addTask {
                var count = 0
                for await _ in signals {
                    count += 1
                    guard count == 1 else { return }
                    await group.triggerGracefulShutdown()
                }
            }
            defer { tasks.cancelAll() }
            try await tasks.next()
        }
    }

    private func plan() throws -> WorkerServer.Configuration {
        var plan = WorkerServer.Configuration()
        plan.name = configuration.name
        plan.version = Version.current
        plan.brokers = try ProcessFacts.endpoints(configuration.brokers)
        (plan.listenHost, plan.listenPort) = try Endpoint.hostAndPort(configuration.listen, portDefault: nil)
        plan.workerLimits = configuration.limits
        plan.drainDelay = Milliseconds(seconds: configuration.drainDelaySeconds)
        plan.origins = configuration.origins
        plan.onHealth = configuration.onHealth
        if let tracer = configuration.tracer { plan.tracing = MessageTracing(tracer) }
        plan.tls = configuration.tlsFiles.map { .init(certificateFile: $0.certificate, keyFile: $0.key) }
        return plan
    }
}
