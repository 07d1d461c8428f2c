import Histogram

/// Measured durations in little room: an HDR histogram with three digits, so what is said of a duration is at most a
/// thousandth of it too much.
struct Delays: Sendable {
    private var histogram = Histogram<UInt64>(numberOfSignificantValueDigits: .three)
    private(set) var count = 0

    mutating func record(nanoseconds: UInt64) {
        // It takes values up to half of what there are.
        histogram.record(min(nanoseconds, UInt64.max / 4))
        count += 1
    }

    /// The duration that `percent` of all did not exceed, in microseconds; 0 gives the shortest one. 0 when there was
    /// none.
    ///
    /// - Parameter percent: 0 to 100.
    func microseconds(atPercent percent: Double) -> Double {
        guard count > 0 else { return 0 }
        return Double(min(histogram.valueAtPercentile(percent), histogram.maxRecorded)) / 1_000
    }
}
