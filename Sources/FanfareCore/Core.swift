package import FanfareModel

/// The broker as a pure state machine: who exists, what waits where, who gets what.
///
/// No clock, no randomness, no I/O: time is an argument, what must happen is the result, so the same calls
/// always give the same effects. Every entry point first lets time pass: nothing whose deadline has come is
/// seen by anything that follows.
///
/// What is asked of it for every message without changing it is inlined: a call would pass the whole struct by value.
///
/// `open` → `apply`* → `close` is the life of a session. Between calls the shell arms one timer for
/// ``nextDeadline`` and calls `advance`.
package struct Core {
    package let limits: Limits
    let epoch: UInt64
    /// Program and version, for the welcome.
    package let broker: String

    var sessions = Slab(vacant: Session.vacant)
    var namespaceSlots: [String: NamespaceSlot] = [:]
    var namespaces = Slab(vacant: Namespace(name: ""))
    var channels = Slab(vacant: Channel.vacant)
    var mailboxes = Slab(vacant: Mailbox())
    var groups = Slab(vacant: Group.vacant)
    var memberships = Slab(vacant: Membership.vacant)
    var deadlines = DeadlineHeap<Due>()
    /// When `advance` has something to do next. Stored: who asks a computed property of another module's struct in a
    /// class copies the struct, with all its reference counts.
    package internal(set) var nextDeadline: Instant?
    var collections: [UInt64: Collection] = [:]
    var tails: [Tail] = []

    var queuedMessages = 0
    var queuedBytes = 0
    /// The most these ever were, and the most unread messages any channel ever had.
    var queuedMessagesHigh = 0
    var queuedBytesHigh = 0
    var depthHigh: UInt64 = 0
    /// Live sessions, in the order of ``Role/allCases``.
    var sessionsByRole = [Int](repeating: 0, count: Role.allCases.count)
    var receives = 0
    /// Channels that live sessions remember to have been handed messages of.
    var handedOutChannels = 0
    var lastSession: UInt64 = 0
    var lastOrder: UInt64 = 0
    var lastTicket: UInt64 = 0
    var lastToken: UInt64 = 0
    /// What has been done so far.
    package internal(set) var counters = Counters()
    var dropLog = DropLog()
    /// Connections that have ended; the shell adds those that never had a session.
    package var closed: ClosedLog
    /// Bytes the shell holds, for links and for sessions without one; it keeps this up to date.
    package var outsideBytes = 0

    /// What a deadline is about.
    enum Due {
        case queue(ChannelSlot)
        case membership(MembershipSlot)
        case collection(UInt64)
    }

    typealias Timer = DeadlineHeap<Due>.Timer

    /// How a request is answered once it has been carried out.
    enum Answer {
        case acknowledge
        case result(MessageValue)
        /// By itself, later, or never.
        case silence
    }

    /// - Parameters:
    ///   - limits: Every bound.
    ///   - epoch: Tells this start of the broker from every other; clients register again when it changes.
    ///   - broker: Program and version, for the welcome.
    package init(limits: Limits, epoch: UInt64, broker: String) {
        self.limits = limits
        self.epoch = epoch
        self.broker = broker
        closed = ClosedLog(limits)
        let none = mailboxes.insert(Mailbox())
        precondition(none == .none, "the first mailbox stands for those that channels do not have")
    }

    /// Lets everything whose time has come end: messages, memberships, waits for owners.
    package mutating func advance(to now: Instant, into effects: inout Effects) {
        defer { nextDeadline = deadlines.earliest }
        // Each of these moves or cancels the deadline it answers for.
        while let due = deadlines.due(now) {
            switch due {
            case .queue(let channel): expireMessages(of: channel, now, &effects)
            case .membership(let membership): expire(membership, &effects)
            case .collection(let token): settle(token, isPartial: true, &effects)
            }
        }
    }

    /// Carries out one request of a live session; requests of a session that is gone are ignored.
    ///
    /// - Parameters:
    ///   - isLost: Lets a message fall on purpose, for the resilience mode; which message is the shell's decision.
    package mutating func apply(
        _ request: Request,
        from session: SessionID,
        now: Instant,
        isLost: Bool = false,
        into effects: inout Effects
    ) {
        advance(to: now, into: &effects)
        defer { nextDeadline = deadlines.earliest }
        guard let slot = slot(of: session) else { return }
        do throws(Failure) {
            try permit(request, to: sessions[slot].hello.role)
            switch try isLost ? lose(request, slot, now) : perform(request, slot, now, &effects) {
            case .acknowledge: if let id = request.id { effects.reply(.ack(id), to: session) }
            case .result(let value): if let id = request.id { effects.reply(.result(id, value), to: session) }
            case .silence: break
            }
        } catch {
            // A drop is counted; only who asked for an answer hears of it. Anything else is the client's mistake.
            let isDrop = error.code == .channelFull || error.code == .messageTooLarge
            if !isDrop || request.id != nil { effects.reply(.error(request.id, error), to: session) }
        }
    }

    private mutating func perform(
        _ request: Request,
        _ session: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) -> Answer {
        switch request {
        case .hello:
            throw Failure(.helloRepeated, "this connection has said hello; open another one for another session")
        case .ping(let id):
            effects.reply(.pong(id), to: sessions[session].id)
            return .silence
        case .pong: return .silence
        case .goodbye:
            let id = sessions[session].id
            close(id, .goodbye, now: now, into: &effects)
            effects.close(id, nil)
            return .silence
        case .send(let id, let channel, let body, let options):
            return try send(body, to: channel, options, isAnswered: id != nil, from: session, now, &effects)
        case .receive(let id, let channel, let count):
            return try receive(id, channel, count, session, now, &effects)
        case .cancel(_, let target): return cancel(target, session)
        case .giveBack(_, let channel, let message):
            return try giveBack(message, to: channel, session, now, &effects)
        case .report(let report): return apply(report, session, now, &effects)
        case .openChannels(_, let opened): return try openChannels(opened, session, now)
        case .closeChannels(_, let names): return try closeChannels(names, session, now)
        case .groupAdd(let id, let group, let names, let expiry):
            return try groupAdd(names, to: group, expiry, notifies: id == nil, session, now, &effects)
        case .groupDiscard(let id, let group, let names):
            return try groupDiscard(names, from: group, notifies: id == nil, session, &effects)
        case .groupSend(let id, let group, let body, let options):
            return try groupSend(id, body, to: group, options, from: session, now, &effects)
        case .outcome(let token, let accepted, let dropped):
            return outcome(token, accepted, dropped, session, &effects)
        case .flush(let id): return try flush(id, session, now, &effects)
        case .inspect(_, let query): return .result(try inspect(confined(query, to: session), now: now))
        case .tail(let id, let query): return try tail(id, query, session)
        case .admin(let id, let command, let arguments):
            try administer(id, command, arguments, session, now, &effects)
            return .silence
        }
    }

    @inline(__always)
    func permit(_ request: Request, to role: Role) throws(Failure) {
        let isPermitted =
            switch request {
            case .hello, .ping, .pong, .goodbye, .cancel: true
            case .inspect(_, let query):
                role == .inspect || role == .admin || (role == .worker && query.subject.isOpenToWorkers)
            case .tail: role == .inspect || role == .admin
            case .admin: role == .admin
            case .send, .groupSend: role != .inspect
            // Whoever can resume says what has arrived.
            case .report(let report) where report.taken.isEmpty && report.dropped.isEmpty: true
            default: role == .worker || role == .admin
            }
        if !isPermitted {
            throw Failure(
                .forbidden,
                "the role \"\(role.rawValue)\" may not do this; see proto/PROTOCOL.md, section 3.4"
            )
        }
    }
}
