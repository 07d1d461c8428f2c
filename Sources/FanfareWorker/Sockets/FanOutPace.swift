import NIOCore

/// Whether a fan-out waits a moment, so that one `send(2)` a member carries more.
///
/// Only one that finds itself right behind a large one waits: then the loop does nothing but fan out, what comes next is
/// already on its way, and messages that travel in two groups would stay two groups for ever, each sent while the other
/// is on its way back. A message that comes when the loop is idle never waits.
struct FanOutPace {
    /// Fan-outs that took less are never waited for: a timer would cost more than it saves.
    private static let largeFrom = TimeAmount.microseconds(500)
    /// A burst that is handled this soon after a fan-out was there before it ended.
    private static let behindWithin = TimeAmount.microseconds(50)
    /// The wait, as a share of what the last fan-out took, and at most.
    private static let share: Int64 = 16
    private static let most = TimeAmount.milliseconds(1)

    private var lastEnd = NIODeadline.uptimeNanoseconds(0)
    private var lastDuration = TimeAmount.nanoseconds(0)

    /// Notes what a fan-out took.
    mutating func sent(from start: NIODeadline, to end: NIODeadline) {
        lastDuration = end - start
        lastEnd = end
    }

    /// How long a burst that ended at `now` waits for the next one; `nil` for not at all.
    func delay(at now: NIODeadline) -> TimeAmount? {
        guard lastDuration >= Self.largeFrom, now - lastEnd <= Self.behindWithin else { return nil }
        return min(.nanoseconds(lastDuration.nanoseconds / Self.share), Self.most)
    }
}
