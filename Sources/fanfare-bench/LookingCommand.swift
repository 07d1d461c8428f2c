import ArgumentParser
import FanfareModel
import Foundation

/// `fanfare-bench looking`: what looking into a busy broker costs, and how long it takes.
struct LookingCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "looking",
        abstract: "Group sends at a fixed rate through a full broker, with and without somebody who lists everything.",
        discussion: """
            Fills a broker that has just been started with memberships, then runs without and with an inspector that \
            asks for the first page of one listing after the other take turns. Latency is from writing a group send to \
            its receipt, for every link that has members. Prints how long each first page took and the ratio of the \
            medians of all runs. Exits with 1 when a message was lost or came out of order, or a listing was partial.
            """
    )

    @Option(help: "The broker: unix:/path or tcp://host:port.") var broker: String
    @Option(help: "Memberships.") var memberships = 100_000
    @Option(help: "Groups they are in.") var groups = 10_000
    @Option(help: "Links that own members of every group.") var links = 4
    @Option(help: "Group sends a second, to one group after the other.") var rate = 2_000.0
    @Option(help: "Bytes of a message.") var payload = 128
    @Option(help: "Listings a second.") var looks = 10.0
    @Option(help: "Seconds to measure in each run.") var seconds = 5.0
    @Option(help: "Seconds of the same load before the first run.") var warmUp = 2.0
    @Option(help: "Runs without and with looking.") var pairs = 5
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard (1...1_000).contains(links), groups > 0, memberships >= links * groups else {
            throw ValidationError("--memberships must be at least --links times --groups, --links 1 to 1000")
        }
        guard rate > 0, looks > 0, seconds > 0, warmUp >= 0, pairs > 0 else {
            throw ValidationError("--rate, --looks, --seconds and --pairs must be more than 0, --warm-up not less")
        }
        guard (16...65_536).contains(payload) else { throw ValidationError("--payload takes 16 to 65536 bytes") }
    }

    func run() throws {
        DescriptorLimit.raise()
        let endpoint = try Endpoint(broker)
        let load = try LookingLoad(self, endpoint)
        _ = try load.run(seconds: warmUp)
        var comparison = LookingComparison()
        for pair in 0..<pairs {
            // Whoever comes second finds the machine as the first has left it; both come second equally often.
            for isLooking in pair % 2 == 0 ? [false, true] : [true, false] {
                let looker = isLooking ? try Looker(self, endpoint) : nil
                looker?.start()
                let counts = try load.run(seconds: seconds)
                try looker?.stop(into: &comparison.pages)
                let result = LookingResult(counts, isLooking: isLooking)
                comparison.results.append(result)
                if !json { FileHandle.standardOutput.write(Data((result.line + "\n").utf8)) }
            }
        }
        try comparison.show(asJSON: json)
        if !comparison.isWhole { throw ExitCode(1) }
    }
}

/// What one run gave.
struct LookingResult: Encodable {
    var isLooking: Bool
    var sent: UInt64
    var expected: UInt64
    var delivered: UInt64
    var outOfOrder: UInt64
    /// Milliseconds.
    var p50, p99, p999: Double

    init(_ counts: BrokerCounts, isLooking: Bool) {
        self.isLooking = isLooking
        (sent, expected, delivered, outOfOrder) = (counts.sent, counts.expected, counts.delivered, counts.outOfOrder)
        p50 = counts.latencies.milliseconds(atShare: 0.5)
        p99 = counts.latencies.milliseconds(atShare: 0.99)
        p999 = counts.latencies.milliseconds(atShare: 0.999)
    }

    var isWhole: Bool { delivered == expected && outOfOrder == 0 }

    var line: String {
        let latency = String(format: "p50 %.3f  p99 %.3f  p99.9 %.3f ms", p50, p99, p999)
        let losses = isWhole ? "" : "  \(expected - min(expected, delivered)) LOST, \(outOfOrder) OUT OF ORDER"
        let who = isLooking ? "looking    " : "not looking"
        return "\(who): \(sent) group sends, \(delivered) deliveries, \(latency)\(losses)"
    }
}

/// How long the first page of one listing took.
struct LookingPage: Encodable {
    var latencies = Latencies()
    var partial = 0
    /// Rows the last one counted.
    var total: Int64 = 0

    private enum Key: String, CodingKey {
        case count, median, longest, partial, total
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(latencies.count, forKey: .count)
        try container.encode(latencies.milliseconds(atShare: 0.5), forKey: .median)
        try container.encode(latencies.milliseconds(atShare: 1), forKey: .longest)
        try container.encode(partial, forKey: .partial)
        try container.encode(total, forKey: .total)
    }
}

/// Runs without and with somebody who looks.
struct LookingComparison: Encodable {
    var results: [LookingResult] = []
    /// By listing.
    var pages: [String: LookingPage] = [:]
    /// Medians with looking over those without.
    var ratios: [String: Double] = [:]

    var isWhole: Bool { results.allSatisfy(\.isWhole) && pages.values.allSatisfy { $0.partial == 0 } }

    mutating func show(asJSON: Bool) throws {
        var lines = ["medians of all runs, without and with looking:"]
        for (name, value) in [("p50", \LookingResult.p50), ("p99", \.p99), ("p99.9", \.p999)] {
            let without = results.filter { !$0.isLooking }.map { $0[keyPath: value] }.median
            let with = results.filter(\.isLooking).map { $0[keyPath: value] }.median
            ratios[name] = with / without
            lines.append("\(name): " + String(format: "%.3f and %.3f ms, ratio %.3f", without, with, with / without))
        }
        lines.append("first pages, milliseconds:")
        for (name, page) in pages.sorted(by: { $0.key < $1.key }) {
            let times = String(
                format: "median %.1f, longest %.1f",
                page.latencies.milliseconds(atShare: 0.5),
                page.latencies.milliseconds(atShare: 1)
            )
            let partial = page.partial == 0 ? "" : ", \(page.partial) PARTIAL"
            lines.append("\(name): \(times), of \(page.latencies.count) looks at \(page.total) rows\(partial)")
        }
        if asJSON { try printJSON(self) } else { lines.forEach { print($0) } }
    }
}
