import ArgumentParser
import FanfareClient
import FanfareModel

struct LatencyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "latency",
        abstract: "How long messages take at a fixed rate: through the broker, and through a worker.",
        discussion: """
            Sends so many a second whatever becomes of those before, and counts each from when it was due: a broker \
            that stops for a second delays all messages of that second, and shows it (no coordinated omission).

            broker: from this program to a process channel of its own. worker: a group message from this program to a \
            WebSocket this program has opened, with the broker and the worker between.

            Messages of the run are real ones: choose a rate the broker has room for.
            """
    )

    @Option(help: ArgumentHelp("Messages a second, 1 to 20000.", valueName: "n")) var rate = 100.0
    @Option(name: .customLong("seconds"), help: ArgumentHelp("How long, 0.1 to 3600.", valueName: "seconds"))
    var seconds = 5.0
    @Option(name: .customLong("size"), help: ArgumentHelp("Bytes of text in a message, 16 to 65536.", valueName: "n"))
    var bytes = 128
    @Option(
        help: ArgumentHelp(
            "A worker: ws://HOST:PORT for its chat, or the whole address of one of its sockets.",
            valueName: "url"
        )
    )
    var worker: String?
    @Option(help: ArgumentHelp("The group of that socket; known for /ws/chat/ROOM/.", valueName: "group"))
    var group: String?
    @Option(help: "What serves that socket: chat or relay.") var route = WorkerRoute.chat
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard (1...20_000).contains(rate) else { throw ValidationError("--rate is \(rate); it must be 1 to 20000") }
        guard (0.1...3_600).contains(seconds) else {
            throw ValidationError("--seconds is \(seconds); it must be 0.1 to 3600")
        }
        guard (16...65_536).contains(bytes) else { throw ValidationError("--size is \(bytes); it must be 16 to 65536") }
        if let worker { _ = try SocketAddress(worker, group: group, room: "room") }
        guard worker != nil || group == nil else { throw ValidationError("--group is a socket's; --worker is missing") }
    }

    func run() async throws {
        let plan = LatencyPlan(rate: rate, seconds: seconds, bytes: bytes)
        let node = ChannelLayer.randomNode()
        let (global, route, group) = (global, route, group)
        let socket = try worker.map { try SocketAddress($0, group: group, room: "latency-" + node) }
        let results = try await Interruption.cancels {
            try await global.withLayer(node: node) { layer in
                var results = [try await BrokerRoute(layer).measure(plan)]
                if let socket, !Task.isCancelled {
                    results.append(try await SocketRoute(layer, socket, route).measure(plan))
                }
                return results
            }
        }
        let report = LatencyReport(plan: plan, results: results)
        switch (global.wantsJSONLines, global.wantsJSON) {
        case (true, _): try System.write(try Display.lines(report.rows, nil))
        case (_, true): try System.write(try Display.json(report.answer))
        default: try System.write(report.page.text(on: global.surface))
        }
    }
}

/// What sends and what it costs: the same for every route.
struct LatencyPlan: Sendable, Equatable {
    let rate: Double
    let seconds: Double
    let bytes: Int

    var count: Int { max(1, Int((rate * seconds).rounded())) }

    /// When message `index` is due, in nanoseconds after the first.
    func due(_ index: Int) -> UInt64 {
        UInt64(Double(index) / rate * 1e9)
    }

    /// The text of message `index`: the number and blanks.
    func text(_ index: Int) -> String {
        let number = "\(index)"
        return number + String(repeating: " ", count: max(0, bytes - number.utf8.count))
    }

    /// The number in a text; `nil` for what is no message of a run.
    static func index(_ text: String) -> Int? {
        Int(text.prefix { $0 != " " })
    }
}

/// What came of one route.
struct LatencyResult: Sendable {
    let route: String
    var sent = 0
    /// Sends the broker did not take.
    var refused = 0
    var delays = Delays()

    /// Messages that were taken and have not come.
    var lost: Int { max(0, sent - refused - delays.count) }
}

/// The results beside each other.
struct LatencyReport {
    let plan: LatencyPlan
    let results: [LatencyResult]

    var page: Page {
        let counts = ["SENT", "LOST", "REFUSED"]
        var table = Table([("ROUTE", .left)] + (counts + Percentiles.headings).map { ($0, .right) })
        for result in results {
            let cells = Percentiles(result.delays)?.cells ?? Percentiles.headings.map { _ in CellText.absent }
            let lost = [result.lost, result.refused].map { Cell("\($0)", $0 > 0 ? .bad : .plain) }
            table.append([Cell(result.route), Cell("\(result.sent)")] + lost + cells.map { Cell($0) })
        }
        var page = Page()
        page.append(table)
        page.append("")
        page.append(
            "\(CellText.plain(.double(plan.rate))) messages a second of \(plan.bytes) bytes, each counted from "
                + "when it was due"
        )
        return page
    }

    var rows: [MessageValue] {
        results.map { result in
            let counts: [String: MessageValue] = [
                "route": .string(result.route), "sent": .count(result.sent), "received": .count(result.delays.count),
                "lost": .count(result.lost), "refused": .count(result.refused),
            ]
            return .map(counts.merging(Percentiles(result.delays)?.facts ?? [:]) { $1 })
        }
    }

    var answer: MessageValue {
        [
            "rate": .double(plan.rate), "seconds": .double(plan.seconds), "bytes": .count(plan.bytes),
            "routes": .array(rows),
        ]
    }
}
