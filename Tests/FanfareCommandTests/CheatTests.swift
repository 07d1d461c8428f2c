import ArgumentParser
import FanfareModel
import Testing

@testable import fanfare

/// What a person copies from `fanfare cheat` must be what the program takes.
struct CheatTests {
    /// Every call of `fanfare` in a shell line or in a list of YAML, as words.
    private func calls(_ line: String) -> [[String]] {
        if let open = line.firstRange(of: "[fanfare, ") {
            let list = line[open.upperBound...].prefix { $0 != "]" }
            return [list.split(separator: ",").map { $0.trimming(" \"") }]
        }
        var calls: [[String]] = []
        var words: [String]?
        for word in shellWords(line) {
            if word == .plain("fanfare") {
                words = []
            } else if case .plain(let text) = word, ["|", ">", "<", ";", "||", "&&", ")"].contains(text) {
                if let words { calls.append(words) }
                words = nil
            } else {
                words?.append(word.text)
            }
        }
        return calls + (words.map { [$0] } ?? [])
    }

    private enum Word: Equatable {
        case plain(String)
        case quoted(String)
        var text: String {
            switch self {
            case .plain(let text), .quoted(let text): text
            }
        }
    }

    /// Words as a shell makes them of blanks, quotes and operators; no expansion.
    private func shellWords(_ line: String) -> [Word] {
        var words: [Word] = []
        var current = ""
        var isQuoted = false
        var quote: Character?
        func end() {
            if isQuoted { words.append(.quoted(current)) } else if !current.isEmpty { words.append(.plain(current)) }
            (current, isQuoted) = ("", false)
        }
        for character in line {
            if let open = quote {
                if character == open { quote = nil } else { current.append(character) }
            } else if character == "'" || character == "\"" {
                (quote, isQuoted) = (character, true)
            } else if character == " " || character == "(" {
                end()
            } else if ";<>)".contains(character) {
                end()
                words.append(.plain(String(character)))
            } else {
                current.append(character)
            }
        }
        end()
        return words
    }

    @Test func `every example is a command line the program takes`() throws {
        var count = 0
        for topic in Cheat.topics {
            for line in topic.examples.flatMap({ $0.lines.split(separator: "\n") }) {
                for words in calls(String(line)) {
                    count += 1
                    let arguments = WatchOptions.spelledOut(GlobalOptions.behindCommand(words))
                    #expect(throws: Never.self, "\(topic.name): \(line)") { try Fanfare.parseAsRoot(arguments) }
                }
                let mentions = line.split(separator: "fanfare ", omittingEmptySubsequences: false).count - 1
                #expect(calls(String(line)).count >= mentions, "\(topic.name): \(line)")
            }
        }
        #expect(count > 40)
    }

    @Test func `the words of an example are found whatever stands around them`() {
        #expect(calls("fanfare groups --json | jq .") == [["groups", "--json"]])
        #expect(calls(#"x || out=$(fanfare check) || echo "$out""#) == [["check"]])
        #expect(calls("source <(fanfare completion bash)") == [["completion", "bash"]])
        #expect(calls(#"command: [fanfare, check, broker, "5"]"#) == [["check", "broker", "5"]])
        #expect(calls(#"fanfare send a '{"b": 1}'"#) == [["send", "a", #"{"b": 1}"#]])
    }

    @Test func `topics have names of their own, and text for people and programs`() throws {
        #expect(Set(Cheat.topics.map(\.name)).count == Cheat.topics.count)
        for topic in Cheat.topics {
            #expect(Cheat.contents.contains("\(topic.name) "))
            for example in topic.examples { #expect(topic.text.contains(example.lines)) }
            #expect(topic.value["examples"]?.array?.count == topic.examples.count)
        }
        let failure = #expect(throws: ProgramFailure.self) { try CheatCommand.parse(["gruops"]).run() }
        #expect(failure?.text.contains("\"groups\"") == true)
    }
}

extension Substring {
    fileprivate func trimming(_ characters: String) -> String {
        var rest = self
        while let first = rest.first, characters.contains(first) { rest.removeFirst() }
        while let last = rest.last, characters.contains(last) { rest.removeLast() }
        return String(rest)
    }
}

struct CompletionTests {
    @Test(arguments: CompletionCommand.Shell.allCases)
    func `a script for each shell knows the commands`(shell: CompletionCommand.Shell) throws {
        #expect(try CompletionCommand.parse([shell.rawValue]).shell == shell)
        let kinds: [CompletionCommand.Shell: CompletionShell] = [.bash: .bash, .zsh: .zsh, .fish: .fish]
        let script = Fanfare.completionScript(for: try #require(kinds[shell]))
        for command in Fanfare.configuration.subcommands {
            #expect(script.contains(try #require(command.configuration.commandName)))
        }
        #expect(script.contains("---completion"))
    }

    @Test func `the beginning of a name is asked for as a pattern, a pattern not at all`() {
        #expect(LiveNames.query(.groups, ["fanfare", "group", "chat"], "chat")?.match == Glob("chat*"))
        #expect(LiveNames.query(.groups, ["fanfare", "group"], "")?.match == nil)
        #expect(LiveNames.query(.groups, ["fanfare", "groups", "'chat*"], "'chat*") == nil)
        let words = ["fanfare", "--broker", "unix:/x", "group", "--namespace=blue", "a"]
        #expect(LiveNames.query(.groups, words, "a")?.namespace == "blue")
    }

    @Test func `a broker that is not there completes nothing`() {
        let words = ["fanfare", "group", "--broker", "unix:/nonexistent/broker.sock"]
        #expect(LiveNames.inBroker(.groups, "group", words, "").isEmpty)
    }
}
