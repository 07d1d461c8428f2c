import FanfareModel
import FanfareOps

@testable import fanfare_broker
@testable import fanfare_worker

/// What people write into configuration files: the first byte of an input chooses what the rest is read as.
enum ConfigurationText {
    static func check(_ input: UnsafeRawBufferPointer) throws {
        guard let kind = input.first, let text = String(validating: input.dropFirst(), as: UTF8.self) else { return }
        switch kind % 5 {
        case 0: try checkBroker(text)
        case 1: try checkWorker(text)
        case 2: try checkGlob(text)
        case 3: try checkEndpoint(text)
        default: try checkRate(text)
        }
    }

    private static func checkBroker(_ text: String) throws {
        let table = BrokerValues.table
        guard var settings = try read(text, BrokerValues(), table) else { return }
        try refusals { () throws(ProgramFailure) in try settings.settle(limits: \.limits) }
        try refusals { () throws(ProgramFailure) in
            _ = try BrokerPlan(settings, environment: [:], userID: 1_000).summary
        }
    }

    private static func checkWorker(_ text: String) throws {
        let table = WorkerValues.table
        guard var settings = try read(text, WorkerValues(), table) else { return }
        try refusals { () throws(ProgramFailure) in try settings.settle(limits: \.limits) }
        try refusals { () throws(ProgramFailure) in
            let environment = ["FANFARE_TOKEN_SECRET": "sixteen bytes at least"]
            _ = try WorkerPlan(settings, environment: environment, userID: 1_000, standardName: "worker").summary
        }
    }

    /// What is read, printed and read again is the same, secrets apart.
    private static func read<Values: Sendable>(
        _ text: String,
        _ defaults: Values,
        _ table: [Setting<Values>]
    ) throws -> Settings<Values>? {
        var settings = Settings(defaults: defaults, table: table)
        let isRead = try refusals { () throws(ProgramFailure) in try settings.read(yaml: text, from: "file") }
        guard isRead else { return nil }
        let printed = settings.commentedYAML(title: "title")
        var again = Settings(defaults: defaults, table: table)
        do {
            try again.read(yaml: printed, from: "printed")
        } catch {
            throw Finding("what was printed cannot be read: \(error.text)\n\(printed)")
        }
        for setting in table where !setting.isSecret {
            let (before, after) = (setting.read(settings.values), setting.read(again.values))
            try require(before == after, "\(setting.path) is \(before) and, printed and read again, \(after)")
        }
        return settings
    }

    /// A refusal says something, and is about the configuration.
    ///
    /// - Returns: Whether there was none.
    @discardableResult
    private static func refusals(_ body: () throws(ProgramFailure) -> Void) throws(Finding) -> Bool {
        do throws(ProgramFailure) {
            try body()
            return true
        } catch {
            guard error.exit == .configuration, !error.text.isEmpty else { throw Finding("refused with \(error)") }
            return false
        }
    }

    /// A pattern in the first line, a name in what follows.
    private static func checkGlob(_ text: String) throws {
        let parts = text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let pattern = String(parts[0].prefix(256))
        let name = String((parts.count == 2 ? parts[1] : "").prefix(99))
        let glob = Glob(pattern)
        try require(glob.pattern == pattern, "the pattern \(pattern) has become \(glob.pattern)")
        try require(Glob("*" + pattern + "*").matches(name) || !glob.matches(name), "* before and behind matches less")
        guard !pattern.contains(where: { "*?[".contains($0) }) else { return }
        // By bytes: two ways to write a character are two names.
        try require(glob.matches(name) == pattern.utf8.elementsEqual(name.utf8), "\(pattern) matches \(name) wrongly")
    }

    private static func checkEndpoint(_ text: String) throws {
        var endpoint: Endpoint?
        guard try refusals({ () throws(ProgramFailure) in endpoint = try Endpoint(text) }), let endpoint else { return }
        let again = try? Endpoint(endpoint.description)
        try require(again == endpoint, "\(text) is \(endpoint), which is read as \(again as Any)")
    }

    private static func checkRate(_ text: String) throws {
        guard let rate = Rate(text) else { return }
        try require(Rate(rate.description) == rate, "\(text) is the rate \(rate), which is read as another")
    }
}
