import ArgumentParser
import Foundation

/// `fanfare-bench idle`: what sockets cost that say nothing.
struct IdleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "idle",
        abstract: "Memory of a server per idle socket, and its CPU time while they are pinged.",
        discussion: """
            Opens sockets and reads the server's memory from /proc/PID/smaps_rollup at the first and the last number of \
            them, and between; the slope is the cost of a socket. The kernel's share is beside it: it holds both ends \
            of every connection, because the sockets of this program are on the same machine. Each socket takes a \
            descriptor here and in the server: see ulimit -n. Exits with 1 when a socket was closed.
            """
    )

    @Option(help: "Host of the server, an IPv4 address.") var host = "127.0.0.1"
    @Option(help: "Port of the server.") var port = 8_000
    @Option(help: "Path; {room} becomes the name of a room, bench-0 and so on.") var path = "/ws/chat/{room}/"
    @Option(help: "chat, frames or mqtt.") var dialect = Dialect.chat
    @Option(help: "Rooms the sockets are spread over.") var rooms = 1
    @Option(help: "Sockets at the first measurement.") var from = 1_000
    @Option(help: "Sockets at the last one.") var to = 10_000
    @Option(help: "Measurements, evenly spread; at least 2.") var steps = 3
    @Option(help: "Seconds of idleness to charge CPU time for, at the last step; two rounds of pings by default.")
    var seconds = 50.0
    @Option(help: "Seconds for the server to settle before its memory is read.") var settle = 2.0
    @Option(help: "Process of the server; repeatable.") var pid: [Int32] = []
    @Option(help: "HOST:PORT of a worker's operations port, which tells its process.") var ops: String?
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard from > 0, to > from, steps >= 2, rooms > 0 else {
            throw ValidationError("--to must be more than --from, --steps at least 2, --from and --rooms at least 1")
        }
        guard pid.isEmpty != (ops == nil) else { throw ValidationError("give either --pid or --ops") }
        guard seconds > 0, settle >= 0 else { throw ValidationError("--seconds must be more than 0") }
    }

    func run() throws {
        let processes = if let ops { [try WorkerFacts.read(from: ops).pid] } else { pid }
        let count = SocketCount()
        let loop = try SocketLoop(host: host, port: port, dialect: dialect, owner: count)
        let idle = { (seconds: Double) in loop.run(until: MonotonicClock.after(seconds)) }
        var report = IdleReport()
        let base = try Measurement.of(processes) { idle(min(5, seconds)) }
        report.steps.append(try MemoryUse.now(of: processes, sockets: 0))
        var opened = 0
        for step in 0..<steps {
            let wanted = from + (to - from) * step / (steps - 1)
            try loop.openAll((opened..<wanted).map { LoadSocket(path: path, room: "bench-\($0 % rooms)") })
            opened = wanted
            idle(settle)
            report.steps.append(try MemoryUse.now(of: processes, sockets: wanted))
        }
        let measurement = try Measurement.of(processes) { idle(seconds) }
        report.charge(measurement, base: base, sockets: to)
        report.socketsLost = count.lost
        try report.show(asJSON: json)
        if report.socketsLost > 0 { throw ExitCode(1) }
    }
}

/// The memory of the servers and of the kernel at one moment, in KB.
struct MemoryUse: Encodable {
    var sockets: Int
    /// Private pages and the shares of the shared ones.
    var proportional: Int
    var resident: Int
    var kernel: KernelMemory

    static func now(of processes: [Int32], sockets: Int) throws -> MemoryUse {
        var use = MemoryUse(sockets: sockets, proportional: 0, resident: 0, kernel: try KernelMemory.now())
        for process in processes {
            let memory = try ProcessMemory.now(of: process)
            use.proportional += memory.proportional
            use.resident += memory.resident
        }
        return use
    }
}

/// What idle sockets cost.
struct IdleReport: Encodable {
    var steps: [MemoryUse] = []
    var pssKilobytesPerSocket = 0.0
    var rssKilobytesPerSocket = 0.0
    /// Both ends of a connection.
    var kernelKilobytesPerSocket = 0.0
    /// Of that, the kinds of objects that grew by at least 0.1 KB a socket.
    var kernelKilobytesPerSocketByKind: [String: Double] = [:]
    var microsecondsPerSocketAndSecond = 0.0
    var generatorMicrosecondsPerSocketAndSecond = 0.0
    var socketsLost = 0

    /// - Parameter base: What the servers used without any socket.
    mutating func charge(_ measurement: Measurement, base: Measurement, sockets: Int) {
        let share = { (measurement: Measurement) in
            Double(measurement.serverNanoseconds ?? 0) / 1_000 / measurement.seconds
        }
        microsecondsPerSocketAndSecond = (share(measurement) - share(base)) / Double(sockets)
        generatorMicrosecondsPerSocketAndSecond =
            Double(measurement.generatorNanoseconds) / 1_000 / measurement.seconds / Double(sockets)
        pssKilobytesPerSocket = slope(\.proportional)
        rssKilobytesPerSocket = slope(\.resident)
        kernelKilobytesPerSocket = slope(\.kernel.slab) + slope(\.kernel.buffers)
        for kind in (steps.last?.kernel.slabs ?? [:]).keys {
            let growth = slope { $0.kernel.slabs[kind] ?? 0 }
            if growth >= 0.1 { kernelKilobytesPerSocketByKind[kind] = growth }
        }
    }

    /// KB per socket between the first step with sockets and the last one.
    private func slope(_ value: (MemoryUse) -> Int) -> Double {
        guard steps.count > 2, let last = steps.last else { return 0 }
        return Double(value(last) - value(steps[1])) / Double(last.sockets - steps[1].sockets)
    }

    func show(asJSON: Bool) throws {
        if asJSON { return try printJSON(self) }
        print("sockets    PSS KB    RSS KB    slab KB    TCP buffers KB")
        for step in steps {
            let numbers = [step.proportional, step.resident, step.kernel.slab, step.kernel.buffers]
            print("\(step.sockets)    " + numbers.map { String($0) }.joined(separator: "    "))
        }
        print("PSS per socket       \(text(pssKilobytesPerSocket)) KB")
        print("RSS per socket       \(text(rssKilobytesPerSocket)) KB")
        print("kernel per socket    \(text(kernelKilobytesPerSocket)) KB, both ends and all else")
        for (kind, growth) in kernelKilobytesPerSocketByKind.sorted(by: { $0.value > $1.value }) {
            print("    \(kind)    \(text(growth)) KB")
        }
        print("CPU per socket       \(text(microsecondsPerSocketAndSecond)) us per second")
        print("generator            \(text(generatorMicrosecondsPerSocketAndSecond)) us per socket and second")
        if socketsLost > 0 { print("sockets lost         \(socketsLost)") }
    }

    private func text(_ value: Double) -> String { String(format: "%.3f", value) }
}
