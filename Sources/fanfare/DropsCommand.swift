import ArgumentParser
import FanfareClient
import FanfareModel

struct DropsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drops",
        abstract: "Messages that did not arrive: where, how many, why.",
        discussion: """
            The broker keeps the 4096 names that lost something most recently; a line counts all that one name lost \
            for one reason since the broker started. `fanfare status` counts all names.
            """
    )

    @Argument(help: "Only channels and groups whose name matches.") var glob: String?
    @Option(help: ArgumentHelp("Only what was lost for this reason.", valueName: "reason")) var reason: DropReason?
    @Option(
        help: ArgumentHelp("Only names that lost something within this time: 90, 30s, 10m, 2h, 1d.", valueName: "time"),
        transform: { text in
            guard let time = TimeSpan(text) else {
                throw ValidationError("write a time such as 90, 30s, 10m, 2h or 1d, at most 366d")
            }
            return time
        }
    )
    var since: TimeSpan?
    @Flag(name: .customLong("all"), help: "Every line.") var isAll = false
    @OptionGroup var listing: ListingOptions
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    /// All lines pass here, to be counted by reason; the broker keeps thousands at most.
    func walk() throws -> Walk {
        var query = try listing.query(.drops, glob: glob, namespace: global.namespace)
        let rows = try listing.rows(isAll: isAll, isStream: global.wantsJSONLines)
        query.reason = reason?.name
        return Walk(.drops, query, rows: rows, keeping: since.map { .within($0.milliseconds) } ?? .all)
    }

    func run() async throws {
        try await Display(global, watch).run(.drops, try walk(), try listing.chosen(.drops), global)
    }
}

/// A time on the command line: a number of seconds, or a number with `ms`, `s`, `m`, `h` or `d`.
struct TimeSpan: Equatable {
    let milliseconds: Milliseconds

    private static let units: [(suffix: String, milliseconds: Double)] = [
        ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("", 1_000),
    ]
    private static let millisecondsMaximum = 366 * 86_400_000.0

    init?(_ text: String) {
        guard let unit = Self.units.first(where: { text.hasSuffix($0.suffix) }),
            let number = Double(text.dropLast(unit.suffix.count)),
            case let milliseconds = number * unit.milliseconds, (0...Self.millisecondsMaximum).contains(milliseconds)
        else { return nil }
        self.milliseconds = Milliseconds(UInt64(milliseconds.rounded()))
    }
}
