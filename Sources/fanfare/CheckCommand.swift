import ArgumentParser
import FanfareClient
import FanfareModel

struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Whether all is well, for cron, Nagios, Kubernetes, Prometheus.",
        discussion: """
            \(Check.table)

            A range is written as in Nagios: 10 (an alarm above 10), 5: (below 5), ~:10, 5:10, @5:10 (inside).

            Exit codes: 0 ok, 1 warning, 2 critical, 3 unknown; of several checks the worst: critical, warning, \
            unknown, ok. A broker that cannot be reached, refuses or does not answer in time is critical for \
            `broker` and unknown for the others. 64 and 78 as everywhere.
            """
    )

    @Argument(help: "What to look at. Default: broker, queues, oldest, drops, workers, lag and memory.")
    var checks: [Check] = []

    @Option(
        help: ArgumentHelp(
            "Warn outside of this range: RANGE for one check, CHECK=RANGE. Repeatable.",
            valueName: "range"
        )
    )
    var warning: [String] = []

    @Option(help: ArgumentHelp("The same for critical.", valueName: "range")) var critical: [String] = []

    @Option(
        help: ArgumentHelp("Only workers, and for queues and oldest channels, whose name matches.", valueName: "glob")
    ) var match: String?

    @Option(help: ArgumentHelp("Between the two looks of drops, 0.1 to 3600.", valueName: "seconds")) var interval = 2.0

    @Flag(help: "Judge all drops since the broker's start instead.") var sinceStart = false

    @Option(help: ArgumentHelp("All of it may take so long, without the interval, 0.1 to 300.", valueName: "seconds"))
    var timeout = 10.0

    @Option(help: ArgumentHelp("text, nagios, json or prometheus. Default: text.", valueName: "format"))
    var format: CheckFormat?

    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard (0.1...3_600).contains(interval) else {
            throw ValidationError("--interval is \(interval); it must be 0.1 to 3600 seconds")
        }
        guard (0.1...300).contains(timeout) else {
            throw ValidationError("--timeout is \(timeout); it must be 0.1 to 300 seconds")
        }
        guard !global.isJSON || format ?? .json == .json else {
            throw ValidationError("--json says --format json, too; leave it or --format \(format?.rawValue ?? "") out")
        }
        _ = try (thresholds(warning, "--warning"), thresholds(critical, "--critical"))
    }

    /// The checks asked for, each once, in the order of ``Check``.
    var wanted: [Check] {
        checks.isEmpty ? Check.allCases : Check.allCases.filter(checks.contains)
    }

    private func thresholds(_ texts: [String], _ option: String) throws -> [Check: Threshold] {
        var thresholds: [Check: Threshold] = [:]
        for text in texts {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard let check = parts.count == 2 ? Check(rawValue: parts[0]) : wanted.count == 1 ? wanted[0] : nil,
                wanted.contains(check)
            else {
                let names = wanted.map(\.rawValue).joined(separator: ", ")
                throw ValidationError("\(option) \(text) belongs to no check; write CHECK=RANGE with one of \(names)")
            }
            guard let threshold = Threshold(parts[parts.count - 1]) else {
                throw ValidationError("\(option) \(text) is no range; write 10, 5:, ~:10, 5:10 or @5:10")
            }
            thresholds[check] = threshold
        }
        return thresholds
    }

    /// What `findings` come to; a check without one is unknown.
    func results(_ findings: [Check: CheckFinding]) throws -> [CheckResult] {
        let warnings = try thresholds(warning, "--warning")
        let criticals = try thresholds(critical, "--critical")
        return wanted.map { check in
            CheckResult(
                check,
                findings[check] ?? .unknown("it was not looked at"),
                warning: warnings[check] ?? check.warningDefault,
                critical: criticals[check] ?? check.criticalDefault
            )
        }
    }

    func run() async throws {
        // What is wrong with the command line or a file is no state of the broker.
        _ = try global.route()
        let results = try results(await findings())
        try System.write((format ?? (global.isJSON ? .json : .text)).text(results))
        System.exit(CheckState.worst(results.map(\.state)).rawValue)
    }

    /// What there is to see, in time or not at all.
    private func findings() async -> [Check: CheckFinding] {
        let patience = timeout + (wanted.contains(.drops) && !sinceStart ? interval : 0)
        let looking = CheckLook(wanted, interval: interval, sinceStart: sinceStart, match: match, global: global)
        let (answers, continuation) = AsyncStream.makeStream(of: [Check: CheckFinding].self)
        // Not children: what hangs is left behind, the process ends.
        Task { continuation.yield(await looking.findings()) }
        Task {
            try await Task.sleep(for: .seconds(patience))
            continuation.yield(looking.all(.unreachable("no answer within \(patience) s")))
        }
        for await answer in answers { return answer }
        return [:]
    }
}

/// One look at a broker for some checks.
struct CheckLook: Sendable {
    private static let roundTrips = 3
    private static let fullestLookedAt = 100
    /// The most a broker gives: half an answer is none here.
    private static let budget = Milliseconds(10_000)

    let checks: [Check]
    let interval: Double
    let sinceStart: Bool
    let match: String?
    let global: GlobalOptions

    init(_ checks: [Check], interval: Double, sinceStart: Bool, match: String?, global: GlobalOptions) {
        (self.checks, self.interval, self.sinceStart) = (checks, interval, sinceStart)
        (self.match, self.global) = (match, global)
    }

    /// The same finding for every check.
    func all(_ finding: CheckFinding) -> [Check: CheckFinding] {
        Dictionary(uniqueKeysWithValues: checks.map { ($0, finding) })
    }

    func findings() async -> [Check: CheckFinding] {
        do {
            return try await global.withLayer { try await findings($0) }
        } catch {
            return all(.unreachable(Ending(error).reason))
        }
    }

    private func findings(_ layer: ChannelLayer) async throws -> [Check: CheckFinding] {
        var findings: [Check: CheckFinding] = [:]
        let clock = ContinuousClock()
        let before = try await layer.inspect(InspectionQuery(.status))
        let begin = clock.now
        for check in checks where check != .drops {
            do {
                findings[check] = try await finding(check, before, layer)
            } catch let refusal as Failure where refusal.code == .badRequest {
                findings[check] = .untold(check.meaning)
            } catch let refusal as Failure where refusal.code == .forbidden {
                findings[check] = .unknown(refusal.text)
            }
        }
        guard checks.contains(.drops) else { return findings }
        guard !sinceStart else {
            findings[.drops] = .drops(before)
            return findings
        }
        try await Task.sleep(until: begin + .seconds(interval), clock: clock)
        let after = try await layer.inspect(InspectionQuery(.status))
        findings[.drops] = .drops(before, after, seconds: (clock.now - begin) / .seconds(1))
        return findings
    }

    private func finding(_ check: Check, _ status: MessageValue, _ layer: ChannelLayer) async throws -> CheckFinding {
        switch check {
        case .broker:
            var slowest = Duration.zero
            for _ in 0..<Self.roundTrips { slowest = max(slowest, try await layer.ping()) }
            let milliseconds = slowest / .milliseconds(1)
            return .number(milliseconds, "answers within \(HumanNumbers.fixed(milliseconds, digits: 1)) ms")
        case .queues: return .queues(try await layer.inspect(query(.channels, by: "depth", Self.fullestLookedAt)))
        case .oldest:
            let isForAll = match == nil && global.namespace == nil && status.map?["oldest_milliseconds"] != nil
            guard !isForAll else { return .oldest(status) }
            return .oldest(among: try await layer.inspect(query(.channels, by: "oldest_milliseconds", 1)))
        case .drops: preconditionFailure("drops take two looks")
        case .workers: return try await workers(layer)
        case .lag: return .lag(try await layer.inspect(query(.sessions, by: "lag_milliseconds", 1)))
        case .memory: return .memory(status)
        }
    }

    /// Counts the sessions that hold channels; the broker cannot tell them apart in a query.
    private func workers(_ layer: ChannelLayer) async throws -> CheckFinding {
        var query = query(.sessions, by: nil, Limits().rowsReturned)
        var count = 0
        while true {
            let answer = try await layer.inspect(query)
            guard answer["partial"]?.bool != true else { return .unknown("the broker had no time to list sessions") }
            let rows = answer["rows"]?.array ?? []
            count += rows.count { $0["node"]?.string != nil }
            guard let cursor = answer["cursor"]?.string, !rows.isEmpty else { return .workers(count, match: match) }
            query.cursor = cursor
        }
    }

    private func query(_ subject: InspectionQuery.Subject, by column: String?, _ limit: Int) -> InspectionQuery {
        var query = InspectionQuery(subject)
        query.namespace = global.namespace
        query.match = match.map { Glob($0) }
        query.sort = column
        query.descending = column != nil
        query.limit = limit
        query.budget = Self.budget
        return query
    }
}
