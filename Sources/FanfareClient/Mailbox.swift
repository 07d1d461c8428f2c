import DequeModule
import FanfareModel
import NIOCore

/// One process channel of this process: what arrived and nobody took yet, and who waits for it.
struct Mailbox {
    struct Message {
        var body: Body
        var trace: TraceContext?
        var deadline: NIODeadline
        /// The group it came through; `nil` for a direct send.
        var group: String?
        /// Whether the broker learns of it by what reports call `held`. A direct message is counted by the broker that
        /// sent it until it is reported taken; the next one has never heard of it.
        var isHeld: Bool

        /// What it takes in memory.
        var bytes: Int { body.count + trace.heldBytes }
    }

    /// A place in the stream: a message, or a hole where messages should have been.
    enum Item {
        case message(Message)
        case gap(Gap)
    }

    private(set) var items: Deque<Item> = []
    var waiters: Deque<UInt64> = []
    /// Messages that wait, gaps not counted.
    private(set) var unread = 0
    /// What they take in memory.
    private(set) var bytes = 0
    /// Messages that only reports tell the broker of.
    private(set) var held: UInt64 = 0
    /// Direct messages taken since the last report.
    var taken: UInt64 = 0
    /// What the broker was told last.
    var reportedHeld: UInt64 = 0
    var groups: Set<String> = []
    /// Whether somebody reads it who must hear of holes: it is remembered between two reads, until it is closed.
    var isWatched = false

    var needsReport: Bool { taken > 0 || held != reportedHeld }
    var isIdle: Bool { items.isEmpty && waiters.isEmpty && groups.isEmpty && !isWatched && !needsReport }

    /// Whether nothing but holes is left, of a channel nobody reads and no group knows.
    var isForgettable: Bool { unread == 0 && waiters.isEmpty && groups.isEmpty && !isWatched && !needsReport }

    /// When the next message expires.
    var earliestDeadline: NIODeadline? {
        items.lazy.compactMap { if case .message(let message) = $0 { message.deadline } else { nil } }.min()
    }

    mutating func append(_ message: Message) {
        items.append(.message(message))
        unread += 1
        bytes += message.bytes
        if message.isHeld { held += 1 }
    }

    /// Notes a hole behind what has arrived. Between two messages there is one hole for each reason at most, so that
    /// a channel nobody reads does not gather them without end.
    mutating func append(_ gap: Gap) {
        for index in items.indices.reversed() {
            guard case .gap(var known) = items[index] else { break }
            // A hole of unknown size, whose count is 0, stays one of its own.
            guard known.reason == gap.reason, (known.count == 0) == (gap.count == 0) else { continue }
            known.count = known.count.addingClamped(gap.count)
            known.isClosed = known.isClosed || gap.isClosed
            items[index] = .gap(known)
            return
        }
        items.append(.gap(gap))
    }

    /// Takes the oldest item.
    mutating func popFirst() -> Item? {
        guard let item = items.popFirst() else { return nil }
        if case .message(let message) = item { settle(message) }
        return item
    }

    /// The link is gone: the next session knows nothing of what waits here.
    mutating func forgetSession() {
        taken = 0
        reportedHeld = 0
        held = UInt64(unread)
        items = Deque(
            items.map { item in
                guard case .message(var message) = item else { return item }
                message.isHeld = true
                return .message(message)
            }
        )
    }

    /// Forgets everything; the broker has forgotten it too.
    mutating func flush() {
        items.removeAll()
        unread = 0
        bytes = 0
        held = 0
        taken = 0
        reportedHeld = 0
        groups.removeAll()
    }

    /// Puts a hole in the place of each message that `isLost` says is lost, and returns those.
    mutating func lose(_ reason: DropReason, where isLost: (Message) -> Bool) -> [Message] {
        var lost: [Message] = []
        let before = items
        items.removeAll(keepingCapacity: true)
        for item in before {
            switch item {
            case .message(let message) where isLost(message):
                lost.append(message)
                settle(message)
                append(Gap(name: nil, count: 1, reason: reason))
            case .message: items.append(item)
            case .gap(let gap): append(gap)
            }
        }
        return lost
    }

    /// The broker has closed its account of this channel.
    mutating func forgetAccount() {
        taken = 0
        reportedHeld = 0
    }

    private mutating func settle(_ message: Message) {
        unread -= 1
        bytes -= message.bytes
        if message.isHeld { held -= 1 } else { taken += 1 }
    }
}
