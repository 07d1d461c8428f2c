/// When a number is worth an alarm, in the words of the Nagios plugin guidelines: `10`, `5:`, `~:10`, `5:10`, `@5:10`.
struct Threshold: Equatable, Sendable {
    /// As written.
    let text: String
    private let range: ClosedRange<Double>
    private let alarmsInside: Bool

    /// Reads a range: `N` is `0:N`, `N:` has no upper end, `~:N` no lower one, `@` turns it around.
    ///
    /// - Returns: `nil` for anything else.
    init?(_ text: String) {
        self.text = text
        alarmsInside = text.first == "@"
        let parts = text.drop { $0 == "@" }.split(separator: ":", omittingEmptySubsequences: false)
        guard text.filter({ $0 == "@" }).count == (alarmsInside ? 1 : 0), let first = parts.first else { return nil }
        let lower: Double?
        let upper: Double?
        switch parts.count {
        case 1: (lower, upper) = (0, Self.number(first))
        case 2:
            lower = first == "~" ? -.infinity : Self.number(first)
            upper = parts[1].isEmpty ? .infinity : Self.number(parts[1])
        default: return nil
        }
        guard let lower, let upper, lower <= upper else { return nil }
        range = lower...upper
    }

    /// Whether `value` is an alarm: outside of the range, or inside of one with `@`.
    func isAlarm(_ value: Double) -> Bool {
        range.contains(value) == alarmsInside
    }

    /// Decimal digits with a sign and a fraction; nothing else a number may look like.
    private static func number(_ text: Substring) -> Double? {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") })
        else { return nil }
        return Double(text)
    }
}
