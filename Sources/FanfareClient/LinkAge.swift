import FanfareModel
import NIOCore

/// How long what arrives has been on its way: the broker's clock in the stream against this process's own.
///
/// The two clocks have nothing in common but their pace. The smallest difference ever seen stands for a link without
/// delay; whatever is more is the time spent in sockets while this process, or the network, stood still.
///
/// One per link. On a link that goes on with a session the broker tells the time first, then repeats what it said before
/// with the clocks of that time: those are behind the first one, so what follows them is as old as it is.
struct LinkAge {
    private var smallestDifference: Int64?
    private var lastSample: Int64 = 0
    private var lastHeard: Milliseconds?
    private var hasHeardTwice = false
    /// Milliseconds to take off the life of what comes right behind the last `CLOCK`.
    private(set) var milliseconds: UInt64 = 0

    /// Takes note of a `CLOCK`.
    ///
    /// - Parameters:
    ///   - broker: The broker's clock when it wrote.
    ///   - now: This process's clock.
    mutating func hear(_ broker: Milliseconds, at now: NIODeadline) {
        let own = Int64(clamping: now.uptimeNanoseconds / 1_000_000)
        let difference = own.subtractingReportingOverflow(Int64(clamping: broker.value)).partialValue
        // Clocks of two machines drift apart by some ten parts in a million; the memory of the smallest follows.
        let drift = max(0, own - lastSample) / 10_000
        lastSample = own
        // It goes back once, to what is repeated. Again: the broker's machine has started anew in between.
        if let lastHeard, broker < lastHeard, hasHeardTwice { smallestDifference = nil }
        hasHeardTwice = lastHeard != nil
        lastHeard = broker
        let smallest = smallestDifference.map { min($0 &+ drift, difference) } ?? difference
        smallestDifference = smallest
        let (age, overflows) = difference.subtractingReportingOverflow(smallest)
        milliseconds = overflows ? .max : UInt64(clamping: age)
    }

    /// Milliseconds to take off the life of what is read at `now`.
    ///
    /// What was read long after the last `CLOCK` has waited: the broker would have told the time ahead of what it wrote
    /// so long after it.
    func milliseconds(at now: NIODeadline) -> UInt64 {
        guard smallestDifference != nil else { return 0 }
        let (since, overflows) = Int64(clamping: now.uptimeNanoseconds / 1_000_000)
            .subtractingReportingOverflow(lastSample)
        guard !overflows, since > Protocol.clockInterval.value else { return milliseconds }
        return milliseconds.addingClamped(UInt64(since) - Protocol.clockInterval.value)
    }

    /// What is left of a life that was `remaining` when it was written, for what is read at `now`.
    func left(of remaining: Milliseconds, at now: NIODeadline) -> Milliseconds {
        let age = milliseconds(at: now)
        return Milliseconds(remaining.value > age ? remaining.value - age : 0)
    }
}
