/// A point on the broker's monotonic clock, in nanoseconds. Only differences mean anything.
package struct Instant: Sendable, Hashable, Comparable {
    /// Nanoseconds since an arbitrary start.
    package var nanoseconds: UInt64

    package init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    package static func < (left: Instant, right: Instant) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    /// The instant `duration` later; the far end of the clock instead of an overflow.
    package func advanced(by duration: Milliseconds) -> Instant {
        let (step, stepOverflows) = duration.value.multipliedReportingOverflow(by: 1_000_000)
        let (sum, sumOverflows) = nanoseconds.addingReportingOverflow(step)
        return Instant(nanoseconds: stepOverflows || sumOverflows ? .max : sum)
    }

    /// Whole milliseconds from `self` to `later`, rounded up so that "still alive" never reads 0; 0 when it has passed.
    package func milliseconds(until later: Instant) -> Milliseconds {
        guard later > self else { return Milliseconds(0) }
        let difference = later.nanoseconds - nanoseconds
        return Milliseconds(difference / 1_000_000 + (difference % 1_000_000 == 0 ? 0 : 1))
    }
}

/// A length of time in whole milliseconds: the unit of every duration on the wire.
package struct Milliseconds: Sendable, Hashable, Comparable {
    package var value: UInt64

    package init(_ value: UInt64) {
        self.value = value
    }

    package static func < (left: Milliseconds, right: Milliseconds) -> Bool {
        left.value < right.value
    }
}

extension Milliseconds {
    /// Whole milliseconds, at least 0; a number that is none counts as 0.
    package init(seconds: Double) {
        let milliseconds = (seconds * 1_000).rounded()
        self.init(milliseconds > 0 ? UInt64(exactly: min(milliseconds, 1e15)) ?? 0 : 0)
    }
}
