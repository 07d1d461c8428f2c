import FanfareCore
import FanfareModel
import FanfareProtocol
import FanfareTransport
import Logging
import NIOCore

// Sessions that outlive their links; `proto/PROTOCOL.md`, section 8.2. The core hardly learns of it: a session without a
// link is one whose replies are kept.
extension BrokerLoop {
    /// What became of sessions whose links broke, since the start.
    struct ResumeCounts {
        /// Links that went on with a session.
        var resumed: UInt64 = 0
        /// Hellos whose session could not go on.
        var refused: UInt64 = 0
    }

    /// What the welcome of a new session says about resuming; `nil` for a client that cannot.
    func newResumption(for hello: Hello) -> Welcome.Resumption? {
        guard hello.capabilities.contains(Protocol.resumeCapability) else { return nil }
        let token = (0..<Retained.tokenBytes).map { _ in UInt8.random(in: .min ... .max) }
        return Welcome.Resumption(token: token, grace: limits.resumeGrace)
    }

    // MARK: Without a link

    /// Keeps a session whose link is gone for as long as the grace lasts.
    func detach(_ peer: Peer, _ session: SessionID) {
        core.endTails(of: session)
        peer.awaySince = loop.now
        peer.repliesBeforeAway = peer.retained?.count ?? 0
        peer.grace = loop.assumeIsolated().scheduleTask(in: limits.resumeGrace.amount) { self.graceEnded(session) }
        // Nobody comes back from a process that has ended.
        if let process = peer.arrival.user?.process, let loop = loop as? EpollLoop {
            peer.departure = ProcessWatch(of: process, on: loop) {
                self.expelIfAway(session, .processEnded, "the process \(process) has ended")
            }
        }
        logger.debug("session lost its link", metadata: ["session": "\(session.value)"])
    }

    /// Counts the group messages that were kept for a session whose client does not come back. Direct ones are counted
    /// by the core.
    func countLost(_ peer: Peer, of session: SessionID) {
        guard peer.connection == nil, let retained = peer.retained else { return }
        retained.forEach(after: peer.repliesBeforeAway) { payload in
            guard case .groupDeliver(let delivery)? = (try? reader.reply(payload))?.first else { return }
            core.lose(delivery, of: session, now: look())
        }
    }

    private func graceEnded(_ session: SessionID) {
        let (reason, detail) = peers[session]?.ending ?? (.connectionLost, "the connection broke")
        expelIfAway(session, reason, "\(detail); its client did not come back within \(limits.resumeGrace.value) ms")
    }

    private func expelIfAway(_ session: SessionID, _ reason: EndReason, _ detail: String) {
        guard let peer = peers[session], peer.connection == nil else { return }
        expel(session, reason, detail)
    }

    /// Ends sessions for which more is kept than may be, while nobody comes for it.
    func endExhausted() {
        while let session = links.nextExhausted() {
            guard let peer = peers[session], let kept = peer.retained?.bytes else { continue }
            logger.warning(
                "session ended: too much waits for a client that is away",
                metadata: ["session": "\(session.value)", "bytes": .stringConvertible(kept)]
            )
            expel(session, .refused(.linkOverflow), "\(kept) bytes were kept for a client that was away")
        }
    }

    // MARK: A link again

    /// Goes on with the session a hello names, on the link of `peer`: all or nothing.
    ///
    /// - Returns: `nil` when that cannot be; the session, if it still lived, has ended then.
    func resume(_ hello: Hello, on peer: Peer) -> SessionID? {
        guard let resume = hello.resume, let connection = peer.connection else { return nil }
        guard let session = resumable[resume.token], let former = peers[session], let retained = former.retained,
            let (opened, welcome) = core.introduction(of: session)
        else {
            refuse(resume, "it has ended", SessionID(0))
            return nil
        }
        // Whoever has another's token takes nothing over with it, and ends nothing.
        guard former.credential == peer.credential else {
            refuse(resume, "its credential is another", session)
            return nil
        }
        // Requests held back on purpose were taken.
        release(former)
        links.dismiss(former)
        if let why = obstacle(to: hello, opened, retained, resume.received) {
            refuse(resume, why, session)
            expel(session, .connectionLost, "its client came back and could not go on: \(why)")
            return nil
        }
        former.connection?.close()
        peer.takeOver(former)
        peer.pingDueAt = loop.now + firstPing(of: session)
        peers.replace(session, by: peer)
        strangers.remove(peer)
        retained.arrived(upTo: resume.received)
        go(on: connection, peer, retained, welcome)
        resumeCounts.resumed += 1
        logger.debug("session resumed", metadata: ["session": "\(session.value)"])
        return session
    }

    /// Why a hello cannot go on with a session; `nil` when it can.
    private func obstacle(to hello: Hello, _ opened: Hello, _ retained: Retained, _ received: UInt64) -> String? {
        if hello.protocolVersion != opened.protocolVersion { return "its protocol is another" }
        if hello.namespace != opened.namespace || hello.node != opened.node || hello.role != opened.role {
            return "its namespace, node or role is another"
        }
        if !hello.capabilities.contains(Protocol.resumeCapability) { return "the client cannot resume any more" }
        if !retained.hasAll(after: received) { return "what follows reply \(received) is not kept" }
        return nil
    }

    private func refuse(_ resume: Hello.Resume, _ why: String, _ session: SessionID) {
        resumeCounts.refused += 1
        logger.info(
            "session not resumed",
            metadata: [
                "session": "\(session.value)", "reason": "\(why)", "received": .stringConvertible(resume.received),
            ]
        )
    }

    /// Says on a new link what the old one may not have brought.
    private func go(on connection: FrameConnection, _ peer: Peer, _ retained: Retained, _ welcome: Welcome) {
        var welcome = welcome
        welcome.resumption = Welcome.Resumption(
            token: retained.token,
            grace: limits.resumeGrace,
            resumedAfter: retained.requestsTaken
        )
        connection.write(.welcome(welcome))
        // The time now is what the client compares the older clocks of what it missed with.
        if peer.clockToldAt != nil { connection.write(.clock(Milliseconds(loop.now.uptimeNanoseconds / 1_000_000))) }
        retained.repeatAll(to: connection)
        if peer.clockToldAt != nil { peer.clockToldAt = .uptimeNanoseconds(0) }
        if let owed = peer.owedGoAway { connection.write(owed) }
        peer.owedGoAway = nil
        guard peer.isCongested else { return }
        // A link that takes all of it at once never tells that it has drained.
        turn.flush()
        if connection.pendingBytes == 0 { drained(peer) }
    }
}
