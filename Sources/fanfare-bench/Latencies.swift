/// Latencies of many deliveries in little room: buckets that are less than one percent wide.
struct Latencies {
    private var counts = [UInt64](repeating: 0, count: 58 * Self.bucketsPerDoubling)
    private(set) var count: UInt64 = 0

    private static let doublingBits = 7
    private static let bucketsPerDoubling = 1 << doublingBits

    mutating func record(nanoseconds: Int64) {
        counts[Self.bucket(of: UInt64(max(0, nanoseconds)))] += 1
        count += 1
    }

    /// The latency that `share` of the deliveries did not exceed, in milliseconds.
    ///
    /// - Parameter share: From 0 to 1.
    func milliseconds(atShare share: Double) -> Double {
        let rank = UInt64((Double(count) * share).rounded(.up))
        var seen: UInt64 = 0
        for (bucket, count) in counts.enumerated() {
            seen += count
            if seen >= max(1, rank) { return Double(Self.nanoseconds(of: bucket)) / 1_000_000 }
        }
        return 0
    }

    /// Values below 256 have a bucket each, the others 128 for each doubling.
    private static func bucket(of value: UInt64) -> Int {
        let shift = max(0, UInt64.bitWidth - 1 - value.leadingZeroBitCount - doublingBits)
        return shift * bucketsPerDoubling + Int(value >> UInt64(shift))
    }

    /// The least value of a bucket.
    private static func nanoseconds(of bucket: Int) -> UInt64 {
        let shift = max(0, bucket / bucketsPerDoubling - 1)
        return UInt64(bucket - shift * bucketsPerDoubling) << UInt64(shift)
    }
}
