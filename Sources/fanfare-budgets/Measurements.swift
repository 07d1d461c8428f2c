import CAllocations

/// What one history has cost.
struct Measurement {
    let history: History
    /// In all of it.
    let units: Int
    /// Of one unit.
    let allocations: Double
    /// Bytes asked for, of one unit.
    let bytes: Double
}

/// Runs histories one after the other and counts what they allocate.
struct Measurements {
    private(set) var all: [Measurement] = []

    /// Runs `operation` to warm up, then counts what all threads allocate while it runs again.
    ///
    /// - Parameters:
    ///   - operations: How often, once warm.
    ///   - warmUp: How often before that.
    ///   - units: What one operation consists of and the cost is told of: the links of a fan-out.
    ///   - operation: Is told how often it has run.
    mutating func record(
        _ history: History,
        operations: Int = 2_000,
        warmUp: Int = 500,
        units: Int = 1,
        _ operation: (Int) throws -> Void
    ) rethrows {
        for index in 0..<warmUp { try operation(index) }
        let before = Self.begin()
        for index in warmUp..<(warmUp + operations) { try operation(index) }
        end(history, before, operations * units)
    }

    /// As ``record(_:operations:warmUp:units:_:)``, but `operation` is what peers do: only other threads count.
    mutating func recordOthers(
        _ history: History,
        operations: Int = 1_000,
        warmUp: Int = 100,
        units: Int = 1,
        _ operation: (Int) throws -> Void
    ) throws {
        try apart { for index in 0..<warmUp { try operation(index) } }
        let before = Self.begin()
        try apart { for index in warmUp..<(warmUp + operations) { try operation(index) } }
        end(history, before, operations * units)
    }

    private static func begin() -> fanfare_allocations {
        fanfare_history_begins()
        return fanfare_allocations_so_far()
    }

    private mutating func end(_ history: History, _ before: fanfare_allocations, _ units: Int) {
        let after = fanfare_allocations_so_far()
        fanfare_history_ends()
        all.append(
            Measurement(
                history: history,
                units: units,
                allocations: Double(after.allocations - before.allocations) / Double(units),
                bytes: Double(after.bytes - before.bytes) / Double(units)
            )
        )
    }
}

/// Runs `body` without counting what this thread allocates and executes.
private func apart(_ body: () throws -> Void) throws {
    var failure: (any Error)?
    let caught = { do { try body() } catch { failure = error } }
    withoutActuallyEscaping(caught) { caught in
        var caught = caught
        withUnsafeMutablePointer(to: &caught) { pointer in
            fanfare_run_apart({ $0!.assumingMemoryBound(to: (() -> Void).self).pointee() }, pointer)
        }
    }
    if let failure { throw failure }
}
