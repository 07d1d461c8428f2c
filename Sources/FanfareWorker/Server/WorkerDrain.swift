package import FanfareModel
import Logging
import NIOCore

/// How long a worker takes its leave.
package struct DrainPlan: Sendable, Equatable {
    /// Between the announcement on `/readyz` and the end of accepting: time for load balancers to look.
    package var delay: Milliseconds
    /// Over this the sockets are closed.
    package var spread: Milliseconds
    /// After it, for peers to answer their close frames, handlers to end and requests to be answered. What is left then
    /// is cut off.
    package var rest: Milliseconds

    package init(delay: Milliseconds, spread: Milliseconds, rest: Milliseconds) {
        self.delay = delay
        self.spread = spread
        self.rest = rest
    }

    /// All of it within a time that somebody else has set: a quarter of it each is left for the delay and for the rest.
    package init(within total: Milliseconds, delay: Milliseconds) {
        let quarter = Milliseconds(total.value / 4)
        let delay = min(delay, quarter)
        self.init(delay: delay, spread: Milliseconds(total.value - quarter.value - delay.value), rest: quarter)
    }

    /// From the announcement to the cut.
    package var total: Milliseconds {
        Milliseconds(delay.value.addingClamped(spread.value).addingClamped(rest.value))
    }
}

/// How many sockets a drain closes in each of its steps: the same share of its time for each, and no more than
/// ``stepMilliseconds`` for one, so that a worker with few sockets is done soon. Pure.
struct DrainPace {
    /// Between two steps.
    static let stepMilliseconds: UInt64 = 20
    /// Clients of one worker that come back in a second, by the hints they are given.
    private static let returnsPerMillisecond = 1
    private static let shortestHint = 200
    private static let hintSpread = 1_000...30_000

    private let end: Instant
    /// The last hint may be so much longer than the first.
    private let hintMilliseconds: Int

    /// - Parameters:
    ///   - sockets: How many there are at the beginning.
    ///   - spread: Over this they are closed.
    init(sockets: Int, spread: Milliseconds, from now: Instant) {
        end = now.advanced(by: spread)
        let needed = sockets / Self.returnsPerMillisecond
        let left = needed - min(needed, Int(clamping: spread.value))
        hintMilliseconds = min(max(left, Self.hintSpread.lowerBound), Self.hintSpread.upperBound)
    }

    /// How many of the sockets that are left are due.
    func due(of left: Int, at now: Instant) -> Int {
        guard left > 0 else { return 0 }
        guard now < end else { return left }
        let milliseconds = max(1, (end.nanoseconds - now.nanoseconds) / 1_000_000)
        let (product, overflows) = UInt64(left).multipliedReportingOverflow(by: Self.stepMilliseconds)
        guard !overflows else { return left }
        return min(left, max(1, Int(clamping: (product + milliseconds - 1) / milliseconds)))
    }

    /// When a client may come back: the reason of its close frame, at most 123 bytes (RFC 6455, section 5.5).
    ///
    /// - Parameter random: 0 to 1, for the jitter.
    func reason(_ random: Double) -> String {
        let jitter = Int((Double(hintMilliseconds) * min(max(random, 0), 1)).rounded())
        return "restart; reconnect in \(Self.shortestHint + jitter) ms"
    }
}

/// A drain under way.
struct WorkerDrain {
    enum Stage {
        /// The port still accepts.
        case announced
        /// The port is closed; sockets are being closed.
        case closing(DrainPace)
    }

    var stage = Stage.announced
    var plan: DrainPlan
    /// When what is left is cut off.
    var end: Instant
    let stopAccepting: () -> Void
    let onEnd: () -> Void
}

/// Taking leave: not ready, no new connections, sockets closed one after the other with the invitation to come back.
extension WorkerLoop {
    /// Whether the worker takes its leave.
    package var isDraining: Bool { drain != nil }

    /// Begins to drain. A second drain ends the first one sooner, or does nothing if it would end later.
    ///
    /// - Parameters:
    ///   - plan: How long its parts take; its last part is the caller's to end, with ``cutOff()``.
    ///   - stopAccepting: Called when the delay is over.
    ///   - onEnd: Called when nothing is left.
    package func drain(_ plan: DrainPlan, stopAccepting: @escaping () -> Void, onEnd: @escaping () -> Void) {
        let end = now.advanced(by: plan.total)
        guard !isStopping, drain.map({ end < $0.end }) ?? true else { return }
        logger.notice(
            "draining",
            metadata: [
                "sockets": "\(openSockets.count)", "spread_milliseconds": "\(plan.spread.value)",
                "within_milliseconds": "\(plan.total.value)",
            ]
        )
        var drain = drain ?? WorkerDrain(plan: plan, end: end, stopAccepting: stopAccepting, onEnd: onEnd)
        drain.plan = plan
        drain.end = end
        switch drain.stage {
        case .announced: schedule(in: plan.delay) { [self] in beginClosing() }
        case .closing: drain.stage = .closing(pace(plan))
        }
        self.drain = drain
    }

    private func beginClosing() {
        guard let drain, case .announced = drain.stage, !isStopping else { return }
        drain.stopAccepting()
        self.drain?.stage = .closing(pace(drain.plan))
        drainStep()
    }

    private func pace(_ plan: DrainPlan) -> DrainPace {
        DrainPace(sockets: openSockets.count, spread: plan.spread, from: now)
    }

    private func drainStep() {
        guard let drain, case .closing(let pace) = drain.stage, !isStopping else { return }
        // Who is closed gets what was sent before.
        fanOut.flush()
        for socket in openSockets(atMost: pace.due(of: health.sockets, at: now)) {
            counters.drained += 1
            socket.close(.serviceRestart, reason: pace.reason(Double.random(in: 0...1)))
        }
        dropIdleStrangers()
        guard hasConnections else {
            logger.notice("drained", metadata: ["sockets": "\(counters.drained)"])
            return drain.onEnd()
        }
        schedule(in: Milliseconds(DrainPace.stepMilliseconds)) { [self] in drainStep() }
    }

    private func schedule(in time: Milliseconds, _ body: @escaping () -> Void) {
        eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Int64(clamping: time.value)), body)
    }

    /// The time is over: what is left is counted, handlers are cancelled and their groups left.
    package func cutOff() {
        let left = connectionsLeft
        guard left > 0 else { return link.writeDeclarations() }
        counters.drainCutOff += UInt64(left)
        logger.warning("connections were cut off", metadata: ["count": "\(left)"])
        cancelEnding()
        link.writeDeclarations()
    }
}
