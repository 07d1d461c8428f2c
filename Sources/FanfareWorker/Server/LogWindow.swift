import FanfareModel

/// Lets one log line of a kind through in each window of time, and counts those it keeps back.
///
/// For lines that a fault far away can make come by the thousand. What is kept back is told with the next line that is
/// let through; a burst that ends is told by the counters beside the log. Pure: time is an argument.
struct LogWindow: Sendable {
    private let length: Milliseconds
    /// Until when lines are kept back.
    private var end: Instant?
    private var suppressed: UInt64 = 0

    /// - Parameter length: At least so long is it silent after a line.
    init(_ length: Milliseconds = Milliseconds(10_000)) {
        self.length = length
    }

    /// Whether a line may be written now.
    ///
    /// - Returns: How many lines were kept back since the last that was written; `nil` when this one is to be kept back.
    mutating func admit(at now: Instant) -> UInt64? {
        if let end, now < end {
            suppressed = suppressed.addingClamped(1)
            return nil
        }
        end = now.advanced(by: length)
        defer { suppressed = 0 }
        return suppressed
    }
}
