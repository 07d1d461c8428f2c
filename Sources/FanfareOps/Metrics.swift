package import FanfareModel

/// Numbers of a program in the Prometheus text format, version 0.0.4.
///
/// A value: filled when somebody asks, from counters the program keeps anyway.
package struct Metrics: Sendable {
    /// What a number does over time.
    package enum Kind: String, Sendable {
        /// Only grows while the process lives. Its name ends in `_total`.
        case counter
        /// Goes up and down.
        case gauge
        /// Values by upper bounds.
        case histogram
    }

    /// What Prometheus calls this format in `Content-Type`.
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// The document so far.
    package private(set) var text = ""

    package init() {}

    /// Adds a metric with one number.
    ///
    /// - Parameters:
    ///   - name: The full name, with the unit last: `fanfare_broker_queued_bytes`.
    ///   - kind: What the number does over time.
    ///   - help: What it means, and what it means when it grows.
    ///   - value: The number.
    package mutating func add(_ name: String, _ kind: Kind, help: String, _ value: Double) {
        begin(name, kind, help)
        line(name, [], value)
    }

    /// Adds a metric with one number per value of a label, in the order of the values.
    ///
    /// The values must come from a list the program knows, never from a peer: each is a time series for ever.
    package mutating func add(_ name: String, _ kind: Kind, help: String, by label: String, _ values: [String: Double])
    {
        begin(name, kind, help)
        for (value, number) in values.sorted(by: { $0.key < $1.key }) { line(name, [(label, value)], number) }
    }

    /// Adds a metric with one number per value of two labels, in the order of the values.
    ///
    /// - Parameters:
    ///   - labels: The outer label and the inner one.
    ///   - values: The numbers by the values of both; as for one label, none of a peer's.
    package mutating func add(
        _ name: String,
        _ kind: Kind,
        help: String,
        by labels: (String, String),
        _ values: [String: [String: Double]]
    ) {
        begin(name, kind, help)
        for (outer, numbers) in values.sorted(by: { $0.key < $1.key }) {
            for (inner, number) in numbers.sorted(by: { $0.key < $1.key }) {
                line(name, [(labels.0, outer), (labels.1, inner)], number)
            }
        }
    }

    /// Adds a histogram: `NAME_bucket` for each bound and `+Inf`, cumulative, then `NAME_sum` and `NAME_count`.
    package mutating func add(_ name: String, help: String, _ histogram: Histogram) {
        begin(name, .histogram, help)
        var count: UInt64 = 0
        for (bound, more) in zip(histogram.bounds + [.infinity], histogram.counts) {
            count = count.addingClamped(more)
            line("\(name)_bucket", [("le", Self.number(bound))], Double(count))
        }
        line("\(name)_sum", [], histogram.sum)
        line("\(name)_count", [], Double(count))
    }

    private mutating func line(_ name: String, _ labels: [(name: String, value: String)], _ number: Double) {
        text += name
        if !labels.isEmpty {
            let pairs = labels.map { "\($0.name)=\"\(Self.escaped($0.value, quotes: true))\"" }
            text += "{\(pairs.joined(separator: ","))}"
        }
        text += " \(Self.number(number))\n"
    }

    private mutating func begin(_ name: String, _ kind: Kind, _ help: String) {
        precondition(Self.isName(name), "\(name) is not a name of a metric")
        text += "# HELP \(name) \(Self.escaped(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
    }

    private static func isName(_ name: String) -> Bool {
        name.first?.isNumber == false
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        text.reduce(into: "") { result, character in
            switch character {
            case "\\": result += "\\\\"
            case "\n", "\r\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.append(character)
            }
        }
    }

    /// Whole numbers without a fraction, as far as a double tells them apart.
    private static func number(_ value: Double) -> String {
        if let whole = Int64(exactly: value), whole.magnitude < 1 << 53 { return String(whole) }
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        return String(value)
    }
}
