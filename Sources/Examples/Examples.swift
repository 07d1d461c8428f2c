import ArgumentParser
import FanfareWorker
import Glibc

/// `fanfare-examples NAME`: the examples of docs/swift-guide.md, to run and to copy from.
@main
struct Examples: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fanfare-examples",
        abstract: "The examples of docs/swift-guide.md, each a worker of its own.",
        discussion: """
            Each needs a running fanfare-broker and serves until SIGTERM or Ctrl-C. When it is ready it prints one \
            line on standard output: fanfare-examples ready on URL
            """,
        subcommands: [
            ChatExample.self, MarketplaceExample.self, RoutingExample.self, AuthenticationExample.self,
            BackgroundExample.self, JSONExample.self,
        ]
    )
}

/// What all examples take.
struct WorkerOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Where browsers find it; port 0 for any free one.", valueName: "host:port"))
    var listen = "127.0.0.1:8000"

    @Option(
        help: ArgumentHelp(
            "The broker, as unix:/path or tcp://host:port; several are tried in order. Without any: the standard place. "
                + "Repeatable.",
            valueName: "endpoint"
        )
    )
    var broker: [String] = []

    @Option(help: ArgumentHelp("What listings call this process.", valueName: "name"))
    var name = "examples"

    /// A worker that says on standard output when it is ready.
    func worker(_ router: Router) -> Worker {
        var configuration = Worker.Configuration()
        configuration.name = name
        configuration.brokers = broker
        configuration.listen = listen
        let host = listen.prefix(upTo: listen.lastIndex(of: ":") ?? listen.endIndex)
        configuration.onReady = { port in Self.announce("ready on http://\(host):\(port)") }
        return Worker(router, configuration: configuration)
    }

    /// Writes a line at once, also when standard output is a file.
    static func announce(_ line: String) {
        print("fanfare-examples", line)
        fflush(nil)
    }
}
