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
    private var effects = Effects()
    var peers = Peers()
    /// The sessions that can be resumed, by their tokens.
    var resumable: [Body: SessionID] = [:]
    var resumeCounts = ResumeCounts()
    /// What an admin's `drain` of the broker does.
    var onDrain: (Milliseconds) -> Void = { _ in }
    var strangers = Strangers()
    let security: Security
    /// Peers that have been told the last and may still read it; the sweep closes those that do not.
    private var leaving: [ObjectIdentifier: Peer] = [:]
    let links: LinkWriter
    private var isFanOutScheduled = false
    private var timer: (deadline: Instant, task: Scheduled<Void>)?
    private var ended = Observed.Traffic()
    private var silenceSweep: Sweep?
    private var sweeps = 0
    private var resilience: Resilience?
    private let startedAt: Instant
    /// When what is being done happens.
    private var moment = NIODeadline.uptimeNanoseconds(0)
    /// Entries of `status` that do not change while the broker runs.
    var facts: [String: MessageValue]
    /// What happens when the last connection that must end before a handover has gone.
    var onQuiet: (() -> Void)?
    /// Completed when the last connection has gone, once stopping has begun.
    private var stopped: EventLoopPromise<Void>?

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
        silenceSweep = Sweep(loop: loop, every: .seconds(1)) { [unowned self] in sweep() }
    }

    /// Looks at the clock, which the requests of one read and what follows from them do once.
    private func look() -> Instant {
        moment = loop.now
        return Instant(nanoseconds: moment.uptimeNanoseconds)
    }

    // MARK: Connections

    func arrived(_ peer: Peer) {
        if let refusal = strangers.refusal(of: peer, limits) {
            write(.error(nil, refusal), to: peer)
            peer.close()
            // What it does not take at once is not kept for it; in front of a TLS handshake, that is all of it.
            if let connection = peer.connection, connection.pendingBytes > 0 { connection.close() }
            return
        }
        peer.arrivedAt = loop.now
        strangers.insert(peer)
    }

    func left(_ peer: Peer) {
        defer { checkQuiet() }
        strangers.remove(peer)
        leaving.removeValue(forKey: ObjectIdentifier(peer))
        links.dismiss(peer)
        guard let session = peer.session, peers[session] === peer else { return }
        release(peer)
        if peer.retained != nil, stopped == nil { detach(peer, session) } else { expel(session, nil) }
    }

    /// Ends a session that has not asked for it, and says why if there is something to say.
    func expel(_ session: SessionID, _ failure: Failure?) {
        core.close(session, now: look(), into: &effects)
        run()
        end(session, failure)
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
        if let token = resumption?.token {
            peer.retained = Retained(token: token)
            resumable[token] = session
        }
        if hello.capabilities.contains(Protocol.clockCapability) { peer.clockToldAt = .uptimeNanoseconds(0) }
        run()
        links.tellClock(to: peer, at: moment)
        logger.debug(
            "session opened",
            metadata: ["session": "\(session.value)", "name": "\(hello.name)", "client": "\(hello.client)"]
        )
        return session
    }

    /// Applies a request, unless the resilience mode has other plans with it.
    func received(_ request: Request, from session: SessionID, _ peer: Peer) {
        let heard = peer.connection?.lastHeard ?? moment
        guard resilience != nil else { return apply(request, from: session, at: heard) }
        // Who sends more than may be held back is delayed less; its order stays.
        if peer.held.count >= Resilience.heldMaximum { release(peer) }
        guard peer.held.isEmpty else { return peer.held.append(request) }
        switch resilience?.verdict(on: request) ?? .pass {
        case .pass: apply(request, from: session, at: heard)
        case .drop:
            core.letFall(request, from: session, now: look(), into: &effects)
            run()
        case .delay(let delay):
            peer.held.append(request)
            loop.assumeIsolated().scheduleTask(in: delay) { self.release(peer) }
        case .disconnect:
            // The message is lost with the connection; the acknowledgement does not leave any more.
            core.letFall(request, from: session, now: look(), into: &effects)
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
        if case .inspect = request {
            run()
            core.observed = observe()
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
        tellCongested()
    }

    /// Tells the core whose links are too full now. Only when no effects are being run: it must not be called then.
    private func tellCongested() {
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

    private func end(_ session: SessionID, _ failure: Failure?) {
        guard let peer = peers.remove(session) else { return }
        if let retained = peer.retained { resumable.removeValue(forKey: retained.token) }
        peer.retained = nil
        peer.grace?.cancel()
        add(peer.traffic, to: &ended)
        if let failure { write(.error(nil, failure), to: peer) }
        dismiss(peer)
        logger.debug("session ended", metadata: ["session": "\(session.value)"])
        checkQuiet()
    }

    /// Closes a connection once the peer has taken what was said last, which it may never do.
    private func dismiss(_ peer: Peer) {
        links.dismiss(peer)
        guard peer.connection != nil else { return }
        leaving[ObjectIdentifier(peer)] = peer
        peer.close()
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

    /// What was dropped since the last second, by name, a few names a time: nothing is lost without a word, and no flood
    /// of losses becomes a flood of lines.
    private func warnOfDrops() {
        let news = core.takeDropNews(most: Self.namesPerWarning)
        for drop in news.drops {
            logger.warning(
                "messages dropped",
                metadata: [
                    "namespace": "\(drop.namespace)", "\(drop.kind)": "\(drop.name)", "worker": "\(drop.worker)",
                    "reason": "\(drop.reason.name)", "count": .stringConvertible(drop.count),
                ]
            )
        }
        if news.further > 0 {
            logger.warning("messages dropped for further names", metadata: ["names": .stringConvertible(news.further)])
        }
    }

    private static let namesPerWarning = 5

    /// A broker that loses messages on purpose says so at once and every minute.
    private func warnOfResilience() {
        guard let resilience else { return }
        if sweeps % 60 == 0 {
            logger.warning(
                "RESILIENCE TESTING: this broker loses, delays and disconnects on purpose",
                metadata: ["faults": "\(resilience.settings)"]
            )
        }
        sweeps += 1
    }

    /// Once a second: strangers that do not say hello go, silent sessions are pinged, then given up.
    private func sweep() {
        let now = loop.now
        warnOfDrops()
        warnOfResilience()
        for peer in leaving.values where isSilent(peer, for: limits.silenceMaximum, at: now) {
            peer.connection?.close()
        }
        // From the arrival on: a hello that comes a byte at a time is late too.
        for peer in strangers.late(at: now, after: limits.helloWithin.amount) {
            // Who was told the last already and has not taken it has had its time.
            guard let connection = peer.connection, connection.isOpen else {
                peer.connection?.close()
                continue
            }
            write(.error(nil, Failure(.helloExpected, "no HELLO within \(limits.helloWithin.value) ms")), to: peer)
            peer.close()
        }
        for (session, peer) in peers {
            if isSilent(peer, for: limits.silenceMaximum, at: now) {
                giveUp(peer, session)
            } else if !peer.isPinged, isSilent(peer, for: limits.pingAfter, at: now) {
                peer.isPinged = true
                peer.connection?.write(Reply.ping(1))
            }
        }
    }

    /// A session that can be resumed only loses its link, without a word: one would count among its replies.
    private func giveUp(_ peer: Peer, _ session: SessionID) {
        guard peer.retained == nil else {
            count(refused: .silence)
            peer.connection?.close()
            return
        }
        let text = "nothing was heard from this connection for \(limits.silenceMaximum.value) ms"
        expel(session, Failure(.silence, text))
    }

    private func isSilent(_ peer: Peer, for bound: Milliseconds, at now: NIODeadline) -> Bool {
        guard let connection = peer.connection else { return false }
        return now - connection.lastHeard >= bound.amount
    }

    // MARK: Security

    /// Lets in by other credentials from now on, and ends the sessions they would not let in as they are.
    ///
    /// - Returns: How many sessions have ended.
    func replace(_ credentials: Credentials) -> Int {
        run()
        security.replace(credentials)
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

    // MARK: Inspection

    func status() -> MessageValue {
        core.observed = observe()
        let answer = try? core.inspect(InspectionQuery(.status), now: look())
        return answer ?? .null
    }

    private func observe() -> Observed {
        var observed = Observed()
        var total = ended
        var detached = 0
        for (session, peer) in peers {
            var traffic = Observed.Traffic()
            add(peer.traffic, to: &traffic)
            add(peer.traffic, to: &total)
            if let connection = peer.connection {
                traffic.linkBytes = connection.pendingBytes
            } else {
                traffic.linkBytes = peer.retained?.bytes ?? 0
                let away = loop.now - peer.awaySince
                traffic.away = Milliseconds(UInt64(clamping: away.nanoseconds / 1_000_000))
                detached += 1
            }
            observed.traffic[session] = traffic
        }
        observed.status = facts
        if let resilience { observed.status["resilience_testing"] = resilience.status }
        observed.status.merge(security.status) { $1 }
        observed.status["uptime_milliseconds"] = .count(startedAt.milliseconds(until: look()).value)
        observed.status["detached"] = .count(detached)
        observed.status["resumed"] = .count(resumeCounts.resumed)
        observed.status["resume_refused"] = .count(resumeCounts.refused)
        observed.status["strangers"] = .count(strangers.count)
        observed.status["frames_in"] = .count(total.framesIn)
        observed.status["frames_out"] = .count(total.framesOut)
        observed.status["bytes_in"] = .count(total.bytesIn)
        observed.status["bytes_out"] = .count(total.bytesOut)
        observed.status["errors"] = .count(links.refused.values.reduce(0, +))
        observed.status["refused"] = .map(
            Dictionary(uniqueKeysWithValues: links.refused.map { ($0.key.name, MessageValue.count($0.value)) })
        )
        return observed
    }

    private func add(_ traffic: FrameConnection.Traffic, to total: inout Observed.Traffic) {
        total.framesIn += traffic.framesIn
        total.framesOut += traffic.framesOut
        total.bytesIn += traffic.bytesIn
        total.bytesOut += traffic.bytesOut
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
        for (session, peer) in peers where peer.connection == nil { expel(session, nil) }
        for peer in everyone { peer.close() }
        loop.assumeIsolated().scheduleTask(in: within.amount) {
            for peer in self.everyone { peer.connection?.close() }
        }
        checkQuiet()
        return stopped.futureResult
    }

    func announceStop(within: Milliseconds) {
        let goAway = Reply.goAway(within: within, reason: "the broker stops", drains: false)
        for (_, peer) in peers { peer.connection?.write(goAway) }
        turn.flush()
    }

    /// Closes every connection without a word to the core: another start goes on with the sessions.
    func abandon() {
        warnOfDrops()
        silenceSweep?.cancel()
        timer?.task.cancel()
        let everyone = everyone
        for (session, peer) in peers {
            peer.grace?.cancel()
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
