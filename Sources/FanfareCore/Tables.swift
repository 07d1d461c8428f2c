import DequeModule
import FanfareModel

typealias ChannelSlot = Slot<Channel>
typealias MailboxSlot = Slot<Mailbox>
typealias GroupSlot = Slot<Group>
typealias MembershipSlot = Slot<Membership>
typealias SessionSlot = Slot<Session>
typealias NamespaceSlot = Slot<Namespace>

/// A message as its sender wrote it.
struct Content {
    var body: Body
    var trace: TraceContext?

    /// What it takes in memory.
    @inline(__always) var bytes: Int { body.count + trace.heldBytes }
}

/// A message waiting in a channel nobody owns.
struct QueuedMessage {
    var content: Content
    /// Grows with every accepted message; a message given back returns to its place by it.
    var order: UInt64
    var deadline: Instant
    var acceptedAt: Instant
}

/// A message on its way to the owner of a channel: what is left to know of it.
struct PushedMessage {
    var bytes: Int
    var acceptedAt: Instant
}

/// A named mailbox. Exists while something is in it, reads it, declares it or counts it as a member.
///
/// Small, because most are nothing but members: what it takes to hold messages is in a ``Mailbox`` of its own.
struct Channel: Linked, Named {
    let name: String
    /// What its name is found by.
    let hash: UInt32
    let namespace: NamespaceSlot
    /// The live session whose node the name carries.
    var owner: SessionSlot? {
        get { ownerSlot == .nowhere ? nil : ownerSlot }
        set { ownerSlot = newValue ?? .nowhere }
    }
    private var ownerSlot = SessionSlot.nowhere
    var mailbox = MailboxSlot.none
    /// The groups it is in, first joined first.
    var groups = JoinedGroups()
    /// What the owner said of it with `OPEN_CHANNELS`; `nil` while it has not.
    var attributes: [String: String]?
    /// Neighbours among the channels of one process.
    var next = ChannelSlot.nowhere
    var previous = ChannelSlot.nowhere

    init(name: String, hash: UInt32, namespace: NamespaceSlot) {
        self.name = name
        self.hash = hash
        self.namespace = namespace
    }
}

/// The messages of a channel, who waits for them and what became of them. Comes with the first, goes with the channel.
struct Mailbox {
    /// Unread messages; always empty while there is an owner, to whom messages are pushed.
    var queue: Deque<QueuedMessage> = []
    var queuedBytes = 0
    /// When the next message of the queue expires.
    var timer = Core.Timer.nowhere
    /// Receives in line, longest waiting first. Entries whose ticket is no longer its session's are skipped.
    var readers: Deque<Reader> = []
    var waitingReaders = 0
    /// Messages pushed to the owner and not yet reported as taken, oldest first.
    var pushed: Deque<PushedMessage> = []
    var pushedBytes = 0
    /// Group messages the owner says wait unread in its buffer.
    var held: UInt64 = 0
    /// Messages the owner missed and has not been told of; told at the place of the hole, before what follows.
    var missed: [Missed] = []
    var messages: UInt64 = 0
    var rate = Rate()
    var drops: UInt64 = 0
    /// The most there ever were unread.
    var depthHigh: UInt64 = 0

    // Inlined: a call would copy the mailbox.
    @inline(__always)
    var unread: UInt64 { UInt64(queue.count) + UInt64(pushed.count) + held }

    /// Takes note of how much is unread when that has become more.
    ///
    /// - Returns: How much it is.
    @inline(__always)
    mutating func noteDepth() -> UInt64 {
        let unread = unread
        if unread > depthHigh { depthHigh = unread }
        return unread
    }

    var isIdle: Bool { unread == 0 && waitingReaders == 0 && missed.isEmpty }
}

extension MailboxSlot {
    /// The mailbox of channels that have none: always there, always empty, never changed.
    static var none: MailboxSlot { .first }
}

/// Messages an owner missed for one reason.
struct Missed {
    var reason: DropReason
    var count: UInt64
}

extension [Missed] {
    mutating func add(_ count: UInt64, _ reason: DropReason) {
        if let index = firstIndex(where: { $0.reason == reason }) {
            self[index].count = self[index].count.addingClamped(count)
        } else {
            append(Missed(reason: reason, count: count))
        }
    }
}

/// One `RECEIVE` in a channel's line.
struct Reader {
    var session: SessionSlot
    var id: RequestID
    /// Tells this receive from an earlier one under the same id, and the slot's session from an earlier one.
    var ticket: UInt64
}

/// A `RECEIVE` that still waits.
struct Receive {
    var channel: ChannelSlot
    var ticket: UInt64
    /// Messages it still wants.
    var count: Int
}

/// One accepted connection.
struct Session {
    let id: SessionID
    let hello: Hello
    let policy: Policy
    let namespace: NamespaceSlot
    let openedAt: Instant
    /// Process channels it owns that exist, oldest first.
    var channels = Chain<Channel>()
    var memberships = 0
    /// Messages lost on their way to it.
    var drops: UInt64 = 0
    /// Whether an operator has asked it to go.
    var isDrained = false
    /// Unread messages of all its channels, for `capacity_scope` process.
    var unread: UInt64 = 0
    var receives: [RequestID: Receive] = [:]
    var tails: Set<RequestID> = []
    var handedOut = HandedOut()
    /// The flush it has been told of and not answered; its reports speak of what is gone.
    var flushing: UInt64?
    /// Whether more waits for its connection than may: nothing is pushed to it until that has gone.
    var isCongested = false
    /// Group messages it missed and has not been told of.
    var missed: [Missed] = [] { didSet { hasMissed = !missed.isEmpty } }
    /// Asked for each owner of each group message, which should not have to look at an array.
    private(set) var hasMissed = false
}

/// A world of names of its own.
struct Namespace {
    let name: String
    var channels = NameTable<Channel>()
    var groups = NameTable<Group>()
    /// Live sessions by node.
    var owners: [String: SessionSlot] = [:]
    /// Process channels without a live owner, by node, oldest first.
    var unowned: [String: Chain<Channel>] = [:]
    var sessions = 0

    var isIdle: Bool { sessions == 0 && channels.isEmpty && groups.isEmpty }
}

/// Many channels behind one name, kept by owner so that a send costs one frame per process.
struct Group: Named {
    let name: String
    /// What its name is found by.
    let hash: UInt32
    let namespace: NamespaceSlot
    let openedAt: Instant
    /// Sessions that own members, in the order they came to have some.
    var owners: [GroupOwner] = []
    /// Members nobody owns: each gets the message into its own queue.
    var unowned = Chain<Membership>()
    var messages: UInt64 = 0
    var rate = Rate()
    /// Messages that did not reach a member.
    var drops: UInt64 = 0

    var memberCount: Int { owners.reduce(unowned.count) { $0 + $1.members.count } }
}

struct GroupOwner {
    let session: SessionSlot
    var members = Chain<Membership>()
}

/// One channel's membership in one group.
struct Membership: Linked {
    let channel: ChannelSlot
    let group: GroupSlot
    let joinedAt: Instant
    /// When it ends by itself; none while it lives with its owner.
    var timer = Core.Timer.nowhere
    /// Neighbours among the members of one owner, or of nobody, in the group.
    var next = MembershipSlot.nowhere
    var previous = MembershipSlot.nowhere
    /// Whether the deadline holds for a live owner too.
    var isLiteral = false
}

/// The groups of one channel, first joined first. The first is kept in place: most channels are in one group.
struct JoinedGroups: RandomAccessCollection {
    /// A group and the membership in it.
    typealias Joined = (group: GroupSlot, membership: MembershipSlot)

    private var head: Joined = (.nowhere, .nowhere)
    private var tail: [Joined] = []

    var startIndex: Int { 0 }
    var endIndex: Int { head.group == .nowhere ? 0 : 1 + tail.count }

    subscript(index: Int) -> Joined { index == 0 ? head : tail[index - 1] }

    /// The membership in `group`.
    subscript(group: GroupSlot) -> MembershipSlot? {
        if head.group == group { return head.membership }
        return tail.first { $0.group == group }?.membership
    }

    /// Adds a group it is not in.
    mutating func append(_ group: GroupSlot, _ membership: MembershipSlot) {
        if isEmpty { head = (group, membership) } else { tail.append((group, membership)) }
    }

    mutating func remove(_ group: GroupSlot) {
        if head.group == group {
            head = tail.isEmpty ? (.nowhere, .nowhere) : tail.removeFirst()
        } else if let index = tail.firstIndex(where: { $0.group == group }) {
            tail.remove(at: index)
        }
    }

    mutating func removeAll() {
        self = JoinedGroups()
    }
}
