import DequeModule
import FanfareModel
import NIOCore

/// Requests that wait for a link, in the order they were made. Pure.
struct WaitingRequests {
    typealias Answered = (Result<MessageValue, Failure>) -> Void

    struct Entry {
        let request: Request
        /// Until when it waits for whatever session comes; `nil`: it waits for the session it was made in.
        let deadline: NIODeadline?
        let ticket: SendTicket?
        let then: Answered?
        fileprivate let bytes: Int

        init(_ request: Request, until deadline: NIODeadline?, ticket: SendTicket?, then: Answered?) {
            self.request = request
            self.deadline = deadline
            self.ticket = ticket
            self.then = then
            bytes = UnconfirmedRequests.bytes(of: request)
        }
    }

    private let most: Int
    private let mostBytes: Int
    private var entries: Deque<Entry> = []
    private(set) var bytes = 0

    init(_ limits: Limits) {
        most = limits.waitingRequests
        // They leave at once, behind the unconfirmed ones.
        mostBytes = min(limits.waitingBytes, limits.linkBytes / 4)
    }

    var isEmpty: Bool { entries.isEmpty }
    var count: Int { entries.count }

    /// When the first one has waited long enough: all that have a deadline wait equally long.
    var earliestDeadline: NIODeadline? { entries.lazy.compactMap(\.deadline).first }

    /// - Returns: Whether there was room.
    mutating func append(_ entry: Entry) -> Bool {
        guard entries.count < most, bytes + entry.bytes <= mostBytes else { return false }
        entries.append(entry)
        bytes += entry.bytes
        return true
    }

    mutating func popFirst() -> Entry? {
        guard let first = entries.popFirst() else { return nil }
        bytes -= first.bytes
        return first
    }

    /// Takes out those that `matches`, in order.
    mutating func removeAll(where matches: (Entry) -> Bool) -> [Entry] {
        let removed = entries.filter(matches)
        guard !removed.isEmpty else { return [] }
        entries.removeAll(where: matches)
        bytes = entries.reduce(0) { $0 + $1.bytes }
        return Array(removed)
    }
}
