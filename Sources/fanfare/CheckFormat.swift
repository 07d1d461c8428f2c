import ArgumentParser
import FanfareModel

/// The shapes the results of checks come in.
enum CheckFormat: String, CaseIterable, ExpressibleByArgument, Sendable {
    case text
    case nagios
    case json
    case prometheus

    /// `results` in this shape, every line ended.
    func text(_ results: [CheckResult]) throws -> String {
        switch self {
        case .text: Self.lines(results)
        case .nagios: Self.nagios(results)
        case .json: try Display.json(Self.value(results))
        case .prometheus: Self.prometheus(results)
        }
    }

    private static func lines(_ results: [CheckResult]) -> String {
        results.map { result in
            let state = result.state.word.uppercased()
            let name = result.check.rawValue
            return padded(state, 9) + padded(name, 9) + DisplayText.sanitized(result.text) + "\n"
        }.joined()
    }

    private static func padded(_ text: String, _ columns: Int) -> String {
        text + String(repeating: " ", count: max(columns - text.count, 1))
    }

    /// One line with performance data behind a bar, then a line for each check when there are several.
    private static func nagios(_ results: [CheckResult]) -> String {
        let worst = CheckState.worst(results.map(\.state))
        let named = results.filter { $0.state == worst }.map { "\($0.check.rawValue): \(plain($0.text))" }
        let data = results.compactMap { result in
            result.value.map { value in
                "\(result.check.rawValue)=\(decimal(value))\(result.check.unit);\(result.warning.text);"
                    + "\(result.critical.text);0"
            }
        }
        let head = "FANFARE \(worst.word.uppercased()) - \(named.joined(separator: "; "))"
        let line = data.isEmpty ? head : "\(head) | \(data.joined(separator: " "))"
        guard results.count > 1 else { return line + "\n" }
        let rest = results.map { "\($0.state.word.uppercased()) \($0.check.rawValue): \(plain($0.text))\n" }
        return line + "\n" + rest.joined()
    }

    /// A bar would begin the performance data.
    private static func plain(_ text: String) -> String {
        DisplayText.sanitized(text).replacing("|", with: "/")
    }

    static func value(_ results: [CheckResult]) -> MessageValue {
        [
            "state": .string(CheckState.worst(results.map(\.state)).word),
            "checks": .array(
                results.map { result in
                    [
                        "check": .string(result.check.rawValue), "state": .string(result.state.word),
                        "value": result.value.map { .double($0) } ?? .null, "unit": .string(result.check.unit),
                        "text": .string(result.text), "warning": .string(result.warning.text),
                        "critical": .string(result.critical.text),
                    ]
                }
            ),
        ]
    }

    /// The text format of Prometheus, for the textfile collector of its node exporter.
    private static func prometheus(_ results: [CheckResult]) -> String {
        var text = """
            # HELP fanfare_check_state How a check came out: 0 ok, 1 warning, 2 critical, 3 unknown.
            # TYPE fanfare_check_state gauge

            """
        for result in results {
            text += "fanfare_check_state{check=\"\(result.check.rawValue)\"} \(result.state.rawValue)\n"
        }
        let values = results.compactMap { result in result.value.map { (result.check, $0) } }
        guard !values.isEmpty else { return text }
        text += """
            # HELP fanfare_check_value The number a check judges; `fanfare check --help` says what it is.
            # TYPE fanfare_check_value gauge

            """
        for (check, value) in values {
            text += "fanfare_check_value{check=\"\(check.rawValue)\",unit=\"\(unit(check))\"} \(decimal(value))\n"
        }
        return text
    }

    private static func unit(_ check: Check) -> String {
        switch check.unit {
        case "ms": "milliseconds"
        case "%": "percent"
        case "s": "seconds"
        default: "count"
        }
    }

    private static func decimal(_ value: Double) -> String {
        HumanNumbers.fixed(value, digits: 3)
    }
}
