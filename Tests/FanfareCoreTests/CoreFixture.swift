import FanfareCore
import FanfareModel

/// A core with a clock of its own, for tests that tell a short story.
struct Broker {
    private(set) var core: Core
    private(set) var now = Instant(nanoseconds: 1_000_000_000)
    private let limits: Limits
    private var lastRequest: RequestID = 1_000

    /// What one call made the core say.
    struct Said {
        let effects: Effects

        /// What `session` hears, in order.
        subscript(session: SessionID) -> [Reply] {
            effects.list.flatMap { effect -> [Reply] in
                switch effect {
                case .reply(let reply, session): [reply]
                case .fanOut(let reply, let range): effects.targets[range].filter { $0 == session }.map { _ in reply }
                default: []
                }
            }
        }

        /// The code of the only error `session` hears, or `nil`.
        func refusal(of session: SessionID) -> ErrorCode? {
            guard self[session].count == 1, case .error(_, let failure) = self[session][0] else { return nil }
            return failure.code
        }

        /// What is handed to `session`, in order.
        func handOuts(to session: SessionID) -> [HandOut] {
            self[session].compactMap { if case .handOut(_, let handOut) = $0 { handOut } else { nil } }
        }

        /// The texts pushed to `session`, in order.
        func delivered(to session: SessionID) -> [String] {
            self[session].compactMap {
                if case .deliver(_, let body, _, _) = $0 { String(decoding: body, as: UTF8.self) } else { nil }
            }
        }
    }

    init(_ adjust: (inout Limits) -> Void = { _ in }) {
        var limits = Limits()
        adjust(&limits)
        self.limits = limits
        core = Core(limits: limits, epoch: 1, broker: "fanfare-broker/test")
    }

    /// Opens a session as a worker and returns its number with what was said.
    mutating func greet(
        node: String? = nil,
        role: Role = .worker,
        namespace: String = "default",
        _ adjust: (inout Policy) -> Void = { _ in }
    ) throws -> (session: SessionID, said: Said) {
        var policy = Policy(limits)
        adjust(&policy)
        var hello = Hello(client: "test/1", name: "test", role: role, policy: policy)
        hello.node = node
        hello.namespace = namespace
        var effects = Effects()
        let session = try core.open(hello, now: now, into: &effects)
        return (session, Said(effects: effects))
    }

    /// Opens a session whose welcome needs no look.
    mutating func open(
        node: String? = nil,
        role: Role = .worker,
        namespace: String = "default",
        _ adjust: (inout Policy) -> Void = { _ in }
    ) throws -> SessionID {
        try greet(node: node, role: role, namespace: namespace, adjust).session
    }

    mutating func open(_ hello: Hello) throws {
        var effects = Effects()
        _ = try core.open(hello, now: now, into: &effects)
    }

    /// A connection without a session has ended.
    mutating func note(_ closed: ClosedConnection) {
        core.closed.add(closed)
    }

    @discardableResult
    mutating func apply(_ request: Request, from session: SessionID) -> Said {
        var effects = Effects()
        core.apply(request, from: session, now: now, into: &effects)
        return Said(effects: effects)
    }

    @discardableResult
    mutating func send(
        _ text: String,
        to channel: String,
        from session: SessionID,
        id: RequestID? = 1,
        expiry: UInt64? = nil
    ) -> Said {
        let options = SendOptions(expiry: expiry.map { Milliseconds($0) })
        return apply(.send(id: id, channel: channel, body: Body(text.utf8), options), from: session)
    }

    @discardableResult
    mutating func sendToGroup(
        _ text: String,
        _ group: String,
        from session: SessionID,
        id: RequestID? = 1,
        exclude: [String] = [],
        wantsOutcome: Bool = false
    ) -> Said {
        let options = GroupSendOptions(exclude: exclude, wantsOutcome: wantsOutcome)
        return apply(.groupSend(id: id, group: group, body: Body(text.utf8), options), from: session)
    }

    /// Reads up to `count` messages that are already there and returns their texts; nothing stays waiting.
    mutating func drain(_ channel: String, by session: SessionID, count: Int = 1_000) -> [String] {
        lastRequest += 1
        let said = apply(.receive(id: lastRequest, channel: channel, count: count), from: session)
        apply(.cancel(id: lastRequest + 1_000_000, target: lastRequest), from: session)
        return said.handOuts(to: session).map(\.text)
    }

    @discardableResult
    mutating func add(
        _ channels: [String],
        to group: String,
        from session: SessionID,
        id: RequestID? = 1,
        expiry: UInt64? = nil
    ) -> Said {
        let groupExpiry = expiry.map { Milliseconds($0) }
        return apply(.groupAdd(id: id, group: group, channels: channels, groupExpiry: groupExpiry), from: session)
    }

    @discardableResult
    mutating func close(_ session: SessionID) -> Said {
        var effects = Effects()
        core.close(session, now: now, into: &effects)
        return Said(effects: effects)
    }

    /// More waits for the connection of `session` than may, or enough of it has gone.
    @discardableResult
    mutating func setCongested(_ isCongested: Bool, _ session: SessionID) -> Said {
        var effects = Effects()
        core.setCongested(isCongested, session, now: now, into: &effects)
        return Said(effects: effects)
    }

    /// The shell holds so many bytes.
    mutating func hold(outside bytes: Int) {
        core.outsideBytes = bytes
    }

    /// Lets time pass and says what that brought.
    @discardableResult
    mutating func pass(milliseconds: UInt64) -> Said {
        now = now.advanced(by: Milliseconds(milliseconds))
        var effects = Effects()
        core.advance(to: now, into: &effects)
        return Said(effects: effects)
    }

    /// The rows of an inspection, all columns.
    func rows(_ subject: InspectionQuery.Subject) throws -> [MessageValue] {
        try core.inspect(InspectionQuery(subject), now: now)["rows"]?.array ?? []
    }
}

extension HandOut {
    /// The body as text.
    var text: String { String(decoding: body, as: UTF8.self) }
}
