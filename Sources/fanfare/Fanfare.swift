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
            The broker is --broker, else $FANFARE_BROKER, else the standard socket of this user. Listings are \
            filtered, ordered and cut by the broker. Tables for people, --json for programs.

            Exit codes: 0 done; 64 the command line was wrong; 69 the broker cannot be reached, has refused, or does \
            not know what was asked for; 78 a setting cannot be used.
            """,
        version: "fanfare \(Version.current)",
        subcommands: [
            StatusCommand.self, TopCommand.self, GroupsCommand.self, GroupCommand.self, ChannelsCommand.self,
            ChannelCommand.self, WorkersCommand.self, SessionsCommand.self, ClosedCommand.self, DropsCommand.self,
            SendCommand.self, GroupSendCommand.self, TailCommand.self, PingCommand.self, LatencyCommand.self,
            FlushCommand.self, DrainCommand.self, KickCommand.self, TokenCommand.self,
        ]
    )

    static func main() async {
        System.ignoreClosedPipes()
        do {
            let arguments = GlobalOptions.behindCommand(Array(CommandLine.arguments.dropFirst()))
            var command = try parseAsRoot(WatchOptions.spelledOut(arguments))
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            Ending(error).take()
        }
    }
}
