import ArgumentParser

/// Load generator and referee: counts what it sent against what arrived, and exits with 1 when they differ.
@main
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fanfare-bench",
        abstract: "Measures a running Fanfare: deliveries, latency, CPU and memory, nothing lost.",
        discussion: """
            Times on shared machines move; compare ratios within one run, and CPU time per delivery. The generator's \
            own CPU time is printed beside the servers': it must not be the bottleneck.
            """,
        subcommands: [
            WebSocketCommand.self, StalledCommand.self, IdleCommand.self, StormCommand.self, BrokerCommand.self,
            LimitCommand.self, StartCommand.self, LookingCommand.self,
        ]
    )
}
