package import FanfareModel

/// The value of one setting, whatever its type in the program.
package enum SettingValue: Sendable, Equatable {
    case integer(Int)
    case duration(Milliseconds)
    case number(Double)
    case rate(Rate)
    case flag(Bool)
    case text(String)
    case list([String])
    /// The values of each record, by path.
    case records([[String: SettingValue]])
    /// Not set, and there is no default.
    case unset
}

/// What a setting accepts, in configuration files and on the command line alike.
package enum SettingKind: Sendable {
    /// A whole number within the range.
    case integer(ClosedRange<Int>)
    /// A number of bytes within the range; `KiB`, `MiB` and `GiB` may follow it.
    case bytes(ClosedRange<Int>)
    /// A number within the range, whole or not.
    case number(ClosedRange<Double>)
    /// Seconds within the range, with at most three decimals.
    case seconds(ClosedRange<Milliseconds>)
    /// A ``Rate`` whose number and burst are within the range.
    case rate(ClosedRange<Int>)
    /// `true` or `false`.
    case flag
    /// Any text.
    case text(example: String)
    /// One of these words.
    case choice([String])
    /// Up to `most` texts.
    case list(example: String, most: Int)
    /// Up to `most` records.
    case records(most: Int)
}

/// Why a text is not a value of a setting's kind: the end of a sentence that begins with the setting's name.
package struct WrongValue: Error, Equatable {
    package var text: String
}

extension SettingKind {
    /// What a value of this kind looks like, for `--help`, `--print-config` and errors.
    package var form: String {
        switch self {
        case .integer(let range): "a whole number from \(range.lowerBound) to \(range.upperBound)"
        case .bytes(let range):
            "a number of bytes from \(Self.shown(bytes: range.lowerBound)) to \(Self.shown(bytes: range.upperBound)) "
                + "(KiB, MiB and GiB may follow)"
        case .seconds(let range):
            "a number of seconds from \(range.lowerBound.inSeconds) to \(range.upperBound.inSeconds) "
                + "(up to three decimals)"
        case .number(let range): "a number from \(Self.shown(range.lowerBound)) to \(Self.shown(range.upperBound))"
        case .rate(let range):
            "a rate from \(range.lowerBound) to \(range.upperBound), such as \(range.lowerBound)/s, "
                + "\(range.lowerBound)/min or \(range.lowerBound)/10s (burst N may follow)"
        case .flag: "true or false"
        case .text(let example): "a text such as \(example)"
        case .choice(let words): "one of " + words.joined(separator: ", ")
        case .list(let example, let most): "a list of up to \(most) texts such as \(example)"
        case .records(let most): "a list of up to \(most) records"
        }
    }

    /// Reads one value.
    ///
    /// - Parameters:
    ///   - text: What the person wrote, without quotes.
    ///   - isQuoted: Whether it stood in quotes, which makes it a text and nothing else.
    package func value(of text: String, isQuoted: Bool = false) throws(WrongValue) -> SettingValue {
        switch self {
        case .text: return .text(text)
        case .list: return .list([text])
        case .choice(let words) where words.contains(text): return .text(text)
        case .flag where !isQuoted && text == "true": return .flag(true)
        case .flag where !isQuoted && text == "false": return .flag(false)
        case .integer(let range):
            if !isQuoted, let number = Self.integer(text), range.contains(number) { return .integer(number) }
        case .bytes(let range):
            if !isQuoted, let number = Self.bytes(text), range.contains(number) { return .integer(number) }
        case .seconds(let range):
            if !isQuoted, let time = Milliseconds(seconds: text), range.contains(time) { return .duration(time) }
        case .number(let range):
            if !isQuoted, let number = Self.number(text), range.contains(number) { return .number(number) }
        case .rate(let range):
            if let rate = Rate(text), range.contains(rate.count), range.contains(rate.burst) { return .rate(rate) }
        case .choice, .flag, .records: break
        }
        throw WrongValue(text: "must be \(form), not " + (isQuoted ? "the text \"\(text)\"" : "\"\(text)\""))
    }

    /// A value of this kind as YAML, on one line; `nil` for nothing and for records.
    package func yaml(_ value: SettingValue) -> String? {
        switch value {
        case .integer(let number): if case .bytes = self { Self.shown(bytes: number) } else { String(number) }
        case .number(let number): Self.shown(number)
        case .duration(let time): time.inSeconds
        case .rate(let rate): rate.description
        case .flag(let value): String(value)
        case .text(let text): if case .choice = self { text } else { Self.quoted(text) }
        case .list(let texts): texts.isEmpty ? nil : "[" + texts.map(Self.quoted).joined(separator: ",") + "]"
        case .records, .unset: nil
        }
    }

    /// A value to begin with, as YAML, where there is no default.
    var exampleYAML: String {
        switch self {
        case .integer(let range): String(range.lowerBound)
        case .bytes(let range): Self.shown(bytes: range.lowerBound)
        case .number(let range): Self.shown(range.lowerBound)
        case .seconds(let range): range.lowerBound.inSeconds
        case .rate(let range): "\(range.lowerBound)/s"
        case .flag: "false"
        case .text(let example): Self.quoted(example)
        case .choice(let words): words.first ?? ""
        case .list(let example, _): "[\(Self.quoted(example))]"
        case .records: "[]"
        }
    }

    /// `text` in double quotes. JSON's escapes are YAML's too, but two characters JSON lets through are not
    /// printable in YAML (1.2.2, section 5.1).
    private static func quoted(_ text: String) -> String {
        JSONText.render(.string(text)).unicodeScalars.reduce(into: "") { quoted, scalar in
            switch scalar {
            case "\u{fffe}", "\u{ffff}": quoted += "\\u" + String(scalar.value, radix: 16)
            default: quoted.unicodeScalars.append(scalar)
            }
        }
    }

    /// Digits, with `_` between them where a person likes it; no sign, no leading zero, no overflow.
    static func integer(_ text: some StringProtocol) -> Int? {
        let digits = text.utf8.filter { $0 != UInt8(ascii: "_") }
        guard let first = digits.first, digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        guard first != 0x30 || digits.count == 1, text.last != "_", text.first != "_" else { return nil }
        return Int(String(decoding: digits, as: UTF8.self))
    }

    /// Decimal digits with an optional sign, fraction and exponent; no infinity, no hexadecimal.
    private static func number(_ text: String) -> Double? {
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        guard let first = text.utf8.first(where: { $0 != UInt8(ascii: "-") }), digits.contains(first),
            let last = text.utf8.last, digits.contains(last),
            text.utf8.allSatisfy({ digits.contains($0) || "+-.eE".utf8.contains($0) })
        else { return nil }
        return Double(text)
    }

    /// `number` as a person writes it: `1`, `0.25`.
    private static func shown(_ number: Double) -> String {
        let text = String(number)
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    private static let byteUnits = [("KiB", 1_024), ("MiB", 1_048_576), ("GiB", 1_073_741_824)]

    private static func bytes(_ text: String) -> Int? {
        guard let (unit, size) = byteUnits.first(where: { text.hasSuffix($0.0) }) else { return integer(text) }
        var number = text.dropLast(unit.count)
        if number.last == " " { number.removeLast() }
        guard let count = integer(number) else { return nil }
        let (product, overflows) = count.multipliedReportingOverflow(by: size)
        return overflows ? nil : product
    }

    /// `bytes` with the largest unit that divides it: 65536 is `64KiB`.
    package static func shown(bytes: Int) -> String {
        guard bytes > 0, let (unit, size) = byteUnits.last(where: { bytes % $0.1 == 0 }) else { return String(bytes) }
        return "\(bytes / size)\(unit)"
    }
}

extension Milliseconds {
    /// Reads seconds such as `60`, `0.5` or `1.25`; `nil` for anything finer than a millisecond, and for signs,
    /// exponents and values no clock holds.
    package init?(seconds text: String) {
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, (1...15).contains(whole.utf8.count), whole.utf8.allSatisfy(Self.isDigit) else {
            return nil
        }
        var fraction: UInt64 = 0
        if parts.count == 2 {
            let decimals = parts[1]
            guard (1...3).contains(decimals.utf8.count), decimals.utf8.allSatisfy(Self.isDigit) else { return nil }
            fraction = UInt64(decimals + String(repeating: "0", count: 3 - decimals.utf8.count)) ?? 0
        }
        guard let seconds = UInt64(whole) else { return nil }
        self.init(seconds * 1_000 + fraction)
    }

    /// Seconds as a person writes them: `60`, `0.5`.
    package var inSeconds: String {
        let (seconds, rest) = value.quotientAndRemainder(dividingBy: 1_000)
        guard rest > 0 else { return String(seconds) }
        var decimals = String(String(1_000 + rest).dropFirst())
        while decimals.last == "0" { decimals.removeLast() }
        return "\(seconds).\(decimals)"
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}
