import FanfareModel

/// The spread of measured durations, in microseconds.
struct Percentiles: Equatable {
    let count: Int
    let values: [Double]

    private static let columns: [(heading: String, key: String, percent: Double)] = [
        ("MIN µs", "min_microseconds", 0), ("P50 µs", "p50_microseconds", 50), ("P90 µs", "p90_microseconds", 90),
        ("P99 µs", "p99_microseconds", 99), ("P99.9 µs", "p99_9_microseconds", 99.9),
        ("MAX µs", "max_microseconds", 100),
    ]
    static let headings = columns.map(\.heading)

    /// `nil` without measurements.
    init?(_ delays: Delays) {
        guard delays.count > 0 else { return nil }
        count = delays.count
        values = Self.columns.map { delays.microseconds(atPercent: $0.percent) }
    }

    var cells: [String] {
        values.map { HumanNumbers.fixed($0, digits: 1) }
    }

    var page: Page {
        var table = Table((["COUNT"] + Self.headings).map { ($0, .right) })
        table.append(["\(count)"] + cells)
        var page = Page()
        page.append(table)
        return page
    }

    /// The measurements by their keys, without their count.
    var facts: [String: MessageValue] {
        Dictionary(uniqueKeysWithValues: zip(Self.columns, values).map { ($0.key, .double($1)) })
    }

    var answer: MessageValue {
        .map(facts.merging(["count": .count(count)]) { $1 })
    }
}
