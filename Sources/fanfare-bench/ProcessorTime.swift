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
