import FanfareCore
import FanfareModel
import FanfareTransport
import Logging
import NIOCore

// Once a second: who is silent, who does not read, and what has to be warned of.
extension BrokerLoop {
    /// What was dropped since the last second, by name, a few names a time: nothing is lost without a word, and no flood
    /// of losses becomes a flood of lines.
    func warnOfDrops() {
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

    /// What was refused since the last second because the memory budget is used up.
    private func warnOfMemory() {
        let refusals = core.counters.memoryRefusals
        guard refusals > memoryRefusalsWarned else { return }
        logger.warning(
            "memory budget used up: messages, sessions and memberships are refused",
            metadata: [
                "refusals": .stringConvertible(refusals - memoryRefusalsWarned),
                "bytes": .stringConvertible(core.memoryInUse), "memory_bytes": .stringConvertible(limits.memoryBytes),
            ]
        )
        memoryRefusalsWarned = refusals
    }

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

    /// Says since when what is written from now on waits, if it has to: in milliseconds of the loop's clock.
    func moveTick() {
        turn.tick = Int(clamping: loop.now.uptimeNanoseconds / 1_000_000)
    }

    /// Once a second: strangers that do not say hello go, silent sessions are pinged, then given up.
    func sweep() {
        let now = loop.now
        moveTick()
        lookAtMemory()
        warnOfDrops()
        warnOfMemory()
        warnOfResilience()
        endLateLeavers(at: now)
        // From the arrival on: a hello that comes a byte at a time is late too.
        let late = strangers.late(at: now, after: limits.helloWithin.amount)
        loop.runForEach(late[...], perTurn: Self.dismissedPerTurn) { [self] in dismiss(late: $0) }
        for (session, peer) in peers {
            if isSilent(peer, for: limits.silenceMaximum, at: now) {
                giveUp(peer, session)
            } else if now >= peer.pingDueAt || isSilent(peer, for: limits.pingAfter, at: now) {
                peer.ping(at: now)
            }
            peer.rates.look(at: peer.traffic, Instant(nanoseconds: now.uptimeNanoseconds))
            links.checkAge(of: peer, session, at: turn.tick)
        }
        tellCongested()
    }

    /// Lets go of a connection that has not said hello in time.
    private func dismiss(late peer: Peer) {
        guard peer.isStranger else { return }
        // Who was told the last already and has not taken it has had its time.
        guard let connection = peer.connection, connection.isOpen else {
            peer.connection?.close()
            return
        }
        write(.error(nil, Failure(.helloExpected, "no HELLO within \(limits.helloWithin.value) ms")), to: peer)
        peer.close()
    }

    private static let dismissedPerTurn = 8

    /// When a session is first pinged: sessions that came together are not all pinged together.
    func firstPing(of session: SessionID) -> TimeAmount {
        .nanoseconds(limits.roundTripEvery.amount.nanoseconds / 64 * Int64(session.value % 64))
    }

    /// A session that can be resumed only loses its link, without a word: one would count among its replies.
    private func giveUp(_ peer: Peer, _ session: SessionID) {
        let text = "nothing was heard from this connection for \(limits.silenceMaximum.value) ms"
        guard peer.retained == nil else {
            count(refused: .silence)
            peer.ending = (.refused(.silence), text)
            peer.connection?.close()
            return
        }
        expel(session, Failure(.silence, text))
    }

    private func isSilent(_ peer: Peer, for bound: Milliseconds, at now: NIODeadline) -> Bool {
        guard let connection = peer.connection else { return false }
        return now - connection.lastHeard >= bound.amount
    }
}
