import ArgumentParser
import FanfareModel
import Testing

@testable import fanfare

struct ThresholdTests {
    @Test(
        "a range alarms as the Nagios guidelines say",
        arguments: [
            ("10", [-1, 10.5], [0, 5, 10]), ("0", [-1, 0.1], [0]), ("5:", [4.9, -1], [5, 1e12]),
            ("~:10", [11], [-1e12, 10]), ("5:10", [4, 11], [5, 7, 10]), ("@5:10", [5, 7, 10], [4, 11]),
            ("@10", [0, 10], [-1, 11]), ("-5:-1", [-6, 0], [-5, -1]), ("0.5:1.5", [0.4, 1.6], [0.5, 1.5]),
        ] as [(String, [Double], [Double])]
    )
    func ranges(text: String, alarms: [Double], quiet: [Double]) throws {
        let threshold = try #require(Threshold(text))
        for value in alarms { #expect(threshold.isAlarm(value), "\(text) \(value)") }
        for value in quiet { #expect(!threshold.isAlarm(value), "\(text) \(value)") }
    }

    @Test(arguments: [
        "", ":", ":5", "5:4", "a", "1:2:3", "@@5", "5@", "1e3", "0x10", "nan", "inf", "~", "5 ", "+5", "--5", "~:~",
    ])
    func `anything else is no range`(text: String) {
        #expect(Threshold(text) == nil)
    }
}

struct CheckTests {
    private func results(_ arguments: [String], _ findings: [Check: CheckFinding]) throws -> [CheckResult] {
        try CheckCommand.parse(arguments).results(findings)
    }

    @Test func `a number is judged by the defaults, or by what is given`() throws {
        let findings: [Check: CheckFinding] = [.queues: .number(85, "q"), .workers: .number(3, "w")]
        #expect(try results(["queues", "workers"], findings).map(\.state) == [.warning, .ok])
        #expect(try results(["queues", "--warning", "90"], findings).map(\.state) == [.ok])
        #expect(try results(["queues", "--critical", "queues=84"], findings).map(\.state) == [.critical])
        let both = [
            "queues", "workers", "--warning", "workers=4:", "--critical", "workers=2:", "--critical", "queues=10",
        ]
        #expect(try results(both, findings).map(\.state) == [.critical, .warning])
    }

    @Test func `no broker is critical for broker and unknown for the rest, and the worst counts`() throws {
        let gone = Dictionary(uniqueKeysWithValues: Check.allCases.map { ($0, CheckFinding.unreachable("gone")) })
        let states = try results([], gone).map(\.state)
        #expect(states == [.critical] + Array(repeating: .unknown, count: Check.allCases.count - 1))
        #expect(CheckState.worst(states) == .critical)
        #expect(CheckState.worst([.ok, .unknown, .warning]) == .warning)
        #expect(CheckState.worst([.ok, .unknown]) == .unknown)
        #expect(CheckState.worst([.ok]) == .ok)
        #expect(try results(["lag"], [:]).map(\.state) == [.unknown])
    }

    @Test(
        "what belongs to no check or is no range is a usage error",
        arguments: [
            ["--warning", "5"], ["queues", "lag", "--warning", "5"], ["queues", "--warning", "lag=5"],
            ["queues", "--warning", "queues=x"], ["queues", "--critical", ""], ["bogus"], ["--interval", "0"],
            ["--timeout", "nan"], ["queues", "--warning", "=5"], ["--format", "xml"],
        ]
    )
    func usage(arguments: [String]) throws {
        let error = #expect(throws: (any Error).self) { try CheckCommand.parse(arguments) }
        #expect(try Ending(#require(error)).exitCode == 64)
    }

    @Test func `checks are done once, in one order`() throws {
        #expect(try CheckCommand.parse(["lag", "broker", "lag"]).wanted == [.broker, .lag])
        #expect(try CheckCommand.parse([]).wanted == Check.allCases)
    }

    @Test func `the fullest channel is that of the highest share`() {
        let answer: MessageValue = [
            "rows": [
                ["channel": "deep", "depth": 500, "capacity": 1_000],
                ["channel": "full", "depth": 90, "capacity": 100],
                ["channel": "odd", "depth": 1, "capacity": 0], ["channel": "nil", "depth": .null],
            ]
        ]
        let finding = CheckFinding.queues(answer)
        #expect(finding.outcome == .number(90))
        #expect(finding.text.contains("full holds 90 of 100"))
        #expect(CheckFinding.queues(["rows": []]).outcome == .nothing)
    }

    @Test func `drops are a rate between two looks at the same broker`() {
        let before: MessageValue = ["epoch": 1, "drops": ["full": 10, "expired": 5]]
        let after: MessageValue = ["epoch": 1, "drops": ["full": 30, "expired": 5, "owner_gone": 2]]
        let finding = CheckFinding.drops(before, after, seconds: 2)
        #expect(finding.outcome == .number(11))
        #expect(finding.text.hasSuffix("20 full, 2 owner_gone"))
        #expect(CheckFinding.drops(before, before, seconds: 2).outcome == .number(0))
        let restarted: MessageValue = ["epoch": 2, "drops": ["full": 0]]
        #expect(CheckFinding.drops(before, restarted, seconds: 2).outcome == .unknown)
        #expect(CheckFinding.drops(before).outcome == .number(15))
        #expect(CheckFinding.drops(["epoch": 1]).outcome == .unknown)
    }

    @Test func `what a broker does not tell is unknown, what is not there is nothing`() {
        let waiting: MessageValue = ["rows": [["channel": "a"], ["channel": "b", "oldest_milliseconds": 1_500]]]
        #expect(CheckFinding.oldest(among: waiting).outcome == .number(1.5))
        #expect(CheckFinding.oldest(among: waiting).text.contains("channel b"))
        #expect(CheckFinding.oldest(among: ["rows": []]).outcome == .nothing)
        #expect(CheckFinding.oldest(["oldest_milliseconds": .null]).outcome == .nothing)
        #expect(CheckFinding.oldest(["oldest_milliseconds": 2_500]).outcome == .number(2.5))
        #expect(CheckFinding.lag(["rows": [["name": "a"]]]).outcome == .unknown)
        #expect(CheckFinding.lag(["rows": [["name": "a", "lag_milliseconds": .null]]]).outcome == .nothing)
        #expect(CheckFinding.lag(["rows": []]).outcome == .nothing)
        #expect(CheckFinding.lag(["rows": [["name": "a", "lag_milliseconds": 1.5]]]).outcome == .number(1.5))
        #expect(CheckFinding.memory(["memory_bytes": 5]).outcome == .unknown)
        #expect(CheckFinding.memory(["memory_bytes": 5, "memory_limit_bytes": 20]).outcome == .number(25))
        #expect(CheckFinding.workers(3, match: nil).outcome == .number(3))
    }

    @Test func `Nagios gets one line with performance data, and no bar or line end of others`() throws {
        let one = try results(["queues"], [.queues: .number(85, "channel a|b\nc holds 85")])
        #expect(
            try CheckFormat.nagios.text(one)
                == "FANFARE WARNING - queues: channel a/b\u{fffd}c holds 85 | queues=85.000%;80;95;0\n"
        )
        let two = try results(["broker", "lag"], [.broker: .number(1, "fine"), .lag: .unknown("not told")])
        let lines = try CheckFormat.nagios.text(two).split(separator: "\n")
        #expect(lines.first == "FANFARE UNKNOWN - lag: not told | broker=1.000ms;250;1000;0")
        #expect(lines.dropFirst() == ["OK broker: fine", "UNKNOWN lag: not told"])
    }

    @Test func `the other formats say the same`() throws {
        let all = try results(["workers", "lag"], [.workers: .number(0, "none\u{1b}"), .lag: .unknown("not told")])
        let text = try CheckFormat.text.text(all)
        #expect(text.hasPrefix("CRITICAL workers  none\u{fffd}\n") && text.contains("UNKNOWN  lag      not told\n"))
        let value = CheckFormat.value(all)
        #expect(value["state"] == "critical")
        #expect(value["checks"]?.array?.count == 2)
        #expect(value["checks"]?.array?.last?["value"] == .null)
        let metrics = try CheckFormat.prometheus.text(all).split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(
            metrics == [
                "fanfare_check_state{check=\"workers\"} 2", "fanfare_check_state{check=\"lag\"} 3",
                "fanfare_check_value{check=\"workers\",unit=\"count\"} 0.000",
            ]
        )
    }

    @Test func `help tells every check with its defaults`() {
        let help = CheckCommand.helpMessage(columns: 1_000)
        for check in Check.allCases {
            let line = help.split(separator: "\n").first { $0.contains(check.meaning) }
            #expect(line?.contains(check.rawValue) == true && line?.contains(check.criticalDefault.text) == true)
        }
    }
}
