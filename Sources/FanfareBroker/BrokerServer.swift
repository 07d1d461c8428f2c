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
        package var limits = Limits()
        /// Program and version, as clients and listings see it.
        package var version = "fanfare-broker"

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
    }

    private let loop: EpollLoop
    private let broker: NIOLoopBound<BrokerLoop>
    private let listeners: [Listener]
    private let stopping = Mutex<Task<Void, Never>?>(nil)
    private let hasStopped = Atomic(false)

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
        let listeners: [Listener]
        do {
            listeners = try await loop.submit { try listen(configuration, on: loop, broker) }.get()
        } catch {
            try? await loop.shutdownGracefully()
            throw error
        }
        let endpoints = MessageValue.array(listeners.map { .string($0.endpoint.description) })
        let server = BrokerServer(loop: loop, broker: broker, listeners: listeners)
        try await loop.submit {
            broker.value.facts["endpoints"] = endpoints
            broker.value.onDrain =
                configuration.onDrain ?? { [weak server] within in Task { await server?.stop(within: within) } }
        }.get()
        return server
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
        listeners: [Listener]
    ) {
        self.loop = loop
        self.broker = broker
        self.listeners = listeners
    }

    /// What `INSPECT status` answers; `proto/PROTOCOL.md`, section 9.
    ///
    /// - Throws: ``ProgramFailure`` with exit `unavailable` once the broker has stopped.
    package func status() async throws -> MessageValue {
        guard !hasStopped.load(ordering: .acquiring) else {
            throw ProgramFailure(.unavailable, "the broker has stopped")
        }
        return try await loop.submit { self.broker.value.status() }.get()
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

    /// Stops: no new connections, `GOAWAY` to all, what is written leaves, then everything closes. Once it has begun,
    /// further calls wait for the same end.
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
        try? await loop.flatSubmit {
            for listener in self.listeners { listener.close() }
            return self.broker.value.stop(within: within)
        }.get()
        // A loop that has been shut down answers no more.
        hasStopped.store(true, ordering: .releasing)
        try? await loop.shutdownGracefully()
    }
}
