import FanfareCore
import FanfareModel
import FanfareTransport
import Logging
import NIOCore

// Sessions and connections that end, and why: what `INSPECT closed` lists.
extension BrokerLoop {
    /// Why what a connection carried ends with it.
    func reasonToEnd(_ peer: Peer) -> (EndReason, String) {
        stopped == nil ? peer.ending ?? (.connectionLost, "") : (.stopping, "")
    }

    /// A connection that never had a session has ended.
    func noteStranger(_ peer: Peer) {
        let arrivedAt = Instant(nanoseconds: peer.arrivedAt.uptimeNanoseconds)
        let (reason, detail) = reasonToEnd(peer)
        var entry = ClosedConnection(reason, peer.hello, openedAt: arrivedAt, endedAt: look())
        entry.detail = detail
        entry.remote = peer.remote
        entry.traffic = peer.traffic
        core.closed.add(entry)
    }

    /// Ends a session for an error, and tells it.
    func expel(_ session: SessionID, _ failure: Failure) {
        expel(session, .refused(failure.code), failure.text, telling: failure)
    }

    /// Ends a session that has not asked for it.
    ///
    /// - Parameters:
    ///   - detail: What happened, for people.
    ///   - failure: What the session is told, if there is something to say.
    func expel(_ session: SessionID, _ reason: EndReason, _ detail: String = "", telling failure: Failure? = nil) {
        if let peer = peers[session], peer.connection == nil {
            run()
            links.dismiss(peer)
            countLost(peer, of: session)
        }
        core.close(session, reason, detail, now: look(), into: &effects)
        run()
        end(session, failure)
    }

    func end(_ session: SessionID, _ failure: Failure?) {
        guard let peer = peers.remove(session) else { return }
        if let retained = peer.retained { resumable.removeValue(forKey: retained.token) }
        peer.retained = nil
        peer.stopWaiting()
        inspections.end(of: session)
        ended += peer.traffic
        core.closed.complete(session, remote: peer.remote, peer.traffic)
        if let failure { write(.error(nil, failure), to: peer) }
        dismiss(peer)
        logger.debug("session ended", metadata: ["session": "\(session.value)"])
        checkQuiet()
    }

    /// Closes a connection once the peer has taken what was said last, or has had the time for it.
    ///
    /// At once when more than `tail_bytes` waits: who has not read so far will not begin now. Not when the broker itself
    /// goes, which has a deadline of its own and may have much to say to peers that read.
    func dismiss(_ peer: Peer) {
        links.dismiss(peer)
        guard peer.connection != nil else { return }
        leaving[ObjectIdentifier(peer)] = peer
        peer.dismissedAt = loop.now
        peer.close()
        guard !isGoing, let connection = peer.connection, connection.pendingBytes > limits.tailBytes else { return }
        cutOff(peer)
    }

    /// Lets go of the connections that were told the last and have not read it within the time a hello may take.
    func endLateLeavers(at now: NIODeadline) {
        guard !isGoing else { return }
        for peer in leaving.values where now - peer.dismissedAt >= limits.helloWithin.amount { cutOff(peer) }
    }

    /// Closes a connection that ends, with what waits for it.
    private func cutOff(_ peer: Peer) {
        count(refused: .linkOverflow)
        peer.connection?.close()
    }
}
