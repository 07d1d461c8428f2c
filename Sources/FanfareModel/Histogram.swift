/// How values are spread: how many of them were at most each of some fixed bounds, and their sum.
///
/// A value type without clocks: whoever measures records, whoever is asked shows. Recording allocates nothing and takes
/// some ten instructions. Counts stay where they are at the end of their range.
package struct Histogram: Sendable, Equatable {
    /// Upper bounds, ascending; a value is counted at the first bound that is not below it.
    package let bounds: [Double]
    /// Values at each bound, not cumulative, and behind them those above the last one.
    package private(set) var counts: [UInt64]
    /// The sum of all values.
    package private(set) var sum = 0.0

    /// More bounds than anybody needs; each is a time series for ever.
    private static let boundsMaximum = 64

    /// - Parameter bounds: 1 to 64, finite, ascending, none twice.
    package init(bounds: [Double]) {
        precondition(Self.areBounds(bounds), "\(bounds) are not 1 to \(Self.boundsMaximum) ascending bounds")
        self.bounds = bounds
        counts = Array(repeating: 0, count: bounds.count + 1)
    }

    private static func areBounds(_ bounds: [Double]) -> Bool {
        (1...boundsMaximum).contains(bounds.count) && bounds.allSatisfy(\.isFinite)
            && zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 }
    }

    /// Values recorded.
    package var count: UInt64 { counts.reduce(0) { $0.addingClamped($1) } }

    /// Counts a value.
    ///
    /// - Parameters:
    ///   - value: Less than 0, as a clock may say that went back, counts as 0. What is not finite is not counted.
    ///   - times: How often it came.
    package mutating func record(_ value: Double, times: UInt64 = 1) {
        guard value.isFinite else { return }
        var low = 0
        var high = bounds.count
        while low < high {
            let middle = (low + high) / 2
            if bounds[middle] < value { low = middle + 1 } else { high = middle }
        }
        counts[low] = counts[low].addingClamped(times)
        sum = min(sum + max(0, value) * Double(times), .greatestFiniteMagnitude)
    }
}

// MARK: Bounds

extension Histogram {
    /// 0, 1, 2, 5, 10 ... 100 000: members of groups, sockets.
    package static let ofMembers = Histogram(bounds: [0] + steps(from: 0, upTo: 5))
    /// A microsecond to ten seconds, three steps to each power of ten: what a loop does.
    package static let ofWorkSeconds = Histogram(bounds: steps(from: -6, upTo: 1))
    /// A millisecond to a hundred seconds, three steps to each power of ten: ways between processes.
    package static let ofWaySeconds = Histogram(bounds: steps(from: -3, upTo: 2))

    /// 1, 2 and 5 times each power of ten, and the last power itself.
    private static func steps(from first: Int, upTo last: Int) -> [Double] {
        let powers = (first..<last).flatMap { power in [1, 2, 5].map { "\($0)e\(power)" } }
        // From text: 0.002 and not what multiplying gives.
        return (powers + ["1e\(last)"]).compactMap(Double.init)
    }
}

// MARK: On the wire

extension Histogram {
    /// As `INSPECT status` has it (PROTOCOL.md, section 9).
    package var value: MessageValue {
        [
            "bounds": .array(bounds.map { .double($0) }),
            "counts": .array(counts.map { .count($0) }),
            "sum": .double(sum),
        ]
    }

    /// Reads ``value``; `nil` for anything else.
    package init?(_ value: MessageValue) {
        guard let bounds = value["bounds"]?.array?.prefix(Self.boundsMaximum + 1).compactMap(\.double),
            bounds.count == value["bounds"]?.array?.count, Self.areBounds(bounds),
            let numbers = value["counts"]?.array, numbers.count == bounds.count + 1,
            let sum = value["sum"]?.double, sum.isFinite, sum >= 0
        else { return nil }
        let counts = numbers.compactMap { $0.int.flatMap(UInt64.init(exactly:)) }
        guard counts.count == numbers.count else { return nil }
        self.bounds = bounds
        self.counts = counts
        self.sum = sum
    }
}
