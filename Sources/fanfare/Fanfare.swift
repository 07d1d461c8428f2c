import ArgumentParser
import FanfareModel
import FanfareOps

/// The admin command line: looks into a broker, sends through it, measures it.
@main
struct Fanfare: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fanfare",
        abstract: "Look into a Fanfare broker, send through it, measure it.",
        discussion: """
            Listings are filtered, ordered and cut by the broker. Tables for people, --json for programs. \
            `fanfare cheat` has examples.

            \(GlobalOptions.precedence)

            Exit codes: 0 done; 1 the answer to a question was no, and nothing was done; 64 the command line was \
            wrong; 69 the broker cannot be reached, has refused, or does not know what was asked for; 70 an error \
            inside; 78 a setting cannot be used. `check` has its own: 0 to 3.
            """,
        version: "fanfare \(Version.current)",
        subcommands: [
            StatusCommand.self, TopCommand.self, GroupsCommand.self, GroupCommand.self, ChannelsCommand.self,
            ChannelCommand.self, WorkersCommand.self, SessionsCommand.self, ClosedCommand.self, DropsCommand.self,
            SendCommand.self, GroupSendCommand.self, TailCommand.self, PingCommand.self, LatencyCommand.self,
            FlushCommand.self, DrainCommand.self, KickCommand.self, TokenCommand.self,
            CheckCommand.self, ContextCommand.self, ConfigCommand.self, CompletionCommand.self, CheatCommand.self,
        ]
    )

    /// How many words at the start of `arguments` name a command: two for `context add`.
    static func commandWords(_ arguments: ArraySlice<String>) -> Int {
        var command: any ParsableCommand.Type = Fanfare.self
        var words = 0
        for word in arguments {
            guard let next = command.configuration.subcommands.first(where: { $0.configuration.commandName == word })
            else { break }
            command = next
            words += 1
        }
        return words
    }

    /// ArgumentParser shows the general help for a command that is not there.
    ///
    /// - Throws: ``ProgramFailure`` with exit `usage` when `arguments` ask for help on no command.
    static func checkHelp(_ arguments: [String]) throws(ProgramFailure) {
        let words = arguments.dropFirst().prefix { !$0.hasPrefix("-") }
        let known = commandWords(words)
        guard arguments.first == "help", known < words.count, words.first != "help" else { return }
        let names = configuration.subcommands.compactMap { $0.configuration.commandName }
        let meant = known == 0 ? words.first.flatMap { Suggestion.closest(to: $0, among: names) } : nil
        let hint = meant.map { "did you mean \"\($0)\"?" } ?? "`fanfare --help` lists what there is"
        throw ProgramFailure(.usage, "there is no command \"\(words.joined(separator: " "))\"; \(hint)")
    }

    static func main() async {
        System.ignoreClosedPipes()
        do {
            let arguments = GlobalOptions.behindCommand(Array(CommandLine.arguments.dropFirst()))
            try checkHelp(arguments)
            var command = try parseAsRoot(WatchOptions.spelledOut(arguments))
            if var toBroker = command as? any BrokerCommand {
                try toBroker.completeByContext()
                try await toBroker.run()
            } else if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            Ending(error).take()
        }
    }
}

extension BrokerCommand {
    /// Takes up the context in use.
    mutating func completeByContext() throws(ProgramFailure) {
        try global.complete(
            environment: System.environment(GlobalOptions.contextVariables),
            takesNamespace: Self.takesNamespaceOfContext
        )
    }
}

extension StatusCommand: BrokerCommand {}
extension TopCommand: BrokerCommand {}
extension GroupsCommand: BrokerCommand {}
extension GroupCommand: BrokerCommand {}
extension ChannelsCommand: BrokerCommand {}
extension ChannelCommand: BrokerCommand {}
extension WorkersCommand: BrokerCommand {}
extension SessionsCommand: BrokerCommand {}
extension ClosedCommand: BrokerCommand {}
extension DropsCommand: BrokerCommand {}
extension SendCommand: BrokerCommand {}
extension GroupSendCommand: BrokerCommand {}
extension TailCommand: BrokerCommand {}
extension PingCommand: BrokerCommand {}
extension LatencyCommand: BrokerCommand {}
extension DrainCommand: BrokerCommand {}
extension KickCommand: BrokerCommand {}
extension CheckCommand: BrokerCommand {}
extension FlushCommand: BrokerCommand {
    static var takesNamespaceOfContext: Bool { false }
}
