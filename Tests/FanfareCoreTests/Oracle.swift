import FanfareModel

/// FanfareCore once more, as plainly as `proto/PROTOCOL.md` reads: arrays, linear searches, nothing remembered that
/// can be looked up. The simulation holds the core against it.
///
/// Who owns a channel is never stored; it is asked each time. An idle channel is a row that nobody needs, removed
/// after each change. Tails and inspection by request are not covered.
struct Oracle {
    /// One side of an address: names are scoped to their namespace.
    struct Address: Hashable {
        var namespace: String
        var name: String
    }

    struct Session {
        let id: SessionID
        let name: String
        let namespace: String
        let node: String?
        let role: Role
        let policy: Policy
        /// The token of the latest `FLUSHED` while it is unanswered: reports are about what no longer exists. Answers
        /// come in the order of the stream, so the latest one speaks for all.
        var unansweredFlush: UInt64?
        /// Whether more waits for its connection than may.
        var isCongested = false
        /// Group messages its members missed while it was.
        var missed: UInt64 = 0
        /// Messages it was handed and may give back, by channel; those of an earlier start by the empty name.
        var handedOut: [String: HandedOut] = [:]
    }

    struct HandedOut {
        var count: UInt64 = 0
        var until = Instant(nanoseconds: 0)
    }

    /// What a sender wrote, and what that counts for where bytes are bounded.
    struct Content {
        let body: Body
        let trace: TraceContext?

        var bytes: Int { body.count + trace.heldBytes }
    }

    struct Message {
        let content: Content
        let order: UInt64
        let deadline: Instant
    }

    struct Receive {
        let session: SessionID
        let id: RequestID
        var count: Int
    }

    /// A channel somebody needs. The array of them is in order of creation.
    struct Channel {
        let address: Address
        /// The node of a process channel.
        let node: String?
        var queue: [Message] = []
        /// Longest waiting first.
        var receives: [Receive] = []
        var isDeclared = false
        /// Sizes of what was pushed to the owner and not yet taken, oldest first.
        var pushed: [Int] = []
        /// Group messages the owner says wait in its buffer.
        var held: UInt64 = 0
        /// What the owner missed and was not told of yet, reasons in order of their first miss.
        var missed: [(reason: DropReason, count: UInt64)] = []

        /// Saturating: an owner may report any `held`.
        var unread: UInt64 {
            let (sum, overflows) = held.addingReportingOverflow(UInt64(pushed.count))
            return overflows ? .max : sum
        }
    }

    struct Membership {
        let group: Address
        let channel: String
        let node: String?
        var deadline: Instant?
        /// Whether the deadline also holds while the owner lives.
        var isLiteral: Bool

        var channelAddress: Address { Address(namespace: group.namespace, name: channel) }
    }

    /// A flush or an outcome that waits for owners.
    struct Collection {
        enum Subject {
            case flush
            case outcome(members: UInt64, accepted: UInt64, dropped: UInt64)
        }

        let token: UInt64
        let session: SessionID
        let request: RequestID
        let deadline: Instant
        var subject: Subject
        /// Who has not answered, with the members each had when asked.
        var owed: [(session: SessionID, members: UInt64)]
    }

    /// The sessions that own members of a group, longest first.
    struct Owners {
        let group: Address
        var sessions: [SessionID]
    }

    /// What one step made the broker say, by the session that hears it.
    struct Said {
        /// Because time passed: expired memberships and collections, in an order the text leaves open.
        var byTime: [SessionID: [Reply]] = [:]
        /// Because of the event itself, after everything in ``byTime``.
        var byEvent: [SessionID: [Reply]] = [:]
        /// The sessions each group delivery went to, in the order promised.
        var fanOuts: [[SessionID]] = []
        var closed: [SessionID] = []
        /// Every hand-out with the channel it came from.
        var handOuts: [(session: SessionID, channel: Address, handOut: HandOut)] = []
    }

    let limits: Limits
    let epoch: UInt64
    let broker: String
    var now = Instant(nanoseconds: 0)
    var sessions: [Session] = []
    var channels: [Channel] = []
    var memberships: [Membership] = []
    var owners: [Owners] = []
    var collections: [Collection] = []
    var drops = [UInt64](repeating: 0, count: DropReason.allCases.count + 1)
    var losses: [Loss: Losses] = [:]
    var lastSession: UInt64 = 0
    var lastOrder: UInt64 = 0
    var lastToken: UInt64 = 0
    var said = Said()
    private var isPassingTime = false

    init(limits: Limits, epoch: UInt64, broker: String) {
        self.limits = limits
        self.epoch = epoch
        self.broker = broker
    }

    // MARK: Time

    /// The earliest moment at which something ends by itself.
    var earliestDeadline: Instant? {
        let queued = channels.flatMap { $0.queue.map(\.deadline) }
        return (queued + memberships.compactMap(\.deadline) + collections.map(\.deadline)).min()
    }

    mutating func advance(to moment: Instant) {
        precondition(moment >= now, "time does not go back")
        now = moment
        guard let earliest = earliestDeadline, earliest <= now else { return }
        isPassingTime = true
        defer { isPassingTime = false }
        for index in channels.indices {
            let expired = channels[index].queue.count { $0.deadline <= moment }
            guard expired > 0 else { continue }
            let address = channels[index].address
            drop(UInt64(expired), .expired, of: address)
            channels[index].queue.removeAll { $0.deadline <= moment }
            memberships.removeAll { $0.channelAddress == address }
        }
        for membership in memberships {
            guard let deadline = membership.deadline, deadline <= now else { continue }
            if let owner = owner(of: membership) {
                say(.members(group: membership.group.name, added: [], removed: [membership.channel]), to: owner.id)
            }
        }
        memberships.removeAll { if let deadline = $0.deadline { deadline <= moment } else { false } }
        for collection in collections where collection.deadline <= now { settle(collection, isPartial: true) }
        collections.removeAll { $0.deadline <= moment }
        tidy()
    }

    // MARK: Sessions

    mutating func open(_ hello: Hello, now: Instant) throws(Failure) -> SessionID {
        advance(to: now)
        guard hello.protocolVersion == 1 else { throw Failure(.unsupportedProtocol, "") }
        guard !hello.client.isEmpty, !hello.name.isEmpty, Names.isGroup(hello.namespace, limits) else {
            throw Failure(.badHello, "")
        }
        if let node = hello.node {
            guard Names.isNode(node, limits) else { throw Failure(.badHello, "") }
            guard !sessions.contains(where: { $0.namespace == hello.namespace && $0.node == node }) else {
                throw Failure(.nodeTaken, "")
            }
        }
        guard sessions.count < limits.sessions else { throw Failure(.limitReached, "") }
        lastSession += 1
        let session = Session(
            id: SessionID(lastSession),
            name: hello.name,
            namespace: hello.namespace,
            node: hello.node,
            role: hello.role,
            policy: hello.policy.capped(by: limits)
        )
        sessions.append(session)
        let welcome = Welcome(
            session: session.id,
            epoch: epoch,
            broker: broker,
            policy: session.policy,
            limits: limits
        )
        say(.welcome(welcome), to: session.id)
        adopt(by: session)
        tidy()
        return session.id
    }

    /// What waited for a node becomes the property of the session that claimed it: memberships, then messages.
    private mutating func adopt(by session: Session) {
        guard let node = session.node else { return }
        var groups: [String] = []
        var added: [String: [String]] = [:]
        for index in memberships.indices {
            guard memberships[index].group.namespace == session.namespace, memberships[index].node == node else {
                continue
            }
            if !memberships[index].isLiteral { memberships[index].deadline = nil }
            let group = memberships[index].group.name
            if added[group] == nil { groups.append(group) }
            added[group, default: []].append(memberships[index].channel)
        }
        for group in groups { say(.members(group: group, added: added[group]!, removed: []), to: session.id) }
        for index in channels.indices {
            guard channels[index].address.namespace == session.namespace, channels[index].node == node else { continue }
            let channel = channels[index]
            for message in channel.queue {
                let remaining = now.milliseconds(until: message.deadline)
                let (body, trace) = (message.content.body, message.content.trace)
                let name = channel.address.name
                say(.deliver(channel: name, body: body, remaining: remaining, trace: trace), to: session.id)
                channels[index].pushed.append(message.content.bytes)
            }
            channels[index].queue = []
        }
    }

    mutating func close(_ id: SessionID, now: Instant) {
        advance(to: now)
        end(id)
    }

    /// Ends a session with all it owns.
    mutating func end(_ id: SessionID) {
        guard let session = session(id) else { return }
        for index in channels.indices { channels[index].receives.removeAll { $0.session == id } }
        for channel in channels where owns(session, channel) {
            drop(UInt64(channel.pushed.count), .ownerGone, of: channel.address)
        }
        channels = channels.filter { !owns(session, $0) }
        if let node = session.node {
            memberships.removeAll { $0.group.namespace == session.namespace && $0.node == node }
        }
        sessions.removeAll { $0.id == id }
        collections.removeAll { $0.session == id }
        for collection in collections { answer(collection.token, by: id, accepted: 0, dropped: nil) }
        tidy()
    }

    // MARK: What everything needs

    func session(_ id: SessionID) -> Session? {
        sessions.first { $0.id == id }
    }

    func owns(_ session: Session, _ channel: Channel) -> Bool {
        session.node != nil && channel.node == session.node && channel.address.namespace == session.namespace
    }

    func owner(of channel: String, in namespace: String) -> Session? {
        guard let node = Names.node(of: channel) else { return nil }
        return sessions.first { $0.namespace == namespace && $0.node == String(node) }
    }

    func owner(of membership: Membership) -> Session? {
        guard let node = membership.node else { return nil }
        return sessions.first { $0.namespace == membership.group.namespace && $0.node == node }
    }

    func index(of address: Address) -> Int? {
        channels.firstIndex { $0.address == address }
    }

    /// The row of a channel, created when there is none. Whether there may be one more is asked before.
    mutating func row(of address: Address) -> Int {
        if let index = index(of: address) { return index }
        channels.append(Channel(address: address, node: Names.node(of: address.name).map(String.init)))
        return channels.count - 1
    }

    mutating func say(_ reply: Reply, to session: SessionID) {
        if isPassingTime {
            said.byTime[session, default: []].append(reply)
        } else {
            said.byEvent[session, default: []].append(reply)
        }
    }

    mutating func acknowledge(_ id: RequestID?, to session: SessionID) {
        if let id { say(.ack(id), to: session) }
    }

    /// Forgets channels nobody needs and brings the lists of owners up to date.
    mutating func tidy() {
        let members = Set(memberships.map(\.channelAddress))
        channels.removeAll {
            $0.queue.isEmpty && $0.receives.isEmpty && !$0.isDeclared && $0.pushed.isEmpty && $0.held == 0
                && $0.missed.isEmpty && !members.contains($0.address)
        }
        var current: [Address: [SessionID]] = [:]
        for membership in memberships {
            guard let owner = owner(of: membership) else { continue }
            if !current[membership.group, default: []].contains(owner.id) {
                current[membership.group, default: []].append(owner.id)
            }
        }
        for index in owners.indices {
            let still = current.removeValue(forKey: owners[index].group) ?? []
            owners[index].sessions.removeAll { !still.contains($0) }
            owners[index].sessions += still.filter { !owners[index].sessions.contains($0) }
        }
        owners += current.map { Owners(group: $0.key, sessions: $0.value) }
        owners.removeAll(where: \.sessions.isEmpty)
    }
}
