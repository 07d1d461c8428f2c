import FanfareCore
import FanfareModel
import FanfareProtocol
import FanfareTransport
import Logging
import NIOCore

/// The loop that owns the core: decodes, applies, runs effects. No decision about channels or groups is made here.
///
/// Not Sendable; everything happens on one event loop, so there is nothing to lock.
final class BrokerLoop {
    let limits: Limits
    let reader: FrameReader
    let turn: WriteTurn
    let loop: any EventLoop
    let logger: Logger
    var core: Core
    var effects = Effects()
    var peers = Peers()
    /// The sessions that can be resumed, by their tokens.
    var resumable: [Body: SessionID] = [:]
    var resumeCounts = ResumeCounts()
    /// What an admin's `drain` of the broker does.
    var onDrain: (Milliseconds) -> Void = { _ in }
    /// How often accepting has paused because connections came faster than `accepts_per_second`.
    var acceptPauses: () -> UInt64 = { 0 }
    var strangers = Strangers()
    let security: Security
    var watches = Watches()
    /// Peers that have been told the last and may still read it, for a while; see ``dismiss(_:)``.
    var leaving: [ObjectIdentifier: Peer] = [:]
    let links: LinkWriter
    var inspections = Inspections()
    private var isFanOutScheduled = false
    private var timer: (deadline: Instant, task: Scheduled<Void>)?
    var ended = Traffic()
    private var silenceSweep: Sweep?
    var sweeps = 0
    private var lastConnection: UInt64 = 0
    /// Refusals for want of memory that were warned of.
    var memoryRefusalsWarned: UInt64 = 0
    var resilience: Resilience?
    /// How long clients took to answer pings, through all that waited for their links.
    var roundTripSeconds = Histogram.ofWorkSeconds
    let startedAt: Instant
    /// When what is being done happens.
    private(set) var moment = NIODeadline.uptimeNanoseconds(0)
    /// Entries of `status` that do not change while the broker runs.
    var facts: [String: MessageValue]
    /// Whether connections end because the broker does.
    private(set) var isGoing = false
    /// What happens when the last connection that must end before a handover has gone.
    var onQuiet: (() -> Void)?
    /// Completed when the last connection has gone, once stopping has begun.
    private(set) var stopped: EventLoopPromise<Void>?

    /// - Parameters:
    ///   - facts: Further entries of `status`, such as the endpoints and the process id.
    ///   - resilience: Faults to inject; `nil` in production.
    init(
        loop: any EventLoop,
        limits: Limits,
        core: Core,
        facts: [String: MessageValue],
        resilience: Resilience? = nil,
        security: Security = Security(),
        logger: Logger
    ) {
        self.security = security
        self.loop = loop
        self.limits = limits
        self.core = core
        self.facts = facts
        self.resilience = resilience
        self.logger = logger
        reader = FrameReader(limits: limits)
        turn = WriteTurn(loop: loop)
        links = LinkWriter(limits: limits, logger: logger)
        startedAt = Instant(nanoseconds: loop.now.uptimeNanoseconds)
        moveTick()
        silenceSweep = Sweep(loop: loop, every: .seconds(1)) { [unowned self] in sweep() }
    }

    /// Looks at the clock, which the requests of one read and what follows from them do once.
    func look() -> Instant {
        moment = loop.now
        return Instant(nanoseconds: moment.uptimeNanoseconds)
    }

    // MARK: Connections

    /// The number of a connection that begins.
    func nextConnection() -> UInt64 {
        lastConnection += 1
        return lastConnection
    }

    func arrived(_ peer: Peer) {
        peer.arrivedAt = loop.now
        if let refusal = strangers.refusal(of: peer, limits) {
            write(.error(nil, refusal), to: peer)
            peer.close()
            // What it does not take at once is not kept for it; in front of a TLS handshake, that is all of it.
            if let connection = peer.connection, connection.pendingBytes > 0 { connection.close() }
            return
        }
        strangers.insert(peer)
    }

    func left(_ peer: Peer) {
        defer { checkQuiet() }
        strangers.remove(peer)
        leaving.removeValue(forKey: ObjectIdentifier(peer))
        links.dismiss(peer)
        if peer.isStranger { noteStranger(peer) }
        guard let session = peer.session, peers[session] === peer else { return }
        release(peer)
        if peer.retained != nil, stopped == nil { return detach(peer, session) }
        let (reason, detail) = reasonToEnd(peer)
        expel(session, reason, detail)
    }

    func open(_ hello: Hello, for peer: Peer) throws(Failure) -> SessionID {
        // A session that has ended must have left its place.
        run()
        if let session = resume(hello, on: peer) { return session }
        let resumption = newResumption(for: hello)
        let session: SessionID
        do throws(Failure) {
            session = try core.open(hello, resumption: resumption, now: look(), into: &effects)
        } catch {
            // Letting time pass may have had effects on others even though the hello was refused.
            run()
            throw error
        }
        strangers.remove(peer)
        peers.insert(peer, session)
        peer.pingDueAt = moment + firstPing(of: session)
        if let token = resumption?.token {
            peer.retained = Retained(token: token)
            resumable[token] = session
        }
        if hello.capabilities.contains(Protocol.clockCapability) { peer.clockToldAt = .uptimeNanoseconds(0) }
        run()
        links.tellClock(to: peer, at: moment)
        ConnectionLog.opened(session, hello, peer, logger)
        return session
    }

    /// Applies a request, unless the resilience mode has other plans with it.
    func received(_ request: Request, from session: SessionID, _ peer: Peer) {
        let heard = peer.connection?.lastHeard ?? moment
        switch request {
        case .send, .groupSend: peer.messagesIn &+= 1
        case .pong: peer.ponged(at: heard)
        default: break
        }
        guard resilience != nil else { return apply(request, from: session, at: heard) }
        // Who sends more than may be held back is delayed less; its order stays.
        if peer.held.count >= Resilience.heldMaximum { release(peer) }
        guard peer.held.isEmpty else { return peer.held.append(request) }
        switch resilience?.verdict(on: request) ?? .pass {
        case .pass: apply(request, from: session, at: heard)
        case .drop:
            core.apply(request, from: session, now: look(), isLost: true, into: &effects)
            run()
        case .delay(let delay):
            peer.held.append(request)
            loop.assumeIsolated().scheduleTask(in: delay) { self.release(peer) }
        case .disconnect:
            // The message is lost with the connection; the acknowledgement does not leave any more.
            core.apply(request, from: session, now: look(), isLost: true, into: &effects)
            run()
            peer.connection?.close()
        }
    }

    /// Applies what was held back, in order; the session may be gone by then.
    func release(_ peer: Peer) {
        guard !peer.held.isEmpty else { return }
        let held = peer.held
        peer.held.removeAll()
        guard let session = peer.session else { return }
        for request in held { apply(request, from: session, at: loop.now) }
        run()
    }

    private func apply(_ request: Request, from session: SessionID, at time: NIODeadline) {
        // What was read earlier may be handled after something that happened later.
        moment = max(moment, time)
        switch request {
        case .inspect(let id, let query): return inspect(query, id, for: session)
        case .cancel(_, let target): inspections.cancel(target, of: session)
        default: break
        }
        core.apply(request, from: session, now: Instant(nanoseconds: moment.uptimeNanoseconds), into: &effects)
        if effects.list.count >= Self.effectsMaximum { run() }
    }

    /// What may gather before it is done, in the middle of a burst.
    private static let effectsMaximum = 256

    // MARK: Effects

    /// Does what the core has decided: at the end of what one read brought, and before anything else is written.
    func run() {
        for effect in effects.list {
            switch effect {
            case .reply(.tailed(let tail, let copy), let session): pass(copy, to: tail, of: session)
            case .reply(let reply, let session): if let peer = peers[session] { write(reply, to: peer) }
            case .fanOut(let reply, let range):
                let isFirst = links.gather(reply, for: effects.targets[range], among: peers, at: moment)
                if isFirst { writeFanOutAtEndOfTurn() }
            case .close(let session, let failure): end(session, failure)
            case .drain(let within):
                // The answer leaves first.
                loop.assumeIsolated().execute { self.onDrain(within) }
            }
        }
        effects.removeAll()
        core.outsideBytes = links.heldBytes
        if links.writtenBytes > limits.memoryBytes / 64 { lookAtMemory() }
        tellCongested()
    }

    /// Passes a copy on unless it would fill the link: a tail that is not read costs only itself.
    private func pass(_ copy: Tailed, to tail: RequestID, of session: SessionID) {
        guard session != .broker else { return pass(copy, to: tail) }
        guard let peer = peers[session], links.hasRoomForCopies(peer) else {
            return core.skipCopies(copy.skipped &+ 1, of: tail, session)
        }
        write(.tailed(tail, copy), to: peer)
    }

    /// Looks at what is really held, instead of what was written since the last look.
    func lookAtMemory() {
        var held = peers.reduce(0) { $0 + ($1.peer.connection?.heldBytes ?? 0) + ($1.peer.retained?.bytes ?? 0) }
        for peer in leaving.values { held += peer.connection?.heldBytes ?? 0 }
        for peer in strangers.all { held += peer.connection?.heldBytes ?? 0 }
        links.saw(heldBytes: held)
        core.outsideBytes = held
    }

    /// Tells the core whose links are too full now. Only when no effects are being run: it must not be called then.
    func tellCongested() {
        while let session = links.nextCongested() {
            core.setCongested(true, session, now: look(), into: &effects)
            logger.warning("a process does not read what it is sent", metadata: ["session": "\(session.value)"])
        }
        endExhausted()
        if !effects.list.isEmpty { run() } else { arm() }
    }

    /// A congested peer has read everything: it is told what it missed, then messages flow again.
    func drained(_ peer: Peer) {
        guard let session = peer.session else { return }
        peer.isCongested = false
        core.setCongested(false, session, now: look(), into: &effects)
        run()
    }

    func write(_ reply: Reply, to peer: Peer) {
        links.write(reply, to: peer, at: moment)
    }

    func count(refused code: ErrorCode) {
        links.count(refused: code)
    }

    private func writeFanOutAtEndOfTurn() {
        guard !isFanOutScheduled else { return }
        isFanOutScheduled = true
        loop.assumeIsolated().execute {
            self.isFanOutScheduled = false
            self.links.writeFanOut()
            self.tellCongested()
        }
    }

    // MARK: Time

    /// Arms the one timer for the core's next deadline, and only when it moved closer.
    private func arm() {
        guard let next = core.nextDeadline else { return }
        if let timer, timer.deadline <= next { return }
        timer?.task.cancel()
        let task = loop.assumeIsolated().scheduleTask(deadline: .uptimeNanoseconds(next.nanoseconds)) {
            self.timePassed()
        }
        timer = (next, task)
    }

    func timePassed() {
        timer = nil
        core.advance(to: look(), into: &effects)
        run()
    }

    // MARK: Security

    /// Lets in by other credentials from now on, and ends the sessions they would not let in as they are.
    ///
    /// - Returns: How many sessions have ended.
    func replace(_ credentials: Credentials) -> Int {
        run()
        security.replace(credentials)
        endRevokedWatches()
        let live = Array(peers)
        var ended = 0
        for (session, peer) in live {
            do throws(Failure) {
                try security.check(peer)
            } catch {
                ended += 1
                expel(session, error)
            }
        }
        return ended
    }

    // MARK: Stopping

    /// Tells every session that the broker goes, writes what is gathered, and closes; what has not closed by itself
    /// after `within` is closed without waiting.
    ///
    /// - Returns: Completes when no connection is left.
    func stop(within: Milliseconds) -> EventLoopFuture<Void> {
        let stopped = loop.makePromise(of: Void.self)
        self.stopped = stopped
        run()
        links.writeFanOut()
        announceStop(within: within)
        endInspections()
        endWatches()
        for (session, peer) in peers where peer.connection == nil { expel(session, .stopping) }
        for peer in everyone { peer.close() }
        loop.assumeIsolated().scheduleTask(in: within.amount) {
            for peer in self.everyone { peer.connection?.close() }
        }
        checkQuiet()
        return stopped.futureResult
    }

    /// The broker goes: who ends from now on ends with it.
    func announceStop(within: Milliseconds) {
        isGoing = true
        let goAway = Reply.goAway(within: within, reason: "the broker stops", drains: false)
        for (_, peer) in peers { peer.connection?.write(goAway) }
        turn.flush()
    }

    /// Closes every connection without a word to the core: another start goes on with the sessions.
    func abandon() {
        warnOfDrops()
        endWatches()
        silenceSweep?.cancel()
        timer?.task.cancel()
        let everyone = everyone
        for (session, peer) in peers {
            peer.stopWaiting()
            _ = peers.remove(session)
        }
        for peer in everyone { peer.connection?.close() }
    }

    private var everyone: [Peer] { peers.map(\.peer) + Array(strangers.all) + Array(leaving.values) }

    /// Goes on with stopping when nobody is left who has to go first.
    func checkQuiet() {
        guard strangers.isEmpty, leaving.isEmpty else { return }
        onQuiet?()
        guard let stopped, peers.isEmpty else { return }
        silenceSweep?.cancel()
        timer?.task.cancel()
        stopped.succeed()
    }
}

extension Milliseconds {
    var amount: TimeAmount { .milliseconds(Int64(clamping: value)) }
}
