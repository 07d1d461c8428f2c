import FanfareCore
package import FanfareModel
package import FanfareTransport
package import Logging
import NIOCore
import Synchronization

/// A broker in this process: its loop, its core and its endpoints.
package final class BrokerServer: Sendable {
    package struct Configuration: Sendable {
        /// Where to listen; at least one.
        package var endpoints: [Endpoint] = []
        /// Sockets that somebody else has bound and keeps, by those of the endpoints they serve.
        package var inherited: [Endpoint: CInt] = [:]
        package var limits = Limits()
        /// Program and version, as clients and listings see it.
        package var version = "fanfare-broker"
        /// Where a planned stop leaves what the next start goes on with; `nil`: nowhere, every start begins anew.
        package var statePath: String?
        /// What an admin's `drain` of the broker does, with the time it gives; called on the broker's loop, returns at
        /// once. `nil`: the broker stops itself.
        package var onDrain: (@Sendable (Milliseconds) -> Void)?

        /// Faults to make on purpose; `nil` in production.
        package var resilience: Resilience.Settings?

        /// Who may connect to Unix sockets.
        package var socket = SocketFile.Access()
        /// Who is let in; `nil`: everybody who can connect.
        package var credentials: Credentials?
        /// For `tls://` endpoints, which need it.
        package var tls: TLSIdentity?

        package init() {}

        /// The file of ``statePath``.
        package var stateFile: StateFile? { statePath.map { StateFile(path: $0, limits: limits) } }
    }

    let loop: EpollLoop
    let broker: NIOLoopBound<BrokerLoop>
    private let listeners: [Listener]
    private let stateFile: StateFile?
    private let logger: Logger
    private let stopping = Mutex<Task<Void, Never>?>(nil)
    let hasStopped = Atomic(false)

    /// The endpoints as bound: port 0 has become a port.
    package var endpoints: [Endpoint] { listeners.map(\.endpoint) }

    /// Binds every endpoint and starts serving.
    ///
    /// - Throws: ``ProgramFailure`` with exit `configuration`: an address is taken, a folder is missing, or somebody
    ///   listens on the Unix socket already. Nothing is left bound then.
    package static func start(_ configuration: Configuration, logger: Logger) async throws -> BrokerServer {
        let loop = try EpollLoop(name: "fanfare-broker")
        let limits = configuration.limits
        let facts: [String: MessageValue] = ["pid": .count(ProcessFacts.identifier)]
        let epoch = UInt64.random(in: 1...UInt64(Int64.max))
        let broker = try await loop.submit {
            if logger.logLevel <= .debug { watchTurns(of: loop, logger) }
            let tls = configuration.tls.map { TLSListening($0, handshakeBytes: limits.handshakeBytes) }
            let core = Core(limits: limits, epoch: epoch, broker: configuration.version)
            return NIOLoopBound(
                BrokerLoop(
                    loop: loop,
                    limits: limits,
                    core: core,
                    facts: facts,
                    resilience: configuration.resilience.map(Resilience.init),
                    security: Security(credentials: configuration.credentials, tls: tls),
                    logger: logger
                ),
                eventLoop: loop
            )
        }.get()
        let stateFile = configuration.stateFile
        let listeners: [Listener]
        do {
            try stateFile?.check()
            listeners = try await loop.submit {
                let listeners = try listen(configuration, on: loop, broker)
                // Nobody else has the endpoints now, and nobody is let in before the turn ends.
                if let stateFile { takeUp(stateFile, broker.value, logger) }
                return listeners
            }.get()
        } catch {
            try? await loop.shutdownGracefully()
            throw error
        }
        let endpoints = MessageValue.array(listeners.map { .string($0.endpoint.description) })
        let server = BrokerServer(
            loop: loop,
            broker: broker,
            listeners: listeners,
            stateFile: stateFile,
            logger: logger
        )
        try await loop.submit {
            broker.value.facts["endpoints"] = endpoints
            broker.value.acceptPauses = { [weak server] in server?.listeners.reduce(0) { $0 + $1.ratePauses } ?? 0 }
            broker.value.onDrain =
                configuration.onDrain ?? { [weak server] within in Task { await server?.stop(within: within) } }
        }.get()
        return server
    }

    /// Says what holds the loop, to whoever reads what is for finding faults.
    private static func watchTurns(of loop: EpollLoop, _ logger: Logger) {
        loop.watchTurns(longerThan: .milliseconds(5)) { turn in
            logger.debug("a turn of the loop took long", metadata: turn.facts.mapValues { .string($0) })
        }
    }

    /// Binds every endpoint, or none.
    private static func listen(
        _ configuration: Configuration,
        on loop: EpollLoop,
        _ broker: NIOLoopBound<BrokerLoop>
    ) throws -> [Listener] {
        var listeners: [Listener] = []
        var door = Listener.Door()
        door.socket = configuration.socket
        door.tls = broker.value.security.tls
        do {
            for endpoint in configuration.endpoints {
                listeners.append(
                    try Listener.bind(
                        endpoint,
                        on: loop,
                        door,
                        inherited: configuration.inherited[endpoint],
                        acceptsPerSecond: configuration.limits.acceptsPerSecond
                    ) { [broker = broker.value] in
                        FrameConnection(
                            receiver: Peer(broker, $0),
                            turn: broker.turn,
                            frameBytes: configuration.limits.helloFrameBytes,
                            framesPerTurn: configuration.limits.framesPerTurn
                        )
                    }
                )
            }
        } catch {
            for listener in listeners { listener.close() }
            throw error
        }
        return listeners
    }

    private init(
        loop: EpollLoop,
        broker: NIOLoopBound<BrokerLoop>,
        listeners: [Listener],
        stateFile: StateFile?,
        logger: Logger
    ) {
        self.loop = loop
        self.broker = broker
        self.listeners = listeners
        self.stateFile = stateFile
        self.logger = logger
    }

    /// What `INSPECT status` answers; `proto/PROTOCOL.md`, section 9.
    ///
    /// - Throws: ``ProgramFailure`` with exit `unavailable` once the broker has stopped.
    package func status() async throws -> MessageValue {
        guard !hasStopped.load(ordering: .acquiring) else {
            throw ProgramFailure(.unavailable, "the broker has stopped")
        }
        return try await loop.flatSubmit { self.broker.value.inspect(InspectionQuery(.status)) }.get()
    }

    /// What `INSPECT` answers; `proto/PROTOCOL.md`, section 5.13. It takes turns with messages, as every inspection.
    ///
    /// - Parameter query: ``InspectionQuery/visibility`` says what may be in the answer.
    /// - Throws: `bad_request`, `not_found`, `limit_reached` when too many inspections are under way, `draining` once the
    ///   broker has stopped.
    package func inspect(_ query: InspectionQuery) async throws(Failure) -> MessageValue {
        let stopped = Failure(.draining, "the broker has stopped")
        guard !hasStopped.load(ordering: .acquiring) else { throw stopped }
        do {
            return try await loop.flatSubmit { self.broker.value.inspect(query) }.get()
        } catch {
            throw error as? Failure ?? stopped
        }
    }

    /// Returns when the loop has turned: true, or false when it has ended. Never while it is stuck.
    package func turn() async -> Bool {
        guard !hasStopped.load(ordering: .acquiring) else { return false }
        return (try? await loop.submit {}.get()) != nil
    }

    /// Lets in by other credentials from now on; sessions they would not let in as they are end with `unauthorized`.
    ///
    /// - Returns: How many sessions have ended.
    package func replace(_ credentials: Credentials) async throws -> Int {
        try await loop.submit { self.broker.value.replace(credentials) }.get()
    }

    /// Shows and asks for other certificates on connections that are made from now on.
    package func replace(_ tls: TLSIdentity) async throws {
        try await loop.submit { self.broker.value.security.tls?.identity = tls }.get()
    }

    /// Counts what came of reading a file again.
    package func count(_ reload: Reload) async {
        try? await loop.submit { self.broker.value.security.count(reload) }.get()
    }

    /// Stops: no new connections, `GOAWAY` to all, what is written leaves, then everything closes. With a state file
    /// the next start goes on with what can go on; that it cannot be written is logged. Once it has begun, further calls
    /// wait for the same end.
    ///
    /// - Parameter within: The longest this may take.
    package func stop(within: Milliseconds) async {
        let ending = stopping.withLock { stopping in
            if let stopping { return stopping }
            let begun = Task { await self.end(within) }
            stopping = begun
            return begun
        }
        await ending.value
    }

    private func end(_ within: Milliseconds) async {
        if let stateFile {
            await handOver(through: stateFile, within)
        } else {
            try? await loop.flatSubmit {
                for listener in self.listeners { listener.close() }
                return self.broker.value.stop(within: within)
            }.get()
        }
        // A loop that has been shut down answers no more.
        hasStopped.store(true, ordering: .releasing)
        try? await loop.shutdownGracefully()
    }

    /// The endpoints stay taken until the file is there: the next start finds either both or neither.
    private func handOver(through file: StateFile, _ within: Milliseconds) async {
        let state = try? await loop.flatSubmit {
            for listener in self.listeners { listener.stopAccepting() }
            return self.broker.value.handOver(within: within)
        }.get()
        if let state {
            let begun = ContinuousClock.now
            do throws(StateFailure) {
                let bytes = try file.write(state)
                logger.notice(
                    "state written",
                    metadata: [
                        "file": "\(file.path)", "bytes": .stringConvertible(bytes),
                        "sessions": .stringConvertible(state.core.sessions.count),
                        "channels": .stringConvertible(state.core.channels.count),
                        "took": "\(ContinuousClock.now - begun)",
                    ]
                )
            } catch {
                logger.error("state lost: clients register again", metadata: ["reason": "\(error.text)"])
            }
        }
        try? await loop.submit { for listener in self.listeners { listener.close() } }.get()
    }

    /// Goes on with the state an earlier start has left, if that can be. On the loop, before anything is accepted.
    private static func takeUp(_ file: StateFile, _ broker: BrokerLoop, _ logger: Logger) {
        let begun = ContinuousClock.now
        do throws(StateFailure) {
            let now = Instant(nanoseconds: broker.loop.now.uptimeNanoseconds)
            guard let state = try file.take(at: .now(now)) else { return }
            try broker.goOn(with: state)
            logger.notice(
                "state taken up",
                metadata: [
                    "file": "\(file.path)", "from": "\(state.program)",
                    "sessions": .stringConvertible(state.core.sessions.count),
                    "channels": .stringConvertible(state.core.channels.count), "took": "\(ContinuousClock.now - begun)",
                ]
            )
        } catch {
            logger.warning(
                "state refused: clients register again",
                metadata: ["file": "\(file.path)", "reason": "\(error.text)"]
            )
        }
    }
}
