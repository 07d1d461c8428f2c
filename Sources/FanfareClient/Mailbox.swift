import DequeModule
import FanfareModel
import NIOCore

/// One process channel of this process: what arrived and nobody took yet, and who waits for it.
struct Mailbox {
    struct Message {
        var body: Body
        var deadline: NIODeadline
        /// The group it came through; `nil` for a direct send, which the broker counts until it is reported taken.
        var group: String?
    }

    var messages: Deque<Message> = []
    var waiters: Deque<UInt64> = []
    /// Group messages among ``messages``: what reports call `held`.
    var held: UInt64 = 0
    /// Direct messages taken since the last report.
    var taken: UInt64 = 0
    /// What the broker was told last.
    var reportedHeld: UInt64 = 0
    var groups: Set<String> = []

    var needsReport: Bool { taken > 0 || held != reportedHeld }
    var isIdle: Bool { messages.isEmpty && waiters.isEmpty && groups.isEmpty && !needsReport }

    /// Takes the oldest message that still lives; counts what had expired before it.
    mutating func take(at now: NIODeadline, expired: inout [Message]) -> Message? {
        while let message = messages.popFirst() {
            if message.group == nil { taken += 1 } else { held -= 1 }
            if message.deadline > now { return message }
            expired.append(message)
        }
        return nil
    }
}
