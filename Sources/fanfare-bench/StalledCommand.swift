import ArgumentParser
import Foundation

/// `fanfare-bench stalled`: what members that do not read cost the others.
struct StalledCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stalled",
        abstract: "One chat room at a fixed rate, with and without members that read nothing.",
        discussion: """
            Runs without and with stalled members take turns against the same worker; each opens all its sockets anew. \
            Each begins with a few large messages, which fill what the kernel keeps for those that do not read. Latency \
            is from the publishing of a message to its receipt, for every delivery to a member that reads. The ratio \
            is that of the medians of all runs. Exits with 1 when a reader missed a message or was closed.
            """
    )

    @Option(help: "Host of the worker.") var host = "127.0.0.1"
    @Option(help: "Port of the worker.") var port = 8_000
    @Option(help: "Sockets in all.") var sockets = 10_000
    @Option(help: "Percent of them that read nothing after the handshake.") var stalled = 1.0
    @Option(help: "Messages per second to the room; each goes to every socket.") var rate = 5.0
    @Option(help: "Bytes of a message, all of its JSON.") var payload = 128
    @Option(help: "Seconds at this rate before the measurement.") var warmUp = 1.0
    @Option(help: "Seconds to measure in each run.") var seconds = 15.0
    @Option(help: "Runs without and with stalled sockets.") var pairs = 5
    @Option(help: "HOST:PORT of the worker's operations port, for the close codes it counted.") var ops: String?
    @Flag(help: "Print JSON.") var json = false

    private var stalledCount: Int { Int((Double(sockets) * stalled / 100).rounded()) }

    func validate() throws {
        guard sockets > 1, stalled > 0, stalled < 100, stalledCount > 0, stalledCount < sockets else {
            throw ValidationError("--sockets and --stalled must leave at least one stalled socket and one reader")
        }
        guard rate > 0, pairs > 0, seconds > 0, warmUp >= 0 else {
            throw ValidationError("--rate, --pairs and --seconds must be more than 0, --warm-up not less")
        }
        guard (Message.sizes.lowerBound...60_000).contains(payload) else {
            throw ValidationError("--payload takes \(Message.sizes.lowerBound) to 60000 bytes")
        }
    }

    func run() throws {
        var comparison = PacedComparison()
        for pair in 0..<pairs {
            // Whoever comes second finds the machine as the first has left it; both come second equally often.
            for stalls in pair % 2 == 0 ? [false, true] : [true, false] {
                let result = try measure(stalls ? stalledCount : 0)
                comparison.results.append(result)
                if !json { FileHandle.standardOutput.write(Data((result.line + "\n").utf8)) }
            }
        }
        try comparison.show(asJSON: json)
        if !comparison.isWhole { throw ExitCode(1) }
    }

    private static let fillingMessages = 4

    private func measure(_ stalledCount: Int) throws -> PacedResult {
        let load = PacedLoad(
            PacedLoad.Plan(
                host: host,
                port: port,
                sockets: sockets,
                stalled: stalledCount,
                rate: rate,
                payloadBytes: payload
            )
        )
        try load.connect()
        let before = try closes()
        for _ in 0..<Self.fillingMessages { load.fill() }
        load.run(warmUp: warmUp, seconds: seconds)
        let counted = try closes()
        var result = PacedResult(load, stalled: stalledCount)
        if stalledCount > 0 { result.stalledEndings = load.release() }
        if let before, let counted { result.workerCloses = counted.merging(before) { $0 - $1 }.filter { $1 > 0 } }
        load.close()
        return result
    }

    /// The closes the worker has counted, by code.
    private func closes() throws -> [String: Int]? {
        try ops.map { try WorkerFacts.read(from: $0).closes }
    }
}

/// What one run at a fixed rate gave.
struct PacedResult: Encodable {
    var stalled: Int
    var sent: UInt64
    var expected: UInt64
    var delivered: UInt64
    var outOfOrder: UInt64
    var readersClosed: Int
    /// Milliseconds.
    var p50, p90, p99, p999: Double
    /// Of the messages, the median of the time in which one came to 99 of 100 readers: a busy machine moves it less
    /// than ``p99``, which is that of the run's worst moments.
    var messageP99: Double
    /// What the stalled sockets found when they read at last; see ``PacedLoad/stalledEndings``.
    var stalledEndings: [String: Int] = [:]
    /// What the worker counted up to the end of the measurement.
    var workerCloses: [String: Int]?

    init(_ load: PacedLoad, stalled: Int) {
        self.stalled = stalled
        (sent, expected, delivered) = (load.sent, load.expected, load.delivered)
        (outOfOrder, readersClosed) = (load.outOfOrder, load.readersClosed)
        p50 = load.latencies.milliseconds(atShare: 0.5)
        p90 = load.latencies.milliseconds(atShare: 0.9)
        p99 = load.latencies.milliseconds(atShare: 0.99)
        p999 = load.latencies.milliseconds(atShare: 0.999)
        messageP99 = load.messageTimes.median
    }

    /// Whether every reader got every message once and in order.
    var isWhole: Bool { delivered == expected && outOfOrder == 0 && readersClosed == 0 }

    var line: String {
        let times = String(
            format: "p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f ms, median message's p99 %.1f",
            p50,
            p90,
            p99,
            p999,
            messageP99
        )
        var line = "\(stalled) stalled: \(times); \(delivered) of \(expected) delivered, \(outOfOrder) out of order"
        if readersClosed > 0 { line += ", \(readersClosed) readers closed" }
        if stalled > 0 { line += "; stalled: " + Self.text(stalledEndings) }
        if let workerCloses, !workerCloses.isEmpty { line += "; worker closed: " + Self.text(workerCloses) }
        return line
    }

    private static func text(_ counts: [String: Int]) -> String {
        counts.sorted { $0.key < $1.key }.map { "\($0.value) x \($0.key)" }.joined(separator: ", ")
    }
}

/// Runs without and with stalled sockets.
struct PacedComparison: Encodable {
    var results: [PacedResult] = []
    /// Medians with stalled sockets over those without.
    var ratios: [String: Double] = [:]

    var isWhole: Bool { results.allSatisfy(\.isWhole) }

    private func medians(_ value: (PacedResult) -> Double) -> (without: Double, with: Double) {
        (results.filter { $0.stalled == 0 }.map(value).median, results.filter { $0.stalled > 0 }.map(value).median)
    }

    mutating func show(asJSON: Bool) throws {
        let rows: [(String, (PacedResult) -> Double)] = [
            ("p50", \.p50), ("p99", \.p99), ("median message's p99", \.messageP99),
        ]
        var lines = ["medians of all runs, without and with stalled sockets:"]
        for (name, value) in rows {
            let (without, with) = medians(value)
            ratios[name] = with / without
            lines.append("\(name): " + String(format: "%.1f and %.1f ms, ratio %.3f", without, with, with / without))
        }
        if asJSON { try printJSON(self) } else { lines.forEach { print($0) } }
    }
}

extension [Double] {
    /// The middle of the values; of an even number, the mean of the two in the middle; 0 of none.
    var median: Double {
        guard !isEmpty else { return 0 }
        let sorted = sorted()
        return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2
    }
}
