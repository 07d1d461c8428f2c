import FanfareCore
import FanfareModel

// Not in the small package of scripts/core-package.
#if canImport(FanfareBroker)
    import FanfareBroker
#endif

/// One random history, lived through by the core and by the oracle side by side.
///
/// Everything follows from the seed: which kinds of events happen and how often, the limits, the names, the times.
/// Names are few, so that things collide. After each step both must have said the same to every session, counted
/// the same drops, and the core's invariants must hold; ``Properties`` watches promises that need no oracle.
struct Simulation {
    /// What happens in one step.
    enum Event {
        case open(Hello)
        case apply(Request, from: SessionID)
        /// The link is gone, without a goodbye.
        case close(SessionID)
        /// More waits for its connection than may, or enough of it has gone.
        case congestion(SessionID, Bool)
        /// The process is replaced by one that goes on with its state; its clock began so much before the oracle's.
        case restart(origin: UInt64)
        /// Only time passes.
        case pass
    }

    /// The first difference of a run, readable by people.
    struct Difference: Error {
        var report: String
    }

    let seed: UInt64
    let limits: Limits
    let broker = "fanfare-broker/simulation"
    var random: SplitMix64
    var weights: [Int]
    /// How likely a step is to let time pass, in percent.
    let restlessness: Int
    /// Steps between two looks at the core's invariants.
    let auditInterval: Int
    let traces: Bool

    var core: Core
    var oracle: Oracle
    var effects = Effects()
    /// What the core said in this step, on the oracle's clock.
    var heard: [Effects.Effect] = []
    var properties: Properties
    var now: Instant
    /// What the core's clock shows more than the oracle's.
    var origin: UInt64 = 0
    var step = 0
    var lastBody: UInt64 = 0
    var lastRequest: RequestID = 0
    /// Events already decided on: the rest of a flood.
    var backlog: [Event] = []
    /// What was handed out, with its session; some of it will be given back.
    var handedOut: [(session: SessionID, channel: Oracle.Address, handOut: HandOut)] = []
    /// Receives lately cancelled: their ids are free again.
    var cancelled: [(session: SessionID, id: RequestID)] = []
    /// Sessions that were, for requests that come too late.
    var ended: [SessionID] = []
    /// The core's orders and tokens for the oracle's: both are opaque, so they need not be equal.
    var orders: [UInt64: UInt64] = [:]
    var tokens: [UInt64: UInt64] = [:]
    /// The core's ids, which know their places, by the oracle's.
    var places: [SessionID: SessionID] = [:]
    /// Inspections under way. They have random numbers of their own, so that the same seed gives the same history.
    var looks: [Look] = []
    var looker: SplitMix64
    private var recent: [(step: Int, now: Instant, event: Event)] = []

    init(seed: UInt64, auditInterval: Int = 1, traces: Bool = false) {
        self.seed = seed
        self.auditInterval = auditInterval
        self.traces = traces
        random = SplitMix64(seed: seed)
        looker = SplitMix64(seed: ~seed)
        limits = Self.limits(&random)
        weights = Self.swarm(&random)
        // Which members of one group send find the last bytes of the broker free is nobody's promise.
        if limits.queuedBytes < Limits().queuedBytes { weights[Kind.groupSend.rawValue] = 0 }
        restlessness = random.pick([5, 30, 60])
        now = Instant(nanoseconds: random.pick([0, 1, 1 << 40]))
        let epoch = random.next() >> 1
        core = Core(limits: limits, epoch: epoch, broker: broker)
        oracle = Oracle(limits: limits, epoch: epoch, broker: broker)
        properties = Properties(limits: limits)
    }

    /// Lives through `steps` events, then closes every session and lets everything expire: nothing may be left.
    ///
    /// - Throws: ``Difference`` at the first step after which core and oracle disagree.
    mutating func run(steps: Int) throws(Difference) {
        for _ in 0..<steps {
            let event = backlog.isEmpty ? nextEvent() : backlog.removeFirst()
            try live(event)
        }
        for session in oracle.sessions { try live(.close(session.id)) }
        now = now.advanced(by: limits.groupExpiryMaximum)
        now = now.advanced(by: limits.expiryMaximum)
        try live(.pass)
        guard core.nextDeadline == nil, try inspected(.channels).isEmpty, try inspected(.groups).isEmpty else {
            throw difference("something is left after the last session and the last deadline", .pass)
        }
    }

    private mutating func live(_ event: Event) throws(Difference) {
        step += 1
        recent.append((step, now, event))
        if recent.count > 20 { recent.removeFirst() }
        if traces { Settings.trace("seed \(seed) step \(step) at \(now.nanoseconds): \(brief(event))") }
        let told = translated(event)
        effects.removeAll()
        oracle.said = Oracle.Said()
        try lookAtExpiry()
        try happen(event, told)
        heard = effects.list.map(onOraclesClock)
        if let complaint = compare(event) { throw difference(complaint, event) }
        remember(event)
        if let complaint = properties.check(event, heard, now) { throw difference(complaint, event) }
        try compareState(event)
        try lookOn(event)
    }

    /// Lets `event` happen to both; the core hears of it as `told`, in its own orders and tokens.
    private mutating func happen(_ event: Event, _ told: Event) throws(Difference) {
        switch (event, told) {
        case (.open(let hello), _):
            let expected = Result { () throws(Failure) in try oracle.open(hello, now: now) }
            let actual = Result { () throws(Failure) in try core.open(hello, now: coreNow, into: &effects) }
            guard expected.mapError(\.asCode) == actual.mapError(\.asCode) else {
                throw difference("the hello was answered \(actual), expected \(expected)", event)
            }
            if case .success(let session) = actual { places[session] = session }
        case (.apply(let request, let session), .apply(let toldRequest, _)):
            oracle.apply(request, from: session, now: now)
            core.apply(toldRequest, from: places[session] ?? session, now: coreNow, into: &effects)
        case (.close(let session), _):
            oracle.close(session, now: now)
            core.close(places[session] ?? session, now: coreNow, into: &effects)
        case (.congestion(let session, let isCongested), _):
            oracle.setCongested(isCongested, session, now: now)
            core.setCongested(isCongested, places[session] ?? session, now: coreNow, into: &effects)
        case (.restart(let origin), _):
            try restart(origin)
        default:
            oracle.advance(to: now)
            core.advance(to: coreNow, into: &effects)
        }
    }

    /// The time on the core's clock.
    var coreNow: Instant { Instant(nanoseconds: now.nanoseconds + origin) }

    /// Replaces the core by one that knows no more than what a state file says.
    private mutating func restart(_ newOrigin: UInt64) throws(Difference) {
        // What has come due may end before or after, in the process that then counts it. A process counts what it does.
        if random.chance(50) {
            core.advance(to: coreNow, into: &effects)
            oracle.advance(to: now)
        }
        oracle.forgetCounts()
        properties.forgetCounts()
        oracle.advance(to: now)
        oracle.addUpHandOuts()
        let state = core.state(at: coreNow)
        origin = newOrigin
        do {
            let read = try readAgain(state)
            guard read == state else { throw difference("the state reads otherwise than it was written", .pass) }
            core = try Core(restoring: read, limits: limits, broker: broker, at: coreNow)
        } catch let difference as Difference {
            throw difference
        } catch {
            throw difference("the state was refused: \(error)", .restart(origin: newOrigin))
        }
        core.advance(to: coreNow, into: &effects)
        places = Dictionary(uniqueKeysWithValues: core.liveSessions.map { ($0, $0) })
    }

    /// A state by way of the bytes of a file, where there is somebody to write them.
    private func readAgain(_ state: CoreState) throws -> CoreState {
        #if canImport(FanfareBroker)
            // What is kept for sessions is not the core's; one token each is as little as there can be.
            let kept = state.sessions.map { _ in
                BrokerState.Kept(token: [1], base: 0, count: 0, requestsTaken: 0, kept: [])
            }
            let written = BrokerState(program: broker, takenAt: 1, clock: coreNow, core: state, kept: kept)
            return try BrokerState(decoding: written.encoded(bytesMaximum: 1 << 30)).core
        #else
            return state
        #endif
    }

    /// An effect as it would be if the clocks were one.
    private func onOraclesClock(_ effect: Effects.Effect) -> Effects.Effect {
        guard case .reply(.handOut(let id, var handOut), let session) = effect else { return effect }
        handOut.deadline.nanoseconds -= origin
        return .reply(.handOut(id, handOut), to: session)
    }

    /// `event` as the core must hear it: with the tokens and orders the core gave.
    private func translated(_ event: Event) -> Event {
        guard case .apply(let request, let session) = event else { return event }
        switch request {
        case .outcome(let token, let accepted, let dropped):
            return .apply(.outcome(token: tokens[token] ?? token, accepted: accepted, dropped: dropped), from: session)
        case .giveBack(let id, let channel, var message):
            message.order = orders[message.order] ?? message.order
            let (deadline, overflows) = message.deadline.nanoseconds.addingReportingOverflow(origin)
            message.deadline = Instant(nanoseconds: overflows ? .max : deadline)
            return .apply(.giveBack(id: id, channel: channel, message), from: session)
        default:
            return event
        }
    }

    /// Keeps what later events are made of.
    private mutating func remember(_ event: Event) {
        if case .close(let session) = event { ended.append(session) }
        ended += oracle.said.closed
        if ended.count > 8 { ended.removeFirst(ended.count - 8) }
        handedOut += oracle.said.handOuts
        if handedOut.count > 40 { handedOut.removeFirst(handedOut.count - 40) }
    }

    /// A report that says all one needs to look into a difference.
    func difference(_ complaint: String, _ event: Event) -> Difference {
        var lines = [
            "Seed \(seed), step \(step): \(complaint)",
            "Event: \(brief(event)) at \(now.nanoseconds) ns",
            "The core said:",
        ]
        lines += heard.map { "    " + brief($0, effects.targets) }
        lines.append("The oracle said:")
        for (because, said) in [("time", oracle.said.byTime), ("event", oracle.said.byEvent)] {
            for session in said.keys.sorted() {
                lines += said[session]!.map { "    [\(because)] \(session.value) <- \(brief($0))" }
            }
        }
        lines += oracle.said.closed.map { "    close \($0.value)" }
        lines.append("The last events:")
        lines += recent.map { "    \($0.step) at \($0.now.nanoseconds): \(brief($0.event))" }
        lines.append("Again:")
        let knobs = "FANFARE_SIMULATION_SEED=\(seed) FANFARE_SIMULATION_STEPS=\(step)"
        lines.append("    \(knobs) swift test --filter Simulation")
        return Difference(report: lines.joined(separator: "\n"))
    }
}

extension Failure {
    /// The failure without its text, which the protocol leaves to the broker.
    fileprivate var asCode: Failure { Failure(code, "") }
}
