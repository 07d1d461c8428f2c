public import FanfareModel

/// What stands next in a channel: a message, or a hole where messages should have been.
public enum Received: Sendable, Equatable {
    case message([String: MessageValue])
    case missed(Missed)
}

/// Messages a channel did not get, told at their place in its order.
public struct Missed: Sendable, Equatable {
    /// How many; `nil` when nobody knows, as after the broker was started again.
    public let count: UInt64?
    /// Why, in the words of `fanfare drops`: `full`, `expired`, `link_overflow`, ..., or `reconnected`.
    public let reason: String
    /// Whether the channel was closed because its reader was too slow: it is in no group any more.
    public let isClosed: Bool

    package init(count: UInt64?, reason: String, isClosed: Bool = false) {
        self.count = count
        self.reason = reason
        self.isClosed = isClosed
    }

    package init(_ gap: Gap) {
        // A reconnect is the one hole whose size nobody knows.
        count = gap.count == 0 ? nil : gap.count
        reason = gap.count == 0 ? "reconnected" : gap.reason.name
        isClosed = gap.isClosed
    }
}
