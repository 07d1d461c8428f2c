/// How many connections may be accepted: so many a second, evenly, and so many at once after a pause.
///
/// A token bucket, kept as the time at which it is full. Pure: time is an argument.
package struct AcceptRate: Sendable {
    private let tokenNanoseconds: UInt64
    private let fillNanoseconds: UInt64
    private var fullAt: UInt64 = 0

    private static let perSecondMaximum = 1_000_000

    /// A full bucket.
    ///
    /// - Parameters:
    ///   - perSecond: 1 to 1 000 000; other values are cut to that.
    ///   - burst: As many at once after a pause, at least 1; a quarter of a second's worth without it.
    package init(perSecond: Int, burst: Int? = nil) {
        let perSecond = max(1, min(perSecond, Self.perSecondMaximum))
        let burst = max(1, min(burst ?? perSecond / 4, Self.perSecondMaximum))
        tokenNanoseconds = 1_000_000_000 / UInt64(perSecond)
        fillNanoseconds = tokenNanoseconds * UInt64(burst)
    }

    /// Takes the right to accept one connection.
    ///
    /// - Parameter now: Monotonic nanoseconds. A clock that went back takes at most a full bucket's time.
    /// - Returns: 0 when it may be accepted; otherwise nothing was taken, and so many nanoseconds later one may be.
    package mutating func take(at now: UInt64) -> UInt64 {
        let lacking = fullAt > now ? min(fullAt - now, fillNanoseconds) : 0
        // No further ahead than a full bucket's time, even when this is refused: a clock that went back is forgotten.
        if lacking > 0 { fullAt = now + lacking }
        let lackingThen = lacking + tokenNanoseconds
        guard lackingThen <= fillNanoseconds else { return lackingThen - fillNanoseconds }
        let (then, overflows) = now.addingReportingOverflow(lackingThen)
        fullAt = overflows ? .max : then
        return 0
    }
}
