import FanfareModel

/// The spread of measured durations.
struct Percentiles: Equatable {
    let count: Int
    let minimum: Duration
    let p50: Duration
    let p90: Duration
    let p99: Duration
    let maximum: Duration

    /// Percentiles by nearest rank: each is a duration that was measured. `nil` without measurements.
    init?(_ samples: [Duration]) {
        let sorted = samples.sorted()
        guard let first = sorted.first, let last = sorted.last else { return nil }
        func rank(_ percent: Int) -> Duration {
            sorted[(sorted.count * percent + 99) / 100 - 1]
        }
        count = sorted.count
        minimum = first
        (p50, p90, p99) = (rank(50), rank(90), rank(99))
        maximum = last
    }

    var page: Page {
        let columns = ["COUNT", "MIN µs", "P50 µs", "P90 µs", "P99 µs", "MAX µs"]
        var table = Table(columns.map { ($0, .right) })
        let durations = [minimum, p50, p90, p99, maximum]
        table.append(["\(count)"] + durations.map { HumanNumbers.fixed(Self.microseconds($0), digits: 1) })
        var page = Page()
        page.append(table)
        return page
    }

    var answer: MessageValue {
        [
            "count": .count(count),
            "min_microseconds": .double(Self.microseconds(minimum)),
            "p50_microseconds": .double(Self.microseconds(p50)),
            "p90_microseconds": .double(Self.microseconds(p90)),
            "p99_microseconds": .double(Self.microseconds(p99)),
            "max_microseconds": .double(Self.microseconds(maximum)),
        ]
    }

    private static func microseconds(_ duration: Duration) -> Double {
        let (seconds, attoseconds) = duration.components
        return Double(seconds) * 1e6 + Double(attoseconds) / 1e12
    }
}
