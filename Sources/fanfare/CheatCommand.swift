import ArgumentParser
import FanfareModel
import FanfareOps

struct CheatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cheat",
        abstract: "Examples to copy, by topic.",
        discussion: "Topics: \(Cheat.topics.map(\.name).joined(separator: ", "))."
    )

    @Argument(help: "The topic. Default: the list of them.", completion: .list(Cheat.topics.map(\.name)))
    var topic: String?
    @Flag(name: .customLong("json"), help: "Print JSON instead of text.") var isJSON = false

    func run() throws {
        guard let name = topic else {
            let list = Cheat.topics.map { MessageValue.map(["topic": .string($0.name), "title": .string($0.title)]) }
            return try System.write(isJSON ? Display.json(.array(list)) : Cheat.contents)
        }
        guard let topic = Cheat.topics.first(where: { $0.name == name }) else {
            let meant = Suggestion.closest(to: name, among: Cheat.topics.map(\.name))
            throw ProgramFailure(
                .usage,
                "there is no topic \"\(name)\""
                    + (meant.map { "; did you mean \"\($0)\"?" } ?? "; `fanfare cheat` lists them")
            )
        }
        try System.write(isJSON ? Display.json(topic.value) : topic.text)
    }
}

/// The examples of `fanfare cheat`. A test parses every line of them that calls `fanfare`.
enum Cheat {
    struct Example: Sendable {
        /// What it is for.
        let purpose: String
        /// To be copied as it is.
        let lines: String
    }

    struct Topic: Sendable {
        let name: String
        let title: String
        let examples: [Example]

        var text: String {
            examples.map { example in "# \(example.purpose)\n\(example.lines)\n" }.joined(separator: "\n")
        }

        var value: MessageValue {
            [
                "topic": .string(name), "title": .string(title),
                "examples": .array(
                    examples.map { ["purpose": .string($0.purpose), "lines": .string($0.lines)] }
                ),
            ]
        }
    }

    /// The list of topics.
    static var contents: String {
        let width = topics.reduce(0) { max($0, $1.name.count) } + 2
        return topics.map { topic in
            topic.name + String(repeating: " ", count: width - topic.name.count) + topic.title + "\n"
        }.joined()
    }
}
