/// How often something may happen: so many times per period, and so many at once after a pause.
///
/// A token bucket: it holds `burst` tokens, each happening takes some, and they come back evenly.
public struct RateLimit: Sendable, Hashable, CustomStringConvertible {
    /// Happenings per ``seconds``.
    public let count: Int
    /// The period.
    public let seconds: Double
    /// Happenings at once after a pause.
    public let burst: Int

    /// Nanoseconds until one token is back.
    let tokenNanoseconds: UInt64
    /// Nanoseconds until an empty bucket is full.
    let fillNanoseconds: UInt64

    /// A year: an empty bucket must be full again by then.
    private static let fillSecondsMaximum = 31_536_000.0
    /// One token a microsecond: faster rates could not be told apart in whole nanoseconds.
    private static let perSecondMaximum = 1_000_000.0

    /// - Parameters:
    ///   - count: At least 1. At most a million a second.
    ///   - seconds: More than 0.
    ///   - burst: At least 1; as many as `count` when it is not given. An empty bucket must be full again within a year.
    /// - Throws: ``InvalidSetting`` that says which bound was broken.
    public init(_ count: Int, perSeconds seconds: Double = 1, burst: Int? = nil) throws(InvalidSetting) {
        let burst = burst ?? count
        guard count >= 1, seconds > 0, seconds.isFinite, burst >= 1 else {
            throw InvalidSetting(
                "a rate of \(count) per \(seconds) s with a burst of \(burst) lets nothing through; give at least 1 each"
            )
        }
        guard Double(count) / seconds <= Self.perSecondMaximum else {
            throw InvalidSetting("a rate of \(count) per \(seconds) s is more than a million a second; give less")
        }
        guard seconds / Double(count) * Double(burst) <= Self.fillSecondsMaximum else {
            throw InvalidSetting(
                "a rate of \(count) per \(seconds) s needs more than a year for a burst of \(burst); give less"
            )
        }
        self.count = count
        self.seconds = seconds
        self.burst = burst
        tokenNanoseconds = UInt64((seconds / Double(count) * 1e9).rounded())
        fillNanoseconds = tokenNanoseconds * UInt64(burst)
    }

    /// `10 per 1.0 s, burst 20`
    public var description: String { "\(count) per \(seconds) s, burst \(burst)" }

    /// What a bucket says.
    public enum Answer: Sendable, Hashable {
        /// The tokens were there and are taken.
        case admitted
        /// The tokens are not there; none was taken. So long it takes until they are, if nothing else happens. What
        /// needs more tokens than the burst is never admitted; for it this is the time to a full bucket.
        case refused(afterSeconds: Double)

        /// Whether the tokens were there.
        public var isAdmitted: Bool { self == .admitted }
    }

    /// Takes tokens from a bucket that is stored as the time at which it is full.
    func take(_ tokens: Int, fullAt: inout UInt64, nowNanoseconds now: UInt64) -> Answer {
        // What a bucket lacks is its time to full. A clock that went back cannot make it lack more than everything.
        let lacking = fullAt > now ? min(fullAt - now, fillNanoseconds) : 0
        let (cost, costOverflows) = UInt64(max(0, tokens)).multipliedReportingOverflow(by: tokenNanoseconds)
        let (lackingThen, sumOverflows) = lacking.addingReportingOverflow(cost)
        guard !costOverflows, !sumOverflows, lackingThen <= fillNanoseconds else {
            let wait = costOverflows || cost > fillNanoseconds ? lacking : lackingThen - fillNanoseconds
            return .refused(afterSeconds: Double(wait) / 1e9)
        }
        let (then, overflows) = now.addingReportingOverflow(lackingThen)
        fullAt = overflows ? .max : then
        return .admitted
    }
}

/// One bucket: what one socket, user or address may still do.
public struct TokenBucket: Sendable, Hashable {
    /// Its limit.
    public let limit: RateLimit
    private var fullAt: UInt64 = 0

    /// A full bucket.
    public init(_ limit: RateLimit) {
        self.limit = limit
    }

    /// Takes tokens, all or none.
    ///
    /// - Parameters:
    ///   - tokens: What it costs, at least 0; bytes, where bytes are limited.
    ///   - nowNanoseconds: Monotonic time from any start.
    public mutating func take(_ tokens: Int = 1, nowNanoseconds: UInt64) -> RateLimit.Answer {
        limit.take(tokens, fullAt: &fullAt, nowNanoseconds: nowNanoseconds)
    }
}
