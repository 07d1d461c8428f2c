import FanfareModel
import Testing

@testable import FanfareOps
@testable import fanfare_broker
@testable import fanfare_worker

@Suite struct SettingsReferenceTests {
    /// A sample with every default in force: the first `#` taken away where nothing blank follows it.
    private func uncommented(_ sample: String) -> String {
        sample.split(separator: "\n", omittingEmptySubsequences: false).map { line -> String in
            let blanks = line.prefix { $0 == " " }
            let rest = line.dropFirst(blanks.count)
            guard rest.first == "#", let next = rest.dropFirst().first, next != " " else { return String(line) }
            return String(blanks + rest.dropFirst())
        }.joined(separator: "\n")
    }

    private func check<Values: Sendable>(_ defaults: Values, _ table: [Setting<Values>]) throws {
        let settings = Settings(defaults: defaults, table: table)
        let sample = try settings.described(as: .sample, section: nil, title: "A sample")
        #expect(sample.split(separator: "\n").allSatisfy { $0.first { $0 != " " } == "#" })

        var asItIs = settings
        try asItIs.read(yaml: sample, from: "sample")
        #expect(asItIs.origins.isEmpty)

        var changed = settings
        try changed.read(yaml: uncommented(sample), from: "sample")
        for setting in table {
            #expect(setting.read(changed.values) == setting.read(defaults), "\(setting.path)")
            // What has a default stands there, and is not merely left out.
            let isGiven = changed.origins[setting.path] != nil
            #expect(isGiven == (setting.yaml(defaults) != nil && !setting.isSecret), "\(setting.path)")
            #expect(sample.contains("\(setting.name):"), "\(setting.path)")
        }
    }

    @Test func `a sample says the defaults, and nothing before the first character is taken away`() throws {
        try check(BrokerValues(), BrokerValues.table)
        try check(WorkerValues(), WorkerValues.table)
    }

    @Test func `a reference names every setting once below its section, with default and flag`() throws {
        let settings = Settings(defaults: BrokerValues(), table: BrokerValues.table)
        let text = try settings.described(as: .markdown, section: nil, title: "The broker")
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.first == "# The broker")
        for setting in BrokerValues.table {
            let item = lines.first { $0.hasPrefix("- **`\(setting.name)`** ") }
            #expect(item?.contains(setting.explanation) == true, "\(setting.path)")
            #expect(setting.flag == nil || item?.contains("`\(setting.flag ?? "")`") == true, "\(setting.path)")
        }
        #expect(lines.filter { $0.hasPrefix("## ") } == ["## limits", "## resilience"])
        let capacity = lines.first { $0.hasPrefix("- **`capacity_default`** ") }
        #expect(capacity?.contains("Default: `100`.") == true)
    }

    @Test func `a section stands alone, and one that does not exist is named with those that do`() throws {
        let settings = Settings(defaults: BrokerValues(), table: BrokerValues.table)
        let text = try settings.described(as: .markdown, section: "resilience", title: "The broker")
        #expect(text.contains("## resilience") && !text.contains("## limits") && !text.contains("`ops`"))
        let failure = #expect(throws: ProgramFailure.self) {
            try settings.described(as: .json, section: "limit", title: "")
        }
        #expect(failure?.exit == .usage && failure?.text.contains("limits") == true)
    }

    @Test func `programs get the keys of records too`() throws {
        let settings = Settings(defaults: WorkerValues(), table: WorkerValues.table)
        let text = try settings.described(as: .json, section: nil, title: "")
        #expect(
            text.contains(#""name":"routes""#) && text.contains(#""keys":["#) && text.contains(#""name":"consumer""#)
        )
        #expect(throws: ProgramFailure.self) { try SettingsForm(argument: "yaml") }
        #expect(try SettingsForm(argument: "sample") == .sample)
    }
}
