import Foundation

/// Latencies of many deliveries in little room, as an HDR histogram keeps them: values below 256 ns exactly, others in
/// buckets less than one percent wide.
struct Latencies {
    private var counts = [UInt64](repeating: 0, count: 58 * Self.bucketsPerDoubling)
    private(set) var count: UInt64 = 0
    private var maximum: UInt64 = 0

    private static let doublingBits = 7
    private static let bucketsPerDoubling = 1 << doublingBits

    /// - Parameter nanoseconds: Less than nothing counts as nothing.
    mutating func record(nanoseconds: Int64) {
        let value = UInt64(max(0, nanoseconds))
        counts[Self.bucket(of: value)] += 1
        count += 1
        maximum = max(maximum, value)
    }

    /// Adds all that others have recorded.
    mutating func add(_ others: Latencies) {
        for bucket in counts.indices { counts[bucket] += others.counts[bucket] }
        count += others.count
        maximum = max(maximum, others.maximum)
    }

    /// The latency that `share` of the deliveries did not exceed, in milliseconds: the upper end of its bucket, so at
    /// most one percent too much, and never more than the longest one. 0 when there was none.
    ///
    /// - Parameter share: From 0 to 1.
    func milliseconds(atShare share: Double) -> Double {
        // A share such as 0.07 is a little more than that in binary; 7 of 100 must not become 8.
        let rank = max(1, (Double(count) * share * (1 - 1e-12)).rounded(.up))
        var seen: UInt64 = 0
        for (bucket, count) in counts.enumerated() {
            seen += count
            if Double(seen) >= rank { return Double(min(maximum, Self.greatestNanoseconds(of: bucket))) / 1_000_000 }
        }
        return Double(maximum) / 1_000_000
    }

    /// Those that are reported.
    var percentiles: Percentiles? {
        guard count > 0 else { return nil }
        return Percentiles(
            p50: milliseconds(atShare: 0.5),
            p90: milliseconds(atShare: 0.9),
            p99: milliseconds(atShare: 0.99),
            p999: milliseconds(atShare: 0.999),
            maximum: milliseconds(atShare: 1)
        )
    }

    /// Values below 256 have a bucket each, the others 128 for each doubling.
    private static func bucket(of value: UInt64) -> Int {
        let shift = max(0, UInt64.bitWidth - 1 - value.leadingZeroBitCount - doublingBits)
        return shift * bucketsPerDoubling + Int(value >> UInt64(shift))
    }

    private static func greatestNanoseconds(of bucket: Int) -> UInt64 {
        let shift = max(0, bucket / bucketsPerDoubling - 1)
        let least = UInt64(bucket - shift * bucketsPerDoubling) << UInt64(shift)
        return least + ((1 << UInt64(shift)) - 1)
    }
}

/// Milliseconds that shares of the deliveries did not exceed.
struct Percentiles: Encodable, Equatable {
    var p50, p90, p99, p999, maximum: Double

    var line: String {
        String(format: "p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  longest %.3f", p50, p90, p99, p999, maximum)
    }
}
