/// What a measured stretch of time cost.
struct Measurement {
    var seconds: Double
    var serverNanoseconds: UInt64?
    var generatorNanoseconds: UInt64
    /// The memory of the servers at the end.
    var serverPSSKilobytes: Int?

    /// Charges the CPU time of `work` to the servers and to this process.
    ///
    /// - Throws: ``LoadFailure`` when a server does not run, and what `work` throws.
    static func of(_ servers: [Int32], _ work: () throws -> Void) throws -> Measurement {
        let start = try Start(servers)
        try work()
        return try start.measurement()
    }

    /// Lets a load run for `seconds`, then finish, and charges the CPU time of that to the servers and to this process.
    static func of(
        _ servers: [Int32],
        seconds: Double,
        start: () async throws -> Void,
        finish: () async throws -> Void
    ) async throws -> Measurement {
        let begin = try Start(servers)
        try await start()
        try await Task.sleep(for: .seconds(seconds))
        try await finish()
        return try begin.measurement()
    }

    /// Where the clocks stood.
    private struct Start {
        let servers: [Int32]
        let (server, own): (UInt64, UInt64)
        let time: UInt64

        init(_ servers: [Int32]) throws {
            self.servers = servers
            (server, own) = (try ProcessorTime.nanoseconds(of: servers), try ProcessorTime.ofThisProcess())
            time = MonotonicClock.now()
        }

        func measurement() throws -> Measurement {
            let seconds = Double(MonotonicClock.now() - time) / 1e9
            let ownNow = try ProcessorTime.ofThisProcess()
            guard !servers.isEmpty else { return Measurement(seconds: seconds, generatorNanoseconds: ownNow - own) }
            return Measurement(
                seconds: seconds,
                serverNanoseconds: try ProcessorTime.nanoseconds(of: servers) - server,
                generatorNanoseconds: ownNow - own,
                serverPSSKilobytes: try servers.reduce(0) { $0 + (try ProcessMemory.now(of: $1).proportional) }
            )
        }
    }
}
