import ArgumentParser
import FanfareClient
import FanfareModel

struct PingCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ping",
        abstract: "Round-trip times to the broker, through its queue of work."
    )

    @Option(help: ArgumentHelp("How many, 1 to 100000.", valueName: "n")) var count = 100
    @Option(name: .customLong("interval"), help: ArgumentHelp("Between two pings, 0 to 60.", valueName: "seconds"))
    var intervalSeconds = 0.01
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard (1...100_000).contains(count) else {
            throw ValidationError("--count is \(count); it must be 1 to 100000")
        }
        guard (0...60).contains(intervalSeconds) else {
            throw ValidationError("--interval is \(intervalSeconds); it must be 0 to 60 seconds")
        }
    }

    func run() async throws {
        let (count, interval, global) = (count, Duration.seconds(intervalSeconds), global)
        let delays = try await Interruption.cancels {
            try await global.withLayer { try await Self.measure($0, count, interval) }
        }
        guard let percentiles = Percentiles(delays) else { return }
        try System.write(global.isJSON ? Display.json(percentiles.answer) : percentiles.page.text(on: global.surface))
    }

    /// Pings one after the other; what there is so far when interrupted.
    private static func measure(_ layer: ChannelLayer, _ count: Int, _ interval: Duration) async throws -> Delays {
        var delays = Delays()
        do {
            while delays.count < count {
                let (seconds, attoseconds) = try await layer.ping().components
                delays.record(nanoseconds: UInt64(clamping: seconds * 1_000_000_000 + attoseconds / 1_000_000_000))
                if delays.count < count { try await Task.sleep(for: interval) }
            }
        } catch is CancellationError {}
        return delays
    }
}
