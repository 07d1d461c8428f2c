import FanfareCore
import FanfareModel
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

    /// Closes a connection once the peer has taken what was said last, which it may never do.
    func dismiss(_ peer: Peer) {
        links.dismiss(peer)
        guard peer.connection != nil else { return }
        leaving[ObjectIdentifier(peer)] = peer
        peer.close()
    }
}
