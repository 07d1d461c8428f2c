import Glibc

/// The clock of all latencies.
enum MonotonicClock {
    /// Nanoseconds.
    static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }

    /// The time `seconds` from now.
    static func after(_ seconds: Double) -> UInt64 {
        now() + UInt64(max(0, seconds) * 1e9)
    }
}
