import FanfareCore
import FanfareModel
import FanfareTransport
import NIOCore

/// The inspections under way. They take turns, a slice of one in each turn of the loop, so that however many there are
/// and however large the tables, a message waits for one slice at most.
struct Inspections {
    enum Asker {
        case session(SessionID, RequestID)
        /// Somebody in this process.
        case program(EventLoopPromise<MessageValue>)
    }

    struct Running {
        let asker: Asker
        var inspection: Inspection
        let begunAt: NIODeadline

        func isAsked(by session: SessionID, under id: RequestID? = nil) -> Bool {
            guard case .session(session, let own) = asker else { return false }
            return id == nil || id == own
        }
    }

    /// Whose turn is next comes first.
    fileprivate(set) var running: [Running] = []
    /// When the slice of this turn of the loop ended; the next comes with the next turn. `nil`: there was none.
    fileprivate var slicedAt: NIODeadline?
    /// Whether the broker stops: what is asked now is answered at once.
    fileprivate var isEnding = false
    /// Inspections refused because too many were under way.
    fileprivate(set) var refused: UInt64 = 0
    /// How long those that have been answered took, the others' turns included.
    fileprivate(set) var seconds = Histogram.ofWorkSeconds

    fileprivate mutating func next() -> Running? {
        running.isEmpty ? nil : running.removeFirst()
    }

    /// Ends those of a session that is gone.
    mutating func end(of session: SessionID) {
        guard !running.isEmpty else { return }
        running.removeAll { $0.isAsked(by: session) }
    }

    /// Ends one without an answer.
    mutating func cancel(_ id: RequestID, of session: SessionID) {
        guard !running.isEmpty else { return }
        running.removeAll { $0.isAsked(by: session, under: id) }
    }
}

extension BrokerLoop {
    /// How long a slice takes: half of what else was done since the one before, so that looking is never what makes a
    /// turn long, and within these bounds.
    private static let slices = (least: TimeAmount.microseconds(50), most: TimeAmount.microseconds(250))
    /// Rows looked at between two looks at the clock.
    private static let stepsPerLook = 64

    /// Begins an inspection a session asks for. A small one is answered before anything else happens.
    func inspect(_ query: InspectionQuery, _ id: RequestID, for session: SessionID) {
        letTimePass()
        do throws(Failure) {
            guard !inspections.running.contains(where: { $0.isAsked(by: session, under: id) }) else {
                throw Failure(.duplicateID, "the id \(id) still waits; choose another or CANCEL it")
            }
            let inspection = try core.beginInspection(query, for: session)
            try checkRoom()
            begin(inspection, .session(session, id))
        } catch {
            if let peer = peers[session] { write(.error(id, error), to: peer) }
        }
    }

    /// Answers somebody in this process.
    ///
    /// - Returns: Fails with a ``Failure``: `bad_request`, `not_found` or `limit_reached`.
    func inspect(_ query: InspectionQuery) -> EventLoopFuture<MessageValue> {
        letTimePass()
        do throws(Failure) {
            let inspection = try core.beginInspection(query)
            // Who watches over the broker sees it also when many look into it.
            if query.subject != .status { try checkRoom() }
            let promise = loop.makePromise(of: MessageValue.self)
            begin(inspection, .program(promise))
            return promise.futureResult
        } catch {
            return loop.makeFailedFuture(error)
        }
    }

    /// What has come due is not listed any more.
    private func letTimePass() {
        run()
        core.advance(to: Instant(nanoseconds: max(moment, loop.now).uptimeNanoseconds), into: &effects)
        run()
    }

    private func checkRoom() throws(Failure) {
        guard inspections.running.count >= limits.inspections else { return }
        inspections.refused += 1
        throw Failure(
            .limitReached,
            "\(limits.inspections) inspections are under way, the limit \"inspections\"; try again"
        )
    }

    private func begin(_ inspection: Inspection, _ asker: Inspections.Asker) {
        inspections.running.append(Inspections.Running(asker: asker, inspection: inspection, begunAt: loop.now))
        if inspections.isEnding { return endInspections() }
        goOnInspecting()
    }

    /// Gives the inspection whose turn it is its slice, if none has had one in this turn of the loop.
    private func goOnInspecting() {
        guard inspections.slicedAt == nil else { return }
        slice(Self.slices.least)
    }

    private func slice(_ length: TimeAmount) {
        guard var running = inspections.next() else { return }
        let begun = loop.now
        if begun - running.begunAt >= running.inspection.query.budget.amount { running.inspection.stop() }
        var answer: MessageValue?
        repeat {
            answer = proceed(&running.inspection, steps: Self.stepsPerLook)
        } while answer == nil && loop.now - begun < length
        if let answer { tell(running, answer) } else { inspections.running.append(running) }
        inspections.slicedAt = loop.now
        loop.runAfterOthers { [self] in
            let others = inspections.slicedAt.map { loop.now - $0 } ?? .zero
            inspections.slicedAt = nil
            slice(min(max(.nanoseconds(others.nanoseconds / 2), Self.slices.least), Self.slices.most))
            run()
        }
    }

    private func proceed(_ inspection: inout Inspection, steps: Int) -> MessageValue? {
        core.proceed(&inspection, steps: steps, now: look(), self)
    }

    private func tell(_ running: Inspections.Running, _ answer: MessageValue) {
        inspections.seconds.record(Double((loop.now - running.begunAt).nanoseconds) / 1e9)
        switch running.asker {
        case .session(let session, let id): if let peer = peers[session] { write(.result(id, answer), to: peer) }
        case .program(let promise): promise.succeed(answer)
        }
    }

    /// Answers all of them with what they have found: there will be no further turns.
    func endInspections() {
        inspections.isEnding = true
        while var running = inspections.next() {
            running.inspection.stop()
            while true {
                guard let answer = proceed(&running.inspection, steps: .max) else { continue }
                tell(running, answer)
                break
            }
        }
    }
}
