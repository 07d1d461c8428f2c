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

            Exit codes: 0 done; 64 the command line was wrong; 69 the broker cannot be reached, has refused, or does \
            not know what was asked for; 78 a setting cannot be used. `check` has its own: 0 to 3.
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

    static func main() async {
        System.ignoreClosedPipes()
        do {
            let arguments = GlobalOptions.behindCommand(Array(CommandLine.arguments.dropFirst()))
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
