import Foundation

/// CPU time processes have used, from their CPU clocks: nanoseconds, all threads, those that have ended too.
enum ProcessorTime {
    /// - Throws: ``LoadFailure`` for a process that does not run.
    static func nanoseconds(of processes: [Int32]) throws -> UInt64 {
        try processes.reduce(0) { $0 + (try nanoseconds(of: $1)) }
    }

    private static func nanoseconds(of process: Int32) throws -> UInt64 {
        var clock = clockid_t()
        var time = timespec()
        guard clock_getcpuclockid(process, &clock) == 0, clock_gettime(clock, &time) == 0 else {
            throw LoadFailure("there is no process \(process) to charge CPU time to")
        }
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    static func ofThisProcess() throws -> UInt64 {
        try nanoseconds(of: ProcessInfo.processInfo.processIdentifier)
    }
}

/// What a measured stretch of time cost.
struct Measurement {
    var seconds: Double
    var serverNanoseconds: UInt64?
    var generatorNanoseconds: UInt64

    /// Lets a load run for `seconds`, then finish, and charges the CPU time of that to the servers and to this process.
    static func of(
        _ servers: [Int32],
        seconds: Double,
        start: () async throws -> Void,
        finish: () async throws -> Void
    ) async throws -> Measurement {
        let (server, own) = (try ProcessorTime.nanoseconds(of: servers), try ProcessorTime.ofThisProcess())
        let begin = ContinuousClock.now
        try await start()
        try await Task.sleep(for: .seconds(seconds))
        try await finish()
        let elapsed = ContinuousClock.now - begin
        return Measurement(
            seconds: elapsed / .seconds(1),
            serverNanoseconds: servers.isEmpty ? nil : try ProcessorTime.nanoseconds(of: servers) - server,
            generatorNanoseconds: try ProcessorTime.ofThisProcess() - own
        )
    }
}

/// What a run gave, printed as one table or one JSON object.
struct Report: Encodable {
    var sent: UInt64
    var expected: UInt64
    var delivered: UInt64
    var outOfOrder: UInt64
    var seconds: Double
    var deliveriesPerSecond: Double
    var serverMicrosecondsPerDelivery: Double?
    var generatorMicrosecondsPerDelivery: Double

    init(sent: UInt64, expected: UInt64, delivered: UInt64, outOfOrder: UInt64, _ measurement: Measurement) {
        self.sent = sent
        self.expected = expected
        self.delivered = delivered
        self.outOfOrder = outOfOrder
        seconds = measurement.seconds
        deliveriesPerSecond = Double(delivered) / max(seconds, 1e-9)
        let deliveries = Double(max(delivered, 1))
        serverMicrosecondsPerDelivery = measurement.serverNanoseconds.map { Double($0) / 1_000 / deliveries }
        generatorMicrosecondsPerDelivery = Double(measurement.generatorNanoseconds) / 1_000 / deliveries
    }

    /// Whether everything sent arrived once and in order.
    var isWhole: Bool { expected == delivered && outOfOrder == 0 }

    func show(asJSON: Bool) throws {
        if asJSON { return try printJSON(self) }
        print("messages sent        \(sent)")
        print("deliveries           \(delivered) of \(expected) expected, \(outOfOrder) out of order")
        print("deliveries per s     \(Int(deliveriesPerSecond)) in \(String(format: "%.2f", seconds)) s")
        if let server = serverMicrosecondsPerDelivery {
            print("server CPU           \(String(format: "%.3f", server)) us per delivery")
        }
        print("generator CPU        \(String(format: "%.3f", generatorMicrosecondsPerDelivery)) us per delivery")
    }
}
