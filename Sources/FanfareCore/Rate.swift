package import FanfareModel

/// Messages per second over about the last ten seconds, from two fixed windows; no clock of its own.
package struct Rate: Sendable {
    private static let windowNanoseconds: UInt64 = 10_000_000_000
    private var window: UInt64 = 0
    private var current: UInt64 = 0
    private var previous: UInt64 = 0

    package init() {}

    package mutating func count(_ messages: UInt64 = 1, at now: Instant) {
        let window = now.nanoseconds / Self.windowNanoseconds
        if window != self.window {
            previous = window == self.window + 1 ? current : 0
            current = 0
            self.window = window
        }
        current &+= messages
    }

    /// The previous window's share that still lies within the last ten seconds, plus the current one.
    package func perSecond(at now: Instant) -> Double {
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
