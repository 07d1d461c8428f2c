import ArgumentParser
import FanfareClient
import FanfareModel
import FanfareProtocol

struct TailCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tail",
        abstract: "Watch messages as they pass, until Ctrl-C.",
        discussion:
            "Copies: watching delays nothing and takes nothing away. What is left out is counted on standard error."
    )

    @Argument(help: "group or channel.") var kind: TailQuery.Kind
    @Argument(help: "Names to watch, such as 'chat.*'.") var glob: String
    @Option(help: ArgumentHelp("One message of so many.", valueName: "n")) var sample: UInt64 = 1
    @Option(help: ArgumentHelp("At most so many a second, 1 to 10000.", valueName: "n")) var rate: UInt64 = 50
    @Option(help: ArgumentHelp("End after so many.", valueName: "n")) var count: UInt64?
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard sample >= 1 else { throw ValidationError("--sample is 0; it must be at least 1") }
        guard (1...10_000).contains(rate) else { throw ValidationError("--rate is \(rate); it must be 1 to 10000") }
        guard count != 0 else { throw ValidationError("--count is 0; it must be at least 1") }
    }

    var query: TailQuery {
        var query = TailQuery(kind: kind, match: Glob(glob))
        query.namespace = global.namespace
        query.sample = sample
        query.ratePerSecond = rate
        return query
    }

    func run() async throws {
        let (query, count, global) = (query, count ?? .max, global)
        try await Interruption.cancels {
            try await global.withLayer { layer in
                let reader = FrameReader(limits: Limits())
                var shown: UInt64 = 0
                for await tailed in try await layer.tail(query) {
                    let message = TailedMessage(tailed, at: System.wallTime(), reader: reader)
                    try System.write(global.isJSON ? try Display.json(message.report) : message.line + "\n")
                    if !global.isJSON, let notice = message.notice { System.complain(notice) }
                    shown += 1
                    if shown == count { return }
                }
                try Task.checkCancellation()
                throw ProgramFailure(
                    .unavailable,
                    "the link to the broker ended after \(shown) messages; start again when it is back"
                )
            }
        }
    }
}

extension TailQuery.Kind: ExpressibleByArgument {
    package static var allValueStrings: [String] { [group.rawValue, channel.rawValue] }
    static var defaultCompletionKind: CompletionKind { .list(allValueStrings) }
}

/// One message that passed, for people and as JSON.
struct TailedMessage {
    let tailed: Tailed
    let time: WallTime
    /// The body, as the map it holds, or as bytes when it holds something else.
    let message: MessageValue

    init(_ tailed: Tailed, at time: WallTime, reader: FrameReader) {
        self.tailed = tailed
        self.time = time
        let decoded = try? reader.value(tailed.body)
        // A body may be fine MessagePack and still be something JSON cannot say, such as NaN.
        let isShowable = decoded.flatMap { try? $0.json() } != nil
        message = isShowable ? decoded ?? .null : .binary(tailed.body)
    }

    /// Time, kind, name, JSON.
    var line: String {
        let isUsual = tailed.namespace == Protocol.namespaceDefault
        let name = DisplayText.sanitized(isUsual ? tailed.name : "\(tailed.namespace)/\(tailed.name)")
        let json = (try? message.json(sortedKeys: true)) ?? []
        return "\(time.timeOfDay)  \(tailed.kind.rawValue)  \(name)  \(String(decoding: json, as: UTF8.self))"
    }

    /// What was left out before this message.
    var notice: String? {
        tailed.skipped > 0 ? "fanfare: \(tailed.skipped) matching messages not shown, by --sample or --rate" : nil
    }

    var report: MessageValue {
        [
            "time": .string(time.timestamp), "kind": .string(tailed.kind.rawValue),
            "namespace": .string(tailed.namespace),
            "name": .string(tailed.name), "message": message, "skipped": .count(tailed.skipped),
        ]
    }
}
