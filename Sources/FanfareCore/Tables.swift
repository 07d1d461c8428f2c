import DequeModule
import FanfareModel

typealias ChannelSlot = Slot<Channel>
typealias GroupSlot = Slot<Group>
typealias SessionSlot = Slot<Session>
typealias NamespaceSlot = Slot<Namespace>

/// A message waiting in a channel nobody owns.
struct QueuedMessage {
    var body: Body
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
struct Channel {
    let name: String
    let namespace: NamespaceSlot
    let openedAt: Instant
    /// Tells which of two channels came into being first.
    let number: UInt64
    /// The live session whose node the name carries.
    var owner: SessionSlot?
    /// Unread messages; always empty while there is an owner, to whom messages are pushed.
    var queue: Deque<QueuedMessage> = []
    var queuedBytes = 0
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
    var groups: [GroupSlot] = []
    /// Whether the owner declared it with `OPEN_CHANNELS`.
    var isDeclared = false
    var attributes: [String: String] = [:]
    var messages: UInt64 = 0
    var drops: UInt64 = 0

    var unread: UInt64 { UInt64(queue.count) + UInt64(pushed.count) + held }

    var isIdle: Bool { unread == 0 && waitingReaders == 0 && groups.isEmpty && !isDeclared && missed.isEmpty }
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
    /// Process channels it owns that exist.
    var channels: Set<ChannelSlot> = []
    var memberships = 0
    /// Unread messages of all its channels, for `capacity_scope` process.
    var unread: UInt64 = 0
    var receives: [RequestID: Receive] = [:]
    var tails: Set<RequestID> = []
    /// The flush it has been told of and not answered; its reports speak of what is gone.
    var flushing: UInt64?
    /// Whether more waits for its connection than may: nothing is pushed to it until that has gone.
    var isCongested = false
    /// Group messages it missed while it was congested.
    var missed: UInt64 = 0
}

/// A world of names of its own.
struct Namespace {
    let name: String
    var channels: [String: ChannelSlot] = [:]
    var groups: [String: GroupSlot] = [:]
    /// Live sessions by node.
    var owners: [String: SessionSlot] = [:]
    /// Process channels without a live owner, by node.
    var unowned: [String: Set<ChannelSlot>] = [:]
    var sessions = 0

    var isIdle: Bool { sessions == 0 && channels.isEmpty && groups.isEmpty }
}

/// Many channels behind one name, kept by owner so that a send costs one frame per process.
struct Group {
    let name: String
    let namespace: NamespaceSlot
    let openedAt: Instant
    /// Sessions that own members, in the order they came to have some.
    var owners: [GroupOwner] = []
    /// Members nobody owns: each gets the message into its own queue.
    var unowned = MemberTable()
    var messages: UInt64 = 0
    var rate = Rate()

    var memberCount: Int { owners.reduce(unowned.count) { $0 + $1.members.count } }
}

struct GroupOwner {
    let session: SessionSlot
    var members = MemberTable()
}

/// One channel's membership in one group.
struct Membership {
    var joinedAt: Instant
    /// When it ends by itself; `nil` while it lives with its owner.
    var deadline: Instant?
    /// Whether the deadline holds for a live owner too.
    var isLiteral: Bool
}

/// Members in an order that depends on history only, found by channel.
struct MemberTable {
    private(set) var entries: ContiguousArray<(channel: ChannelSlot, membership: Membership)> = []
    /// Positions by channel, kept only for tables too long to search.
    private var positions: [ChannelSlot: Int] = [:]
    private static let searchable = 16

    var count: Int { entries.count }
    var isEmpty: Bool { entries.isEmpty }

    subscript(channel: ChannelSlot) -> Membership? {
        position(of: channel).map { entries[$0].membership }
    }

    /// Adds or replaces. Returns whether the channel is new here.
    @discardableResult
    mutating func set(_ channel: ChannelSlot, _ membership: Membership) -> Bool {
        if let position = position(of: channel) {
            entries[position].membership = membership
            return false
        }
        entries.append((channel, membership))
        if !positions.isEmpty {
            positions[channel] = entries.count - 1
        } else if entries.count > Self.searchable {
            for (position, entry) in entries.enumerated() { positions[entry.channel] = position }
        }
        return true
    }

    /// Removes; the last member takes the free place. Returns what was there.
    @discardableResult
    mutating func remove(_ channel: ChannelSlot) -> Membership? {
        guard let position = position(of: channel) else { return nil }
        let removed = entries[position].membership
        let last = entries.removeLast()
        positions.removeValue(forKey: channel)
        if position < entries.count {
            entries[position] = last
            if !positions.isEmpty { positions[last.channel] = position }
        }
        return removed
    }

    private func position(of channel: ChannelSlot) -> Int? {
        positions.isEmpty ? entries.firstIndex { $0.channel == channel } : positions[channel]
    }
}

/// Messages per second over about the last ten seconds, from two fixed windows; no clock of its own.
struct Rate {
    private static let windowNanoseconds: UInt64 = 10_000_000_000
    private var window: UInt64 = 0
    private var current: UInt64 = 0
    private var previous: UInt64 = 0

    mutating func count(at now: Instant) {
        let window = now.nanoseconds / Self.windowNanoseconds
        if window != self.window {
            previous = window == self.window + 1 ? current : 0
            current = 0
            self.window = window
        }
        current += 1
    }

    /// The previous window's share that still lies within the last ten seconds, plus the current one.
    func perSecond(at now: Instant) -> Double {
        let window = now.nanoseconds / Self.windowNanoseconds
        let elapsed = Double(now.nanoseconds % Self.windowNanoseconds) / Double(Self.windowNanoseconds)
        let (recent, older): (UInt64, UInt64) =
            switch window {
            case self.window: (current, previous)
            case self.window + 1: (0, current)
            default: (0, 0)
            }
        return (Double(recent) + Double(older) * (1 - elapsed)) / 10
    }
}
