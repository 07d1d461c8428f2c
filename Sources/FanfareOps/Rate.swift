/// So many in so much time, as a person writes it: `20/s`, `600/min`, `5/10s`, `20/s burst 40`.
///
/// Meant for a token bucket: `burst` is its size, and it fills with `count` tokens every `seconds`.
package struct Rate: Sendable, Equatable {
    /// How many, 1 or more.
    package let count: Int
    /// In how much time, 1 to 86,400.
    package let seconds: Int
    /// How many at once after a pause, 1 or more. It may be less than `count`; without a burst in the text it is
    /// `count`.
    package let burst: Int

    /// The longest time a rate is over: one day.
    package static let secondsMaximum = 86_400

    private static let units = [("s", 1), ("min", 60), ("h", 3_600)]

    /// - Parameters:
    ///   - count: How many. Must be 1 or more.
    ///   - seconds: In how much time. Must be within 1 to ``secondsMaximum``.
    ///   - burst: How many at once; `count` when it is `nil`. Must be 1 or more.
    package init(_ count: Int, perSeconds seconds: Int = 1, burst: Int? = nil) {
        precondition(count >= 1 && (1...Self.secondsMaximum).contains(seconds) && burst ?? count >= 1)
        self.count = count
        self.seconds = seconds
        self.burst = burst ?? count
    }

    /// Reads `COUNT/TIME` or `COUNT/TIME burst COUNT`, where the time is `s`, `min` or `h` with an optional number in
    /// front. `nil` for everything else: signs, fractions, zeros, more than a day.
    package init?(_ text: String) {
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 1 || (words.count == 3 && words[1] == "burst") else { return nil }
        let parts = words[0].split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let count = SettingKind.integer(parts[0]), count >= 1,
            let seconds = Self.seconds(parts[1])
        else { return nil }
        let burst = words.count == 3 ? SettingKind.integer(words[2]) : count
        guard let burst, burst >= 1 else { return nil }
        self.init(count, perSeconds: seconds, burst: burst)
    }

    /// `s`, `10s`, `min`, `2min`, `h`, `24h` in seconds.
    private static func seconds(_ text: Substring) -> Int? {
        let number = text.prefix { $0.isASCII && !$0.isLetter }
        guard let unit = units.first(where: { $0.0 == text.dropFirst(number.count) })?.1,
            let times = number.isEmpty ? 1 : SettingKind.integer(number), times >= 1
        else { return nil }
        let (seconds, overflows) = times.multipliedReportingOverflow(by: unit)
        return overflows || seconds > secondsMaximum ? nil : seconds
    }
}

extension Rate: CustomStringConvertible {
    /// The rate in the largest unit that divides its time. Reading it gives the same rate.
    package var description: String {
        let (name, unit) = Self.units.last { seconds % $0.1 == 0 } ?? ("s", 1)
        let time = seconds == unit ? name : "\(seconds / unit)\(name)"
        return "\(count)/\(time)" + (burst == count ? "" : " burst \(burst)")
    }
}
