package import NIOCore

/// One turn of an ``EpollLoop`` that took long: what it did, and what of that took longest.
package struct LoopTurn: Sendable {
    /// From the wake-up to the end of its work.
    package internal(set) var length = TimeAmount.zero
    /// Descriptors that were ready, timers that were due, tasks that were run.
    package internal(set) var descriptors = 0
    package internal(set) var timers = 0
    package internal(set) var tasks = 0
    /// The longest of them, alone.
    package internal(set) var longest = TimeAmount.zero
    /// What that was: `timer`, `task`, or the type that handled a descriptor.
    package internal(set) var longestName = ""

    /// For a log line.
    package var facts: [String: String] {
        [
            "milliseconds": Self.milliseconds(length), "descriptors": String(descriptors), "timers": String(timers),
            "tasks": String(tasks), "longest": longestName, "longest_milliseconds": Self.milliseconds(longest),
        ]
    }

    private static func milliseconds(_ length: TimeAmount) -> String {
        String(Double(length.nanoseconds / 1_000) / 1_000)
    }
}

/// Times everything a loop does and tells of turns that took long, at most once a second. For whoever looks for what
/// holds a loop: a clock is read for each descriptor, timer and task, which only then is worth its cost.
struct TurnWatch {
    private let longest: TimeAmount
    private let report: (LoopTurn) -> Void
    private var silentUntil = NIODeadline.uptimeNanoseconds(0)
    private var turn = LoopTurn()

    init(_ longest: TimeAmount, _ report: @escaping (LoopTurn) -> Void) {
        self.longest = longest
        self.report = report
    }

    mutating func did(_ name: @autoclosure () -> String, _ count: WritableKeyPath<LoopTurn, Int>, since: NIODeadline) {
        turn[keyPath: count] += 1
        let length = NIODeadline.now() - since
        guard length > turn.longest else { return }
        turn.longest = length
        turn.longestName = name()
    }

    /// The turn is over.
    mutating func ended(_ length: TimeAmount, at now: NIODeadline) {
        defer { turn = LoopTurn() }
        guard length >= longest, now >= silentUntil else { return }
        silentUntil = now + .seconds(1)
        turn.length = length
        report(turn)
    }
}

extension DescriptorHandler {
    /// What it is, for ``LoopTurn``.
    var name: String {
        let connection = self as? DescriptorConnection
        return connection?.receiver.map { String(describing: type(of: $0)) } ?? String(describing: type(of: self))
    }
}
