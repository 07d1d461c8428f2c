public import FanfareModel
import FanfareTransport
package import Logging
package import NIOCore
import NIOPosix
public import Tracing

extension ChannelLayer {
    /// How a layer reaches its broker and what rules its messages follow. The broker's limits cap the rules.
    public struct Configuration: Sendable {
        /// A name people recognise in `fanfare workers`.
        public var name: String
        /// Brokers as `unix:/path`, `tcp://host:port` or `tls://host:port`, tried in order. Empty: `$FANFARE_BROKER`,
        /// else the standard place.
        public var endpoints: [String] = []
        /// Certificates and token. What is not set comes from the environment: `$FANFARE_CA_FILE`,
        /// `$FANFARE_CERTIFICATE_FILE`, `$FANFARE_KEY_FILE`, `$FANFARE_TOKEN_FILE`, `$FANFARE_TOKEN`.
        public var security = BrokerSecurity()
        /// Layers see each other only within a namespace.
        public var namespace = "default"
        /// Unread messages a channel holds.
        public var capacity = 100
        /// Overrides of ``capacity`` by glob over channel names; the first match wins, at most 64.
        public var channelCapacity: [(pattern: String, capacity: Int)] = []
        /// Whose unread messages count together.
        public var capacityScope = CapacityScope.channel
        /// What happens at capacity, by glob over channel names; the first match wins, else `reject`; at most 64.
        public var overflow: [(pattern: String, overflow: Overflow)] = []
        /// Seconds a message lives unread.
        public var expirySeconds = 60.0
        /// Seconds a membership without a live owner lives after its last add.
        public var groupExpirySeconds = 86_400.0
        /// Whether ``groupExpirySeconds`` also ends memberships of processes that live, as the specification words it.
        public var groupExpiryIsLiteral = false
        /// What becomes of sends while there is no broker. Waiting a little bridges a restart.
        public var sendsWhileAway = SendsWhileAway.wait(seconds: 5)
        /// Called once, from any thread, when an operator asks this program to leave. Finish what you have begun, then
        /// call ``ChannelLayer/close()``; when the time is over the layer closes by itself, and it does not come back.
        /// `nil`: it closes as soon as what is under way has been answered.
        public var onDrain: (@Sendable (DrainRequest) -> Void)?

        /// Makes the spans of messages, and joins them to those of other processes; `nil`: what the process has
        /// bootstrapped (`InstrumentationSystem`) by the time the layer connects, if it has.
        public var tracer: (any Tracer)?

        var tracing: MessageTracing? { tracer.map { MessageTracing($0) } ?? .bootstrapped }

        /// The documented defaults under `name`.
        public init(name: String) {
            self.name = name
        }

        func hello(node: String, limits: Limits) -> Hello {
            var policy = Policy(limits)
            policy.capacity = capacity
            policy.channelCapacity = channelCapacity.map {
                Policy.ChannelCapacity(pattern: Glob($0.pattern), capacity: $0.capacity)
            }
            policy.expiry = Milliseconds(seconds: expirySeconds)
            policy.groupExpiry = Milliseconds(seconds: groupExpirySeconds)
            policy.groupExpiryIsLiteral = groupExpiryIsLiteral
            policy.capacityScope = capacityScope
            policy.overflow = overflow.map {
                Policy.ChannelOverflow(pattern: Glob($0.pattern), overflow: $0.overflow)
            }
            var hello = Hello(client: "fanfare-swift/1", name: name, role: .worker, policy: policy)
            hello.namespace = namespace
            hello.node = node
            hello.attributes["pid"] = String(ProcessFacts.identifier)
            return hello
        }
    }

    /// Connects to a broker and returns when there is a session. From then on the layer connects again by itself.
    ///
    /// - Throws: ``ChannelLayerError/notConnected(_:)`` when no broker answers, ``ChannelLayerError/refused(_:)`` when
    ///   an endpoint or a setting cannot be used.
    public static func connect(_ configuration: Configuration) async throws -> ChannelLayer {
        let limits = Limits()
        let security = configuration.security.completed(by: ProcessFacts.environment(BrokerSecurity.environmentNames))
        let endpoints: [Endpoint]
        do throws(ProgramFailure) {
            endpoints = try ProcessFacts.endpoints(configuration.endpoints)
            try security.check()
        } catch {
            throw ChannelLayerError.refused(error.text)
        }
        let hello = configuration.hello(node: randomNode(), limits: limits)
        do {
            var settings = LayerSession.Configuration(endpoints: endpoints, hello: hello, limits: limits)
            settings.security = security
            settings.sendsWhileAway = configuration.sendsWhileAway
            let logger = Logger(label: "fanfare.client") { _ in SwiftLogNoOpLogHandler() }
            return try await dial(settings, logger, configuration.tracing, onDrain: configuration.onDrain)
        } catch let failure as Failure {
            throw ChannelLayerError(failure)
        }
    }

    /// A layer over a broker inside this process: for tests and programs of one process.
    ///
    /// - Parameters:
    ///   - configuration: Its endpoints do not matter.
    ///   - others: The layers the new one shares a broker with, as another process would; none when left out.
    /// - Throws: ``ChannelLayerError/refused(_:)`` when a setting cannot be used.
    public static func embedded(
        _ configuration: Configuration,
        with others: EmbeddedLayers? = nil
    ) async throws -> ChannelLayer {
        let limits = Limits()
        let layers = others ?? EmbeddedLayers()
        let hello = configuration.hello(node: randomNode(), limits: limits)
        do {
            var settings = LayerSession.Configuration(endpoints: [], hello: hello, limits: limits)
            settings.sendsWhileAway = configuration.sendsWhileAway
            return try await layers.layer(settings, configuration.tracing)
        } catch let failure as Failure {
            throw ChannelLayerError(failure)
        }
    }

    /// Looks at the files and settings that are needed to dial, without dialling. Blocks.
    ///
    /// - Throws: ``ProgramFailure`` with exit `configuration` when there is no endpoint they are good for: a file that
    ///   cannot be used, or a token that would go to another machine unprotected.
    package static func check(_ security: BrokerSecurity, for endpoints: [Endpoint]) throws(ProgramFailure) {
        var first: ProgramFailure?
        for endpoint in endpoints {
            do {
                _ = try DialCredentials.read(security, for: endpoint)
                return
            } catch {
                first = first ?? error
            }
        }
        if let first { throw first }
    }

    /// Connects with a hello of one's own.
    ///
    /// - Throws: ``ProgramFailure`` with exit `unavailable` when no broker answers, or the one that does refuses.
    package static func connect(
        endpoints: [Endpoint],
        hello: Hello,
        limits: Limits = Limits(),
        security: BrokerSecurity = BrokerSecurity(),
        retries: Bool,
        logger: Logger
    ) async throws -> ChannelLayer {
        var settings = LayerSession.Configuration(endpoints: endpoints, hello: hello, limits: limits)
        settings.retries = retries
        settings.security = security
        do {
            return try await dial(settings, logger)
        } catch let failure as Failure {
            let what = failure.code == .silence ? "no broker answers" : "the broker refused"
            throw ProgramFailure(.unavailable, "\(what): \(failure.text)")
        }
    }

    /// - Throws: `Failure` with the reason of the first attempt; nothing goes on trying then.
    private static func dial(
        _ settings: LayerSession.Configuration,
        _ logger: Logger,
        _ tracing: MessageTracing? = nil,
        onDrain: (@Sendable (DrainRequest) -> Void)? = nil
    ) async throws -> ChannelLayer {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let layer = try await loop.submit {
            let session = LayerSession(loop: loop, configuration: settings, logger: logger)
            return make(session, settings, tracing, on: loop, onDrain: onDrain)
        }.get()
        try await layer.connectedOrClosed()
        return layer
    }

    static func make(
        _ session: LayerSession,
        _ settings: LayerSession.Configuration,
        _ tracing: MessageTracing?,
        on loop: any EventLoop,
        onDrain: (@Sendable (DrainRequest) -> Void)? = nil
    ) -> ChannelLayer {
        let node = settings.hello.node ?? ""
        let engine = LayerEngine(
            session: session,
            node: node,
            policy: settings.hello.policy,
            limits: settings.limits,
            loop: loop
        )
        engine.onDrain = onDrain
        session.start()
        return ChannelLayer(loop: loop, engine: NIOLoopBound(engine, eventLoop: loop), node: node, tracing: tracing)
    }

    /// Ten random letters and digits: the broker refuses the one in 3.6e15 that is taken.
    package static func randomNode() -> String {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789")
        return String((0..<10).map { _ in alphabet[Int.random(in: alphabet.indices)] })
    }
}

/// A broker inside this process that several layers share.
public final class EmbeddedLayers: Sendable {
    /// Where the broker and all its layers live.
    package let loop: any EventLoop
    private let broker: NIOLoopBoundBox<EmbeddedBroker?>

    /// An empty broker with the documented limits.
    public init() {
        loop = MultiThreadedEventLoopGroup.singleton.next()
        broker = NIOLoopBoundBox.makeBoxSendingValue(nil, eventLoop: loop)
    }

    /// A layer with a hello of one's own.
    package func layer(
        _ settings: LayerSession.Configuration,
        _ tracing: MessageTracing? = nil
    ) async throws -> ChannelLayer {
        let layer = try await loop.submit { [self] in
            let logger = Logger(label: "fanfare.embedded") { _ in SwiftLogNoOpLogHandler() }
            return ChannelLayer.make(session(settings, logger: logger), settings, tracing, on: loop)
        }.get()
        try await layer.connectedOrClosed()
        return layer
    }

    /// A session that has not been started. On ``loop``.
    ///
    /// - Parameter settings: The first session's limits are the broker's.
    package func session(_ settings: LayerSession.Configuration, logger: Logger) -> LayerSession {
        let carrier = broker.value ?? EmbeddedBroker(loop: loop, limits: settings.limits)
        broker.value = carrier
        return LayerSession(loop: loop, configuration: settings, carrier: carrier, logger: logger)
    }

    /// Whether the broker has answered everything and every answer has arrived. On ``loop``.
    package var isQuiet: Bool { broker.value?.isQuiet ?? true }

    /// Breaks every link, as a network does; sessions go on over the next ones. On ``loop``.
    package func breakLinks() {
        broker.value?.breakLinks()
    }

    /// The broker forgets everything, and every session begins anew, as after the restart of a broker. On ``loop``.
    package func restartBroker() {
        broker.value?.restart()
    }
}
