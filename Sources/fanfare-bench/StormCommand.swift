import ArgumentParser
import Foundation

/// `fanfare-bench storm`: everybody comes back at once.
struct StormCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "storm",
        abstract: "Connects per second, handshake included, and the server's CPU time for each.",
        discussion: """
            Each round opens all sockets as fast as they are let in, then closes them all; only the opening is \
            measured. Latency is from connect() to the end of the handshake. A refused socket is counted with its \
            reason and not tried again. Exits with 1 when none is let in, or one that was is closed by the server.
            """
    )

    @Option(help: "Host of the server, an IPv4 address.") var host = "127.0.0.1"
    @Option(help: "Port of the server.") var port = 8_000
    @Option(help: "Path; {room} becomes the name of a room, bench-0 and so on.") var path = "/ws/chat/{room}/"
    @Option(help: "chat, frames or mqtt.") var dialect = Dialect.chat
    @Option(help: "Sockets in each round.") var sockets = 5_000
    @Option(help: "Rooms the sockets are spread over.") var rooms = 1
    @Option(help: "Handshakes under way at a time.") var underWay = 256
    @Option(help: "Rounds.") var rounds = 3
    @Option(help: "Seconds between rounds, for the server to clear up.") var pause = 1.0
    @Option(help: "Process to charge CPU time and memory to; repeatable.") var pid: [Int32] = []
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard sockets > 0, rooms > 0, underWay > 0, rounds > 0, pause >= 0 else {
            throw ValidationError(
                "--sockets, --rooms, --under-way and --rounds must be at least 1, --pause not less than 0"
            )
        }
    }

    func run() throws {
        var report = StormReport()
        for round in 0..<rounds {
            let load = SocketCount()
            let loop = try SocketLoop(host: host, port: port, dialect: dialect, owner: load)
            let opening = (0..<sockets).map { LoadSocket(path: path, room: "bench-\($0 % rooms)") }
            let measurement = try Measurement.of(pid) { try loop.open(opening, underWayMaximum: underWay) }
            report.add(load, refusals: loop.refusals, measurement)
            loop.run(until: MonotonicClock.after(pause / 2))
            report.lost += load.lost
            for socket in opening { loop.close(socket, isReset: true) }
            if round + 1 < rounds { Thread.sleep(forTimeInterval: pause / 2) }
        }
        try report.show(asJSON: json)
        if report.lost > 0 || report.accepted == 0 { throw ExitCode(1) }
    }
}

/// What the rounds of a storm gave.
struct StormReport: Encodable {
    private(set) var accepted = 0
    private var refused = 0
    /// Refused ones by reason.
    private var refusals: [String: Int] = [:]
    /// Accepted ones that were closed before the round ended.
    var lost = 0
    private var seconds = 0.0
    private var connectsPerSecond = 0.0
    private var serverMicrosecondsPerConnect: Double?
    private var generatorMicrosecondsPerConnect = 0.0
    private var generatorShare = 0.0
    private var latencyMilliseconds: Percentiles?
    private var serverPSSKilobytes: Int?

    private var latencies = Latencies()
    private var (serverNanoseconds, generatorNanoseconds) = (UInt64(0), UInt64(0))

    private enum CodingKeys: CodingKey {
        case accepted, refused, refusals, lost, seconds, connectsPerSecond, serverMicrosecondsPerConnect
        case generatorMicrosecondsPerConnect, generatorShare, latencyMilliseconds, serverPSSKilobytes
    }

    mutating func add(_ load: SocketCount, refusals: [String: Int], _ measurement: Measurement) {
        accepted += load.accepted
        refused += refusals.values.reduce(0, +)
        self.refusals.merge(refusals, uniquingKeysWith: +)
        latencies.add(load.openings)
        seconds += measurement.seconds
        generatorNanoseconds += measurement.generatorNanoseconds
        serverPSSKilobytes = measurement.serverPSSKilobytes
        let connects = Double(max(accepted, 1))
        if let server = measurement.serverNanoseconds {
            serverNanoseconds += server
            serverMicrosecondsPerConnect = Double(serverNanoseconds) / 1_000 / connects
        }
        connectsPerSecond = Double(accepted) / max(seconds, 1e-9)
        generatorMicrosecondsPerConnect = Double(generatorNanoseconds) / 1_000 / connects
        generatorShare = Double(generatorNanoseconds) / 1e9 / max(seconds, 1e-9)
        latencyMilliseconds = latencies.percentiles
    }

    func show(asJSON: Bool) throws {
        if asJSON { return try printJSON(self) }
        print("connects             \(accepted) accepted, \(refused) refused, \(lost) lost")
        for (reason, count) in refusals.sorted(by: { $0.key < $1.key }) { print("    \(count) x \(reason)") }
        print("connects per s       \(Int(connectsPerSecond)) in \(String(format: "%.2f", seconds)) s")
        if let serverMicrosecondsPerConnect {
            print("server CPU           \(String(format: "%.1f", serverMicrosecondsPerConnect)) us per connect")
        }
        let share = String(format: "%.0f", generatorShare * 100)
        let cost = String(format: "%.1f", generatorMicrosecondsPerConnect)
        print("generator CPU        \(cost) us per connect, \(share) % of a core")
        if let latencyMilliseconds { print("handshake, ms        \(latencyMilliseconds.line)") }
        if let serverPSSKilobytes { print("server PSS           \(serverPSSKilobytes) KB") }
    }
}
