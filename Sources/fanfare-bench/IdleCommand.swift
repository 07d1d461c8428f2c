import ArgumentParser
import Foundation
import NIOCore
import NIOPosix

/// `fanfare-bench idle`: what sockets cost that say nothing.
struct IdleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "idle",
        abstract: "Memory of a worker per idle socket, and its CPU time while they are pinged.",
        discussion: """
            Opens sockets in steps and reads the worker's memory from /proc/PID/smaps_rollup at each; the slope between \
            the first and the last step is the cost of a socket. The kernel's share is beside it: it holds both ends of \
            every connection, because the sockets of this program are on the same machine.
            """
    )

    @Option(help: "Host of the worker.") var host = "127.0.0.1"
    @Option(help: "Port of the worker.") var port = 8_000
    @Option(help: "Path of the route; {room} becomes the number of a room.") var path = "/ws/chat/idle-{room}/"
    @Option(help: "Rooms the sockets are spread over.") var rooms = 1
    @Option(help: "How many sockets to measure at, ascending, with commas.") var steps = "1000,5000,10000"
    @Option(help: "Seconds of idleness to charge CPU time for, at the last step; two rounds of pings by default.")
    var seconds = 50.0
    @Option(help: "Process of the worker.") var pid: Int32?
    @Option(help: "HOST:PORT of its operations port, which tells the process.") var ops: String?
    @Flag(help: "Print JSON.") var json = false

    private var counts: [Int] { steps.split(separator: ",").compactMap { Int($0) } }

    func validate() throws {
        guard counts.count >= 2, counts.first ?? 0 > 0, zip(counts, counts.dropFirst()).allSatisfy({ $0 < $1 }) else {
            throw ValidationError("--steps wants at least two numbers, ascending, such as 1000,5000")
        }
        guard (pid == nil) != (ops == nil) else { throw ValidationError("give either --pid or --ops") }
        guard rooms > 0, seconds > 0 else { throw ValidationError("--rooms and --seconds must be more than 0") }
    }

    func run() async throws {
        let process = if let ops { try await WorkerFacts.read(from: ops).pid } else { pid ?? 0 }
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let load = try await loop.submit {
            NIOLoopBound(IdleLoad(host: host, port: port, path: path, rooms: rooms, loop: loop), eventLoop: loop)
        }.get()
        var report = IdleReport()
        let base = try await Self.processorShare(of: process, seconds: min(5, seconds))
        report.steps.append(try MemoryUse.now(of: process, sockets: 0))
        for count in counts {
            try await loop.flatSubmit { load.value.grow(to: count) }.get()
            try await Task.sleep(for: .seconds(2))
            report.steps.append(try MemoryUse.now(of: process, sockets: count))
        }
        let share = try await Self.processorShare(of: process, seconds: seconds)
        report.microsecondsPerSocketAndSecond = (share - base) * 1e6 / Double(counts.last ?? 1)
        report.socketsLost = try await loop.submit { load.value.lost }.get()
        try report.show(asJSON: json)
        if report.socketsLost > 0 { throw ExitCode(1) }
    }

    /// CPU seconds per second.
    private static func processorShare(of process: Int32, seconds: Double) async throws -> Double {
        let measurement = try await Measurement.of([process], seconds: seconds, start: {}, finish: {})
        return Double(measurement.serverNanoseconds ?? 0) / 1e9 / measurement.seconds
    }
}

/// Sockets that are only there, on one loop.
final class IdleLoad: LoadSocketOwner {
    private let path: String
    private let rooms: Int
    private let opener: SocketOpener
    private var sockets: [LoadSocket] = []
    /// Sockets the worker has closed.
    private(set) var lost = 0

    init(host: String, port: Int, path: String, rooms: Int, loop: any EventLoop) {
        self.path = path
        self.rooms = rooms
        opener = SocketOpener(loop: loop, host: host, port: port)
    }

    /// Opens sockets until there are `count`.
    func grow(to count: Int) -> EventLoopFuture<Void> {
        let added = (sockets.count..<count).map { index in
            LoadSocket(path: path.replacingOccurrences(of: "{room}", with: String(index % rooms)), owner: self)
        }
        sockets += added
        return opener.open(added)
    }

    func arrived(_ number: UInt64, inOrder: Bool) {}

    func closed(_ socket: LoadSocket) {
        lost += 1
    }
}

/// The memory of a process and of the kernel at one moment, in KB.
struct MemoryUse: Encodable {
    var sockets: Int
    /// Private pages and its share of the shared ones.
    var proportional: Int
    var resident: Int
    /// All of the kernel's small objects.
    var kernelSlab: Int
    /// Buffers of all TCP connections.
    var kernelTCPBuffers: Int

    static func now(of process: Int32, sockets: Int) throws -> MemoryUse {
        let process = try numbers(in: "/proc/\(process)/smaps_rollup")
        let network = try String(contentsOfFile: "/proc/net/sockstat", encoding: .utf8)
        let words = network.split(separator: "\n").first { $0.hasPrefix("TCP:") }?.split(separator: " ") ?? []
        let pages = words.firstIndex(of: "mem").flatMap { Int(words[$0 + 1]) } ?? 0
        return MemoryUse(
            sockets: sockets,
            proportional: process["Pss"] ?? 0,
            resident: process["Rss"] ?? 0,
            kernelSlab: try numbers(in: "/proc/meminfo")["Slab"] ?? 0,
            kernelTCPBuffers: pages * 4
        )
    }

    /// The numbers of lines such as `Slab: 42 kB`.
    private static func numbers(in file: String) throws -> [String: Int] {
        var numbers: [String: Int] = [:]
        for line in try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count >= 2, words[0].hasSuffix(":") { numbers[String(words[0].dropLast())] = Int(words[1]) }
        }
        return numbers
    }
}

/// What idle sockets cost.
struct IdleReport: Encodable {
    var steps: [MemoryUse] = []
    var microsecondsPerSocketAndSecond = 0.0
    var socketsLost = 0

    /// KB per socket between the first step with sockets and the last one.
    private func slope(_ value: (MemoryUse) -> Int) -> Double {
        guard steps.count > 2, let last = steps.last else { return 0 }
        return Double(value(last) - value(steps[1])) / Double(last.sockets - steps[1].sockets)
    }

    func show(asJSON: Bool) throws {
        if asJSON { return try printJSON(self) }
        print("sockets    PSS KB    RSS KB    slab KB    TCP buffers KB")
        for step in steps {
            let numbers = [step.proportional, step.resident, step.kernelSlab, step.kernelTCPBuffers]
            print("\(step.sockets)    " + numbers.map { String($0) }.joined(separator: "    "))
        }
        print("PSS per socket       \(String(format: "%.2f", slope(\.proportional))) KB")
        print("RSS per socket       \(String(format: "%.2f", slope(\.resident))) KB")
        print("kernel per socket    \(String(format: "%.2f", slope(\.kernelSlab))) KB of slab, both ends and all else")
        print("CPU per socket       \(String(format: "%.3f", microsecondsPerSocketAndSecond)) us per second")
        if socketsLost > 0 { print("sockets lost         \(socketsLost)") }
    }
}
