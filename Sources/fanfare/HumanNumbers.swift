/// Numbers as people read them. JSON has them raw.
enum HumanNumbers {
    /// `850ms`, `12s`, `3m12s`, `5h03m`, `12d04h`.
    static func age(milliseconds: Int64) -> String {
        let seconds = milliseconds / 1_000
        return switch seconds {
        case ..<1: "\(max(milliseconds, 0))ms"
        case ..<60: "\(seconds)s"
        case ..<3_600: "\(seconds / 60)m\(twoDigits(seconds % 60))s"
        case ..<86_400: "\(seconds / 3_600)h\(twoDigits(seconds / 60 % 60))m"
        default: "\(seconds / 86_400)d\(twoDigits(seconds / 3_600 % 24))h"
        }
    }

    /// `0.35ms`, `120ms`, `12s`: what lasts less than a tenth of a second to the hundredth of a millisecond.
    static func lag(milliseconds: Double) -> String {
        guard milliseconds >= 100 else { return fixed(max(milliseconds, 0), digits: 2) + "ms" }
        return age(milliseconds: Int64(exactly: milliseconds.rounded()) ?? .max)
    }

    /// `512 B`, `1.2 KiB`, `3.0 GiB`.
    static func bytes(_ bytes: Int64) -> String {
        guard bytes.magnitude >= 1_024 else { return "\(bytes) B" }
        var value = Double(bytes)
        var unit = ""
        for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
            value /= 1_024
            unit = next
            // 1023.95 would round to 1024.0 of this unit.
            if value.magnitude < 1_023.95 { break }
        }
        return "\(fixed(value, digits: 1)) \(unit)"
    }

    /// `value` with exactly `digits` digits behind the point.
    static func fixed(_ value: Double, digits: Int) -> String {
        precondition((1...9).contains(digits), "digits behind the point: \(digits)")
        var scale: Int64 = 1
        for _ in 0..<digits { scale *= 10 }
        guard let scaled = Int64(exactly: (value * Double(scale)).rounded()) else { return value.description }
        let (whole, part) = scaled.magnitude.quotientAndRemainder(dividingBy: scale.magnitude)
        let fraction = String(part)
        return (scaled < 0 ? "-" : "") + "\(whole)." + String(repeating: "0", count: digits - fraction.count) + fraction
    }

    private static func twoDigits(_ value: Int64) -> String {
        value < 10 ? "0\(value)" : "\(value)"
    }
}
