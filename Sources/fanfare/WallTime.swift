/// A moment of the calendar, with the offset of the place it is shown at.
struct WallTime: Equatable {
    /// Since 1970-01-01T00:00:00Z.
    var milliseconds: Int64
    /// East of Greenwich.
    var offsetSeconds: Int64

    /// `23:59:59.999`, local.
    var timeOfDay: String {
        Self.timeOfDay(milliseconds + offsetSeconds * 1_000)
    }

    /// `2026-11-21T23:59:59.999Z` (RFC 3339), in UTC.
    var timestamp: String {
        let (year, month, day) = Self.date(days: Self.floored(milliseconds, 86_400_000).quotient)
        return
            "\(Self.padded(year, 4))-\(Self.padded(month, 2))-\(Self.padded(day, 2))T\(Self.timeOfDay(milliseconds))Z"
    }

    private static func timeOfDay(_ milliseconds: Int64) -> String {
        let today = floored(milliseconds, 86_400_000).remainder
        let (hours, minutes, seconds) = (today / 3_600_000, today / 60_000 % 60, today / 1_000 % 60)
        return "\(padded(hours, 2)):\(padded(minutes, 2)):\(padded(seconds, 2)).\(padded(today % 1_000, 3))"
    }

    /// The Gregorian date so many days after 1970-01-01. Counts in eras of 400 years whose years begin in March, so
    /// that the leap day comes last.
    private static func date(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let (era, dayOfEra) = floored(days + 719_468, 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        let year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
    }

    private static func floored(_ value: Int64, _ divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }

    private static func padded(_ number: Int64, _ digits: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}
