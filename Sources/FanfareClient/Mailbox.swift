import DequeModule
import FanfareModel
import NIOCore

/// One process channel of this process: what arrived and nobody took yet, and who waits for it.
struct Mailbox {
    struct Message {
        var body: Body
        var deadline: NIODeadline
        /// The group it came through; `nil` for a direct send.
        var group: String?
        /// Whether the broker learns of it by what reports call `held`. A direct message is counted by the broker that
        /// sent it until it is reported taken; the next one has never heard of it.
        var isHeld: Bool
    }

    var messages: Deque<Message> = []
    var waiters: Deque<UInt64> = []
    /// Messages among ``messages`` that only reports tell the broker of.
    var held: UInt64 = 0
    /// Direct messages taken since the last report.
    var taken: UInt64 = 0
    /// What the broker was told last.
    var reportedHeld: UInt64 = 0
    var groups: Set<String> = []

    var needsReport: Bool { taken > 0 || held != reportedHeld }
    var isIdle: Bool { messages.isEmpty && waiters.isEmpty && groups.isEmpty && !needsReport }

    /// The link is gone: the next session knows nothing of what waits here.
    mutating func forgetSession() {
        taken = 0
        reportedHeld = 0
        held = UInt64(messages.count)
        for index in messages.indices { messages[index].isHeld = true }
    }

    /// Takes the oldest message that still lives; counts what had expired before it.
    mutating func take(at now: NIODeadline, expired: inout [Message]) -> Message? {
        while let message = messages.popFirst() {
            if message.isHeld { held -= 1 } else { taken += 1 }
            if message.deadline > now { return message }
            expired.append(message)
        }
        return nil
    }
}
