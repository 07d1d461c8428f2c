import ArgumentParser
import FanfareModel

/// How a check came out. The number is the exit code of the Nagios plugin guidelines.
enum CheckState: Int32, Sendable, CaseIterable {
    case ok = 0
    case warning = 1
    case critical = 2
    case unknown = 3

    var word: String { "\(self)" }

    /// The one that counts when there are several: what is known to be bad before what is not known.
    static func worst(_ states: some Sequence<CheckState>) -> CheckState {
        let order: [CheckState] = [.critical, .warning, .unknown, .ok]
        let states = Array(states)
        return order.first(where: states.contains) ?? .unknown
    }
}

/// What `check` can look at: one number each.
enum Check: String, CaseIterable, ExpressibleByArgument, Sendable {
    case broker
    case queues
    case oldest
    case drops
    case workers
    case lag
    case memory

    /// What the number is.
    var meaning: String {
        switch self {
        case .broker: "the slowest of three round trips through its queue of work, in milliseconds"
        case .queues: "the fullest channel, in percent of its capacity"
        case .oldest: "the age of the oldest unread message, in seconds"
        case .drops: "messages dropped a second over --interval; with --since-start: since the broker's start"
        case .workers: "processes that hold channels"
        case .lag: "the slowest round trip to a process, in milliseconds"
        case .memory: "what the broker holds, in percent of memory_bytes"
        }
    }

    /// The unit as the Nagios guidelines write it; empty for a plain number.
    var unit: String {
        switch self {
        case .broker, .lag: "ms"
        case .queues, .memory: "%"
        case .oldest: "s"
        case .drops, .workers: ""
        }
    }

    var warningDefault: Threshold {
        switch self {
        case .broker, .lag: Self.range("250")
        case .queues, .memory: Self.range("80")
        case .oldest: Self.range("10")
        case .drops: Self.range("0")
        case .workers: Self.range("1:")
        }
    }

    var criticalDefault: Threshold {
        switch self {
        case .broker: Self.range("1000")
        case .lag: Self.range("5000")
        case .queues, .memory: Self.range("95")
        case .oldest: Self.range("30")
        case .drops: Self.range("10")
        case .workers: Self.range("1:")
        }
    }

    private static func range(_ text: String) -> Threshold {
        guard let threshold = Threshold(text) else { preconditionFailure("\(text) is no range") }
        return threshold
    }

    /// The list of all of them with their defaults, for `--help`.
    static var table: String {
        allCases.map { check in
            let name = check.rawValue + String(repeating: " ", count: 8 - check.rawValue.count)
            return "\(name) \(check.meaning). Warning \(check.warningDefault.text), critical "
                + "\(check.criticalDefault.text)."
        }.joined(separator: "\n")
    }
}

/// What one check found.
struct CheckResult: Equatable, Sendable {
    let check: Check
    let state: CheckState
    /// The number; `nil` when there is none.
    let value: Double?
    /// What was found, for people.
    let text: String
    let warning: Threshold
    let critical: Threshold

    /// Judges a finding.
    init(_ check: Check, _ finding: CheckFinding, warning: Threshold, critical: Threshold) {
        self.check = check
        (self.warning, self.critical) = (warning, critical)
        text = finding.text
        switch finding.outcome {
        case .number(let number):
            value = number
            state = critical.isAlarm(number) ? .critical : warning.isAlarm(number) ? .warning : .ok
        case .nothing: (value, state) = (nil, .ok)
        case .unreachable: (value, state) = (nil, check == .broker ? .critical : .unknown)
        case .unknown: (value, state) = (nil, .unknown)
        }
    }
}

/// What one check saw, before it is judged.
struct CheckFinding: Equatable, Sendable {
    enum Outcome: Equatable, Sendable {
        case number(Double)
        /// There is nothing to measure, and nothing wrong with that.
        case nothing
        /// There is no broker to ask.
        case unreachable
        /// The broker does not say.
        case unknown
    }

    let outcome: Outcome
    let text: String

    static func number(_ number: Double, _ text: String) -> CheckFinding {
        CheckFinding(outcome: .number(number), text: text)
    }
    static func nothing(_ text: String) -> CheckFinding { CheckFinding(outcome: .nothing, text: text) }
    static func unreachable(_ text: String) -> CheckFinding { CheckFinding(outcome: .unreachable, text: text) }
    static func unknown(_ text: String) -> CheckFinding { CheckFinding(outcome: .unknown, text: text) }
}

// What the broker's answers mean. Without I/O.
extension CheckFinding {
    /// The fullest of the channels in the answer.
    static func queues(_ answer: MessageValue) -> CheckFinding {
        let rows = (answer["rows"]?.array ?? []).compactMap { row -> (percent: Double, text: String)? in
            guard let depth = row["depth"]?.int, let capacity = row["capacity"]?.int, capacity > 0 else { return nil }
            let name = row["channel"]?.string ?? ""
            return (100 * Double(depth) / Double(capacity), "channel \(name) holds \(depth) of \(capacity) messages")
        }
        let part = answer["partial"]?.bool == true ? ", of those there was time to look at" : ""
        guard let fullest = rows.max(by: { $0.percent < $1.percent }) else { return .nothing("no channel" + part) }
        return .number(fullest.percent, fullest.text + part)
    }

    /// Of all that waits in the broker.
    static func oldest(_ status: MessageValue) -> CheckFinding {
        guard let milliseconds = status["oldest_milliseconds"]?.double else { return .nothing("nothing is unread") }
        return .number(
            milliseconds / 1_000,
            "the oldest unread message is \(HumanNumbers.fixed(milliseconds / 1_000, digits: 1)) s old"
        )
    }

    /// Of what waits in the channels in the answer.
    static func oldest(among answer: MessageValue) -> CheckFinding {
        let ages = (answer["rows"]?.array ?? []).compactMap { row in
            row["oldest_milliseconds"]?.double.map { ($0, row["channel"]?.string ?? "") }
        }
        guard let oldest = ages.max(by: { $0.0 < $1.0 }) else { return .nothing("nothing is unread") }
        let seconds = oldest.0 / 1_000
        return .number(
            seconds,
            "the oldest unread message, in channel \(oldest.1), is \(HumanNumbers.fixed(seconds, digits: 1)) s old"
        )
    }

    /// What was dropped between two answers.
    static func drops(_ before: MessageValue, _ after: MessageValue, seconds: Double) -> CheckFinding {
        guard let (earlier, later) = pair(before, after) else { return .untold("what it dropped") }
        guard before["epoch"] == after["epoch"] else { return .unknown("the broker was started anew meanwhile") }
        let dropped = later.map { ($0.key, $0.value - earlier[$0.key, default: 0]) }.filter { $0.1 > 0 }
        let rate = seconds > 0 ? Double(dropped.reduce(0) { $0 + $1.1 }) / seconds : 0
        let (shownRate, shownSeconds) = (HumanNumbers.fixed(rate, digits: 1), HumanNumbers.fixed(seconds, digits: 1))
        let text = "\(shownRate) messages a second dropped in \(shownSeconds) s"
        return .number(rate, text + reasons(dropped))
    }

    /// What was dropped since the broker's start.
    static func drops(_ status: MessageValue) -> CheckFinding {
        guard let (_, counts) = pair(status, status) else { return .untold("what it dropped") }
        let dropped = counts.map { ($0.key, $0.value) }.filter { $0.1 > 0 }
        let total = dropped.reduce(0) { $0 + $1.1 }
        return .number(Double(total), "\(total) messages dropped since the start" + reasons(dropped))
    }

    private static func pair(_ before: MessageValue, _ after: MessageValue) -> ([String: Int64], [String: Int64])? {
        guard let earlier = before["drops"]?.map, let later = after["drops"]?.map else { return nil }
        return (earlier.compactMapValues(\.int), later.compactMapValues(\.int))
    }

    private static func reasons(_ dropped: [(String, Int64)]) -> String {
        guard !dropped.isEmpty else { return "" }
        return ": " + dropped.sorted { $0.1 > $1.1 }.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
    }

    static func workers(_ count: Int, match: String?) -> CheckFinding {
        .number(Double(count), "\(count) processes hold channels" + (match.map { " among \($0)" } ?? ""))
    }

    /// The slowest of the sessions in the answer.
    static func lag(_ answer: MessageValue) -> CheckFinding {
        let rows = answer["rows"]?.array ?? []
        guard rows.isEmpty || rows.contains(where: { $0.map?.keys.contains("lag_milliseconds") == true }) else {
            return .untold("round trips")
        }
        let measured = rows.compactMap { row in row["lag_milliseconds"]?.double.map { ($0, row["name"]?.string ?? "") }
        }
        guard let slowest = measured.max(by: { $0.0 < $1.0 }) else {
            return .nothing("no round trip has been measured")
        }
        return .number(slowest.0, "\(slowest.1) answers after \(HumanNumbers.fixed(slowest.0, digits: 1)) ms")
    }

    static func memory(_ status: MessageValue) -> CheckFinding {
        guard let used = status["memory_bytes"]?.int, let limit = status["memory_limit_bytes"]?.int, limit > 0 else {
            return .untold("its memory and the limit of it")
        }
        let text = "\(HumanNumbers.bytes(used)) of \(HumanNumbers.bytes(limit)) are in use"
        return .number(100 * Double(used) / Double(limit), text)
    }

    /// For a broker that does not know the question.
    static func untold(_ what: String) -> CheckFinding {
        .unknown("this broker does not tell \(what); it is older than this program")
    }
}
