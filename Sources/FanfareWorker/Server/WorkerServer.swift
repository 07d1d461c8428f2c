package import FanfareClient
package import FanfareModel
import FanfareTransport
package import Logging
import NIOCore
import Synchronization

/// One worker: a port that serves what its router says, and a link to a broker, on one event loop.
///
/// Several workers, in one process or in many, may share a port; the kernel spreads connections over them.
package final class WorkerServer: Sendable {
    package struct Configuration: Sendable {
        /// A name people recognise in listings and on the chat's page.
        package var name = "worker"
        /// Brokers, tried in order.
        package var brokers: [Endpoint] = []
        /// What brokers are shown, and how they are checked.
        package var brokerSecurity = BrokerSecurity()
        /// Address or name of the interface to listen on.
        package var listenHost = "127.0.0.1"
        /// 0 for any free port; see ``WorkerServer/port``.
        package var listenPort = 8_000
        /// A Unix socket to listen on instead, for a proxy on the same machine.
        package var listenPath: String?
        /// A socket that somebody else has bound and handed over, to listen on instead: systemd's, for one.
        package var listenDescriptor: CInt?
        /// Whether who has bound ``listenDescriptor`` keeps it: what waits there when this worker stops is for the next.
        package var keepsListenDescriptor = false
        /// Certificate and key in PEM, for TLS.
        package var tls: TLSFiles?
        /// The `Server` header of answers; `nil` for none.
        package var serverName: String?
        /// Bounds of what goes over the link to the broker.
        package var limits = Limits()
        /// Bounds of the sockets.
        package var workerLimits = WorkerLimits()
        /// This program's version.
        package var version = ""
        /// Which pages may open sockets where no router says otherwise.
        package var origins = OriginPolicy.sameOrigin
        /// Called once a second on the worker's loop.
        package var onHealth: (@Sendable (WorkerHealth) -> Void)?
        /// Makes the spans of messages; looked for when the configuration is made.
        package var tracing = MessageTracing.bootstrapped
        /// How long the port stays open when a drain has begun, for one that the broker asks for.
        package var drainDelay = Milliseconds(0)

        package init() {}

        /// Reads the files of this configuration as a start and the first dials would, for `--check-config`. Blocks.
        ///
        /// - Throws: ``ProgramFailure`` with exit `configuration`: which file cannot be used, and why.
        package func checkFiles() throws(ProgramFailure) {
            for broker in brokers { _ = try DialCredentials.read(brokerSecurity, for: broker) }
            if let tls { _ = try WorkerListener.context(tls) }
        }
    }

    /// Where a certificate with its chain and its key are, both in PEM.
    package struct TLSFiles: Sendable, Equatable {
        package var certificateFile: String
        package var keyFile: String

        package init(certificateFile: String, keyFile: String) {
            self.certificateFile = certificateFile
            self.keyFile = keyFile
        }
    }

    /// The port as bound.
    package let port: Int

    private let loop: EpollLoop
    private let running: NIOLoopBound<Running>
    private let ending = Mutex(Ending())
    private let onStopped: @Sendable () -> Void

    /// The ends that have begun.
    private struct Ending {
        var draining: (task: Task<Void, Never>, emptied: EventLoopPromise<Void>)?
        var stopping: Task<Void, Never>?
    }

    /// What lives on the loop.
    private struct Running {
        let parts: WorkerParts
        let port: WorkerListener
        let timer: RepeatedTask
    }

    /// How long connections wait in the kernel for the first link, so that a fresh worker turns no socket away.
    private static let firstLinkWithin = TimeAmount.milliseconds(250)

    private init(
        port: Int,
        loop: EpollLoop,
        running: NIOLoopBound<Running>,
        onStopped: @escaping @Sendable () -> Void
    ) {
        self.port = port
        self.loop = loop
        self.running = running
        self.onStopped = onStopped
    }

    /// Binds the port, dials the broker and serves.
    ///
    /// A broker that cannot be reached is no failure: the worker keeps trying, and until then closes new sockets with
    /// 1013 and the reason `no broker`.
    ///
    /// - Parameter onStopped: Called once when it has stopped, by whatever: the broker can ask for it as well.
    /// - Throws: ``ProgramFailure`` with exit `configuration` for a port that is taken by somebody who does not share
    ///   it, or a host that does not exist.
    package static func start(
        _ configuration: Configuration,
        router: Router,
        logger: Logger,
        onStopped: @escaping @Sendable () -> Void = {}
    ) async throws -> WorkerServer {
        let loop = try EpollLoop(name: "fanfare-worker")
        do {
            let port = try WorkerListener.bind(configuration)
            let connected = loop.makePromise(of: Void.self)
            let running = try await loop.submit {
                if logger.logLevel <= .debug { watchTurns(of: loop, logger) }
                let parts = WorkerParts(configuration, router, on: loop, listen: port.address, logger: logger) {
                    LayerSession(loop: loop, configuration: $0, logger: logger)
                }
                let listener = WorkerListener(port, configuration, on: loop, parts.worker)
                parts.worker.link.onFirstConnect = { connected.succeed() }
                parts.session.start()
                let bound = NIOLoopBound((parts, listener), eventLoop: loop)
                let timer = loop.scheduleRepeatedTask(initialDelay: WorkerLoop.tick, delay: WorkerLoop.tick) { _ in
                    let (parts, listener) = bound.value
                    parts.worker.timePassed()
                    configuration.onHealth?(health(of: parts, listener))
                }
                return NIOLoopBound(Running(parts: parts, port: listener, timer: timer), eventLoop: loop)
            }.get()
            loop.scheduleTask(in: firstLinkWithin) { connected.succeed() }
            try await connected.futureResult.get()
            let server = WorkerServer(port: port.number, loop: loop, running: running, onStopped: onStopped)
            let delay = configuration.drainDelay
            try await loop.submit { [weak server] in
                running.value.parts.worker.link.onDrainAsked = { within in
                    server?.beginDrain(DrainPlan(within: within, delay: delay))
                }
                running.value.port.start()
            }.get()
            return server
        } catch {
            try? await loop.shutdownGracefully()
            throw error
        }
    }

    /// Says what holds the loop, to whoever reads what is for finding faults.
    private static func watchTurns(of loop: EpollLoop, _ logger: Logger) {
        loop.watchTurns(longerThan: .milliseconds(5)) { turn in
            logger.debug("a turn of the loop took long", metadata: turn.facts.mapValues { .string($0) })
        }
    }

    /// What the worker holds and has counted.
    package func health() async throws -> WorkerHealth {
        try await running.eventLoop.submit { [running] in
            Self.health(of: running.value.parts, running.value.port)
        }.get()
    }

    private static func health(of parts: WorkerParts, _ listener: WorkerListener) -> WorkerHealth {
        var health = parts.worker.health
        health.counters.acceptPauses = listener.ratePauses
        health.add(parts.session.counters)
        return health
    }

    /// Reads certificate and key again, for handshakes that begin from now on. Blocks while it reads.
    ///
    /// - Throws: ``ProgramFailure`` with exit `configuration` when they cannot be used; those in force stay.
    package func replace(_ files: TLSFiles) async throws {
        let context = try WorkerListener.context(files)
        guard ending.withLock({ $0.stopping }) == nil else { return }
        try await loop.submit { [running] in running.value.port.replace(context) }.get()
    }

    /// Counts what came of reading files again.
    package func count(_ reload: Reload) async {
        guard ending.withLock({ $0.stopping }) == nil else { return }
        try? await loop.submit { [running] in
            running.value.parts.worker.counters.reloads[reload.rawValue, default: 0] += 1
        }.get()
    }

    /// Returns when the loop has turned: true, or false when it has ended. Never while it is stuck.
    package func turn() async -> Bool {
        guard ending.withLock({ $0.stopping }) == nil else { return false }
        return (try? await loop.submit {}.get()) != nil
    }

    /// Takes leave gently: not ready from now on, then no new connections, every socket closed with 1012 at its own time
    /// and told when to come back, requests answered, handlers waited for; then ``stop(within:)``. Once it has begun,
    /// further calls wait for the same end, which the shortest of their plans decides.
    package func drain(_ plan: DrainPlan) async {
        await beginDrain(plan).value
    }

    @discardableResult
    private func beginDrain(_ plan: DrainPlan) -> Task<Void, Never> {
        ending.withLock { ending in
            if let begun = ending.stopping { return begun }
            let emptied = ending.draining?.emptied ?? loop.makePromise(of: Void.self)
            // Handed to the loop under the lock: before any stop, after which it would not run any more.
            wait(for: emptied, within: plan.total) { running, done in
                running.parts.worker.drain(plan, stopAccepting: { running.port.finish() }, onEnd: done)
            }
            if let begun = ending.draining?.task { return begun }
            let task = Task {
                try? await emptied.futureResult.get()
                await self.stop(within: Milliseconds(0))
            }
            ending.draining = (task, emptied)
            return task
        }
    }

    /// Lets `emptied` succeed when `begin` says that it is done, or the time is over, or the loop has ended.
    private func wait(
        for emptied: EventLoopPromise<Void>,
        within: Milliseconds,
        _ begin: @escaping @Sendable (Running, @escaping () -> Void) -> Void
    ) {
        let deadline = loop.scheduleTask(in: .milliseconds(Int64(clamping: within.value))) {}
        deadline.futureResult.whenComplete { _ in emptied.succeed() }
        loop.execute { [running] in begin(running.value) { deadline.cancel() } }
    }

    /// Stops accepting, closes every socket with 1001, takes leave of the broker and ends. Once it has begun, further
    /// calls wait for the same end.
    ///
    /// - Parameter within: What has not ended by then is cut off.
    package func stop(within: Milliseconds) async {
        let stopping = ending.withLock { ending in
            if let begun = ending.stopping { return begun }
            let begun = Task { await self.end(within) }
            ending.stopping = begun
            return begun
        }
        await stopping.value
    }

    private func end(_ within: Milliseconds) async {
        let emptied = loop.makePromise(of: Void.self)
        wait(for: emptied, within: within) { running, done in
            running.port.close()
            running.parts.worker.stop(done)
        }
        try? await emptied.futureResult.get()
        try? await loop.submit { [running] in
            running.value.timer.cancel()
            running.value.parts.worker.cutOff()
            running.value.parts.session.stop()
        }.get()
        // The goodbye leaves at the end of the turn that gathered it; another turn and it has.
        for _ in 0..<2 { try? await loop.submit {}.get() }
        try? await loop.shutdownGracefully()
        onStopped()
    }
}
