import ArgumentParser
import FanfareClient
import FanfareModel

struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Configuration files of the broker and the worker.",
        discussion: """
            The programs themselves are asked, those installed beside this one, else in $PATH: what they say holds \
            for their version.
            """,
        subcommands: [ConfigCheckCommand.self, ConfigDefaultCommand.self, ConfigDocCommand.self]
    )
}

/// A program with a configuration file.
enum ConfiguredProgram: String, ExpressibleByArgument, CaseIterable {
    case broker
    case worker

    var sibling: SiblingProgram { SiblingProgram(name: "fanfare-\(rawValue)") }

    /// What it says to `arguments`.
    ///
    /// - Throws: ``ProgramFailure`` with what it said last when it fails.
    func says(_ arguments: [String]) throws(ProgramFailure) -> String {
        let ended = try sibling.run(arguments)
        guard ended.code == 0 else { throw failure(ended) }
        return ended.output
    }

    /// The failure of an earlier run as one of this program.
    func failure(_ ended: SiblingProgram.Ended) -> ProgramFailure {
        let text = ended.output.split(separator: "\n").last.map(String.init) ?? "\(sibling.name) said nothing"
        let prefix = "\(sibling.name): "
        return ProgramFailure(
            ProgramFailure.Exit(rawValue: ended.code) ?? .unavailable,
            text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text
        )
    }
}

struct ConfigCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Whether a configuration file is valid, and what it comes to; 0 or 78.",
        discussion: "Nothing is started, and nothing that runs is asked. The files it names are read."
    )

    @Argument(help: "The file.", completion: .file()) var file: String
    @Option(name: .customLong("for"), help: ArgumentHelp("Whose file: broker or worker.", valueName: "program"))
    var program: ConfiguredProgram
    @Flag(name: .customLong("json"), help: "Print JSON instead of text.") var isJSON = false

    func run() throws {
        let ended = try program.sibling.run(["--config", file, "--check-config"])
        guard isJSON else {
            guard ended.code == 0 else { throw program.failure(ended) }
            return try System.write(ended.output)
        }
        try System.write(Display.json(Self.value(ended, program)))
        System.exit(ended.code)
    }

    /// The outcome as a map: the summary's lines by their names, or the problem.
    static func value(_ ended: SiblingProgram.Ended, _ program: ConfiguredProgram) -> MessageValue {
        guard ended.code == 0 else {
            return ["valid": false, "problem": .string(program.failure(ended).text)]
        }
        let lines = ended.output.split(separator: "\n").dropFirst().map { MessageValue.string(String($0)) }
        return ["valid": true, "summary": .array(lines)]
    }
}

struct ConfigDefaultCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "default",
        abstract: "A configuration file to begin with: every setting with its default, as comments.",
        discussion: "fanfare config default broker > /etc/fanfare/broker.yaml"
    )

    @Argument(help: "Whose file: broker or worker.") var program: ConfiguredProgram
    @Flag(name: .customLong("json"), help: "Print the settings and their defaults as JSON.") var isJSON = false

    func run() throws {
        try System.write(program.says(["--describe-config", isJSON ? "json" : "sample"]))
    }
}

struct ConfigDocCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doc",
        abstract: "The reference of all settings, as Markdown."
    )

    @Argument(help: "Whose settings: broker or worker.") var program: ConfiguredProgram
    @Option(help: ArgumentHelp("Only this section, such as limits.", valueName: "name")) var section: String?
    @Flag(name: .customLong("json"), help: "Print JSON instead of Markdown.") var isJSON = false

    func run() throws {
        let form = ["--describe-config", isJSON ? "json" : "markdown"]
        try System.write(program.says(form + (section.map { ["--config-section", $0] } ?? [])))
    }
}
