import FanfareCore
import FanfareModel
import FanfareTransport
import Logging
import NIOCore

// A planned restart: this broker stops, the next start goes on; `proto/PROTOCOL.md`, section 8.3.
extension BrokerLoop {
    /// Tells every session that the broker goes, ends those that cannot be resumed once they have read what was said,
    /// at the latest after `within`, then takes the state and closes all links.
    ///
    /// The others are served until then. What they have sent and was not read when the state is taken dies with their
    /// links; they repeat it, because `requests` of their next welcome does not count it.
    ///
    /// - Returns: The state; nothing happens after it any more.
    func handOver(within: Milliseconds) -> EventLoopFuture<BrokerState> {
        let taken = loop.makePromise(of: BrokerState.self)
        run()
        links.writeFanOut()
        announceStop(within: within)
        for (session, peer) in peers where peer.retained == nil { expel(session, .stopping) }
        for peer in strangers.all { peer.close() }
        onQuiet = { [unowned self] in
            onQuiet = nil
            // Not in the midst of what made it quiet.
            loop.assumeIsolated().execute { taken.succeed(self.takeState()) }
        }
        loop.assumeIsolated().scheduleTask(in: within.amount) { self.onQuiet?() }
        checkQuiet()
        return taken.futureResult
    }

    private func takeState() -> BrokerState {
        for (_, peer) in peers { release(peer) }
        endInspections()
        timePassed()
        links.writeFanOut()
        turn.flush()
        let now = StateFile.Moment.now(Instant(nanoseconds: loop.now.uptimeNanoseconds))
        let lasting = peers.filter { $0.peer.retained != nil }.sorted { $0.session < $1.session }
        for (session, peer) in peers where peer.retained == nil { expel(session, .stopping) }
        let kept = lasting.compactMap { _, peer in
            var kept = peer.retained?.state
            kept?.credential = peer.credential
            return kept
        }
        let state = BrokerState(
            program: core.broker,
            takenAt: now.wall,
            clock: now.clock,
            core: core.state(at: now.clock),
            kept: kept
        )
        abandon()
        return state
    }

    /// Goes on with the state of another start. Its sessions have no links yet, and as long as the grace to come back.
    ///
    /// - Throws: What makes it useless; nothing has changed then.
    func goOn(with state: BrokerState) throws(StateFailure) {
        let restored: Core
        do throws(CoreState.Contradiction) {
            restored = try Core(restoring: state.core, limits: limits, broker: core.broker, at: state.clock)
        } catch {
            throw StateFailure("it contradicts itself: \(error.text)")
        }
        let sessions = restored.liveSessions
        let retained = state.kept.compactMap { Retained($0) }
        guard retained.count == sessions.count, Set(retained.map(\.token)).count == sessions.count else {
            throw StateFailure("it contradicts itself: what is kept for sessions is none")
        }
        core = restored
        for (index, session) in sessions.enumerated() {
            let facts = state.core.sessions[index]
            let credential = state.kept[index].credential
            let peer = Peer(self, goingOnWith: session, retained[index], facts.hello, of: credential)
            peer.isCongested = facts.isCongested
            if facts.hello.capabilities.contains(Protocol.clockCapability) {
                peer.clockToldAt = .uptimeNanoseconds(0)
            }
            peers.insert(peer, session)
            resumable[retained[index].token] = session
            detach(peer, session)
            // Whether what was on its way has arrived is known when the client comes back.
            peer.repliesBeforeAway = retained[index].base
        }
        // What has ended since then, and what would not be let in as it is any more.
        timePassed()
        for (index, session) in sessions.enumerated() where peers[session] != nil {
            let hello = state.core.sessions[index].hello
            guard !security.holds(state.kept[index].credential, for: hello) else { continue }
            expel(session, .refused(.unauthorized), "its credential is no longer the same")
        }
    }
}
