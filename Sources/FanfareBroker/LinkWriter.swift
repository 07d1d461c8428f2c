import FanfareCore
import FanfareModel
import FanfareTransport
import Logging
import NIOCore

/// Everything that is said to peers: gathers fan-outs, keeps the order of each link, tells the clock ahead of messages,
/// and notices links nobody reads. One per loop.
final class LinkWriter {
    private let limits: Limits
    private let logger: Logger
    private let fanOut = FanOut()
    /// Sessions whose links became too full; the core has not been told.
    private var congested: [SessionID] = []
    /// Sessions without a link for which more is kept than may be.
    private var exhausted: [SessionID] = []
    /// What links and kept replies hold: as last looked at, and what was written since, which may have gone.
    private var seenBytes = 0
    private(set) var writtenBytes = 0
    var heldBytes: Int { seenBytes + writtenBytes }
    /// How often what was refused, by why.
    private(set) var refused: [ErrorCode: UInt64] = [:]
    /// How long group sends took, from the read that brought them until every link had been written them. Those that are
    /// written together share the time of the first: the clock is read once for all of them.
    private(set) var fanOutSeconds = Histogram.ofWorkSeconds

    init(limits: Limits, logger: Logger) {
        self.limits = limits
        self.logger = logger
    }

    // MARK: One link

    /// Writes one reply behind everything said to `peer` before.
    func write(_ reply: Reply, to peer: Peer, at now: NIODeadline) {
        if peer.isInFanOut { catchUp(peer) }
        switch reply {
        case .error(_, let failure):
            count(refused: failure.code)
            if peer.isStranger {
                peer.ending = (.refused(failure.code), failure.text)
                ConnectionLog.refused(peer, failure, logger)
            }
        case .deliver, .handOut:
            peer.messagesOut &+= 1
            tellClock(to: peer, at: now)
        default: break
        }
        if let retained = peer.retained {
            write(reply, to: peer, retained)
        } else {
            peer.connection?.write(reply)
        }
        wrote(Self.bytesAtMost(reply), to: peer)
    }

    func count(refused code: ErrorCode) {
        refused[code, default: 0] += 1
    }

    /// Tells the broker's clock ahead of messages, if it was not told a moment ago: the time they spend on the link
    /// counts against their life.
    func tellClock(to peer: Peer, at now: NIODeadline) {
        guard let told = peer.clockToldAt, now - told >= Protocol.clockInterval.amount else { return }
        peer.clockToldAt = now
        let clock = Reply.clock(Milliseconds(now.uptimeNanoseconds / 1_000_000))
        peer.connection?.write(clock)
        peer.retained?.keep(clock: clock)
        peer.unheededBytes -= Self.smallBytes
    }

    // MARK: Fan-outs

    /// Gathers a fan-out with those before it that went to the same sessions.
    ///
    /// - Returns: Whether it is the first one, so that ``writeFanOut()`` has to be called when the turn ends.
    func gather(_ reply: Reply, for sessions: ArraySlice<SessionID>, among peers: Peers, at now: NIODeadline) -> Bool {
        let takesMore = fanOut.takesMore(for: sessions)
        if !takesMore {
            writeFanOut()
            fanOut.begin(sessions, among: peers, at: now)
        }
        fanOut.append(reply)
        return !takesMore
    }

    /// Writes what is gathered of a fan-out to each of its links.
    func writeFanOut() {
        guard !fanOut.isEmpty else { return }
        for peer in fanOut.peers { catchUp(peer) }
        let took = NIODeadline.now() - fanOut.begunAt
        fanOutSeconds.record(Double(took.nanoseconds) / 1e9, times: UInt64(fanOut.frameCount))
        fanOut.removeAll()
    }

    /// Says to a peer that goes what is gathered for it, and nothing more.
    func dismiss(_ peer: Peer) {
        if peer.isInFanOut { catchUp(peer) }
        fanOut.remove(peer)
    }

    /// Writes what is gathered of a fan-out to one of its links, ahead of anything else it is to be told.
    private func catchUp(_ peer: Peer) {
        guard !fanOut.isEmpty else { return }
        tellClock(to: peer, at: fanOut.begunAt)
        let bytes = fanOut.write(to: peer)
        if let retained = peer.retained { checkKept(retained, of: peer) }
        wrote(bytes, to: peer)
    }

    // MARK: Sessions that can be resumed

    /// Writes a reply of a session that can be resumed: what counts is kept.
    private func write(_ reply: Reply, to peer: Peer, _ retained: Retained) {
        switch reply {
        case .welcome, .ping, .clock: peer.connection?.write(reply)
        case .goAway:
            if let connection = peer.connection { connection.write(reply) } else { peer.owedGoAway = reply }
        default:
            retained.write(reply, to: peer.connection)
            checkKept(retained, of: peer)
        }
    }

    /// Holds what is kept for a session to its bound: forgotten while the session has a link, on which it is under way;
    /// without one nothing more is pushed, and at twice the bound the session ends.
    private func checkKept(_ retained: Retained, of peer: Peer) {
        guard retained.bytes > limits.resumeBytes else { return }
        guard peer.connection?.isOpen != true else {
            retained.forget()
            if peer.clockToldAt != nil { peer.clockToldAt = .uptimeNanoseconds(0) }
            return
        }
        guard let session = peer.session else { return }
        noteCongested(peer, session)
        if retained.bytes > 2 * limits.resumeBytes { exhausted.append(session) }
    }

    // MARK: Links that are not read

    /// A session whose link became too full; each is named once.
    func nextCongested() -> SessionID? { congested.popLast() }

    /// A session that has no link and must end.
    func nextExhausted() -> SessionID? { exhausted.popLast() }

    private func noteCongested(_ peer: Peer, _ session: SessionID) {
        guard !peer.isCongested else { return }
        peer.isCongested = true
        congested.append(session)
    }

    /// What a reply adds to what waits for its link, at most; `nil` when that has to be looked up.
    private static func bytesAtMost(_ reply: Reply) -> Int? {
        switch reply {
        case .ack, .pong: smallBytes
        case .deliver(let channel, let body, _, let trace):
            channel.utf8.count + body.count + trace.heldBytes + 2 * smallBytes
        case .tailed(_, let copy): copy.body.count + copy.name.utf8.count + copy.namespace.utf8.count + 4 * smallBytes
        case .handOut(_, let message): message.body.count + message.trace.heldBytes + 4 * smallBytes
        default: nil
        }
    }

    /// More than a frame takes that holds one number besides its operation, and than the head of any field.
    private static let smallBytes = 16
    /// About what a frame takes whose size is not looked at.
    private static let otherBytes = 1_024

    /// Takes note of what really is held.
    func saw(heldBytes: Int) {
        seenBytes = heldBytes
        writtenBytes = 0
    }

    /// Whether a peer may be sent copies for its tails: they must not fill its link.
    func hasRoomForCopies(_ peer: Peer) -> Bool {
        guard let connection = peer.connection else { return false }
        return connection.pendingBytes <= limits.tailBytes
    }

    /// A link whose oldest byte has waited too long counts as one on which too much waits.
    func checkAge(of peer: Peer, _ session: SessionID, at tick: Int) {
        guard let since = peer.connection?.waitingSince, tick - since >= Int(clamping: limits.linkAge.value) else {
            return
        }
        noteCongested(peer, session)
    }

    private func wrote(_ bytes: Int?, to peer: Peer) {
        writtenBytes += (bytes ?? Self.otherBytes) * (peer.retained == nil ? 1 : 2)
        peer.unheededBytes -= bytes ?? peer.unheededBytes + 1
        if peer.unheededBytes < 0 { checkLink(of: peer) }
    }

    /// A peer that does not read costs only itself: over the bound it is pushed nothing until it reads again. Answers it
    /// asks for and does not read go on; at twice the bound its connection closes.
    private func checkLink(of peer: Peer) {
        guard let connection = peer.connection, connection.isOpen else { return }
        let pendingBytes = connection.pendingBytes
        // What waits grows by no more than what is written: until then there is no need to look again.
        peer.unheededBytes = max(0, limits.linkBytes - pendingBytes)
        guard pendingBytes > limits.linkBytes else { return }
        if let session = peer.session { noteCongested(peer, session) }
        guard pendingBytes > 2 * limits.linkBytes else { return }
        count(refused: .linkOverflow)
        peer.ending = (.refused(.linkOverflow), "\(pendingBytes) bytes waited for a connection that did not read")
        logger.warning(
            "connection closed: it does not read what it is sent",
            metadata: ["session": "\(peer.session?.value ?? 0)", "link_bytes": "\(pendingBytes)"]
        )
        connection.close()
    }
}
