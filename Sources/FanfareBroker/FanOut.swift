import FanfareModel
import FanfareProtocol
import FanfareTransport
import NIOCore

/// Frames for the very same links, one behind the other in one buffer: each link is written all of them at once.
///
/// A link that is to be told something else in between is written what it has not got yet first: order is kept.
/// One per loop.
final class FanOut {
    /// What a link has been written of the gathered frames.
    struct Position {
        var bytes = 0
        var frames = 0
    }

    private let frames = FrameBuffer()
    /// Frames that are gathered.
    private(set) var frameCount = 0
    /// Who gets the frames; kept when they have been written, the next ones are likely to go there too.
    private(set) var peers: ContiguousArray<Peer> = []
    private var sessions: ContiguousArray<SessionID> = []
    /// When the first frame was gathered.
    private(set) var begunAt = NIODeadline.uptimeNanoseconds(0)

    /// What is gathered at most, and one frame more: it is read once for each link and should stay in the cache.
    private static let bytesMaximum = 65_536

    var isEmpty: Bool { frameCount == 0 }

    /// Whether a frame for `sessions` can go with those gathered.
    func takesMore(for sessions: ArraySlice<SessionID>) -> Bool {
        !isEmpty && frames.count < Self.bytesMaximum && self.sessions.elementsEqual(sessions)
    }

    /// Begins anew; everything gathered has been written.
    func begin(_ sessions: ArraySlice<SessionID>, among seated: Peers, at now: NIODeadline) {
        begunAt = now
        guard !self.sessions.elementsEqual(sessions) else { return }
        for peer in peers { peer.isInFanOut = false }
        self.sessions = ContiguousArray(sessions)
        peers = ContiguousArray(sessions.compactMap { seated[$0] })
        for peer in peers { peer.isInFanOut = true }
    }

    func append(_ reply: Reply) {
        frames.append(reply)
        frameCount += 1
    }

    /// Writes what `peer` has not got yet.
    ///
    /// - Returns: How many bytes that was.
    func write(to peer: Peer) -> Int {
        let position = peer.fanOutPosition
        guard position.frames < frameCount else { return 0 }
        frames.withUnsafeBytes { bytes in
            let news = UnsafeRawBufferPointer(rebasing: bytes[position.bytes...])
            peer.connection?.write(encoded: news)
            peer.retained?.keep(news, count: frameCount - position.frames)
        }
        peer.messagesOut &+= UInt64(frameCount - position.frames)
        if peer.connection != nil { peer.framesMerged += UInt64(frameCount - position.frames - 1) }
        peer.fanOutPosition = Position(bytes: frames.count, frames: frameCount)
        return frames.count - position.bytes
    }

    /// Forgets the frames.
    func removeAll() {
        for peer in peers { peer.fanOutPosition = Position() }
        frames.removeAll()
        frameCount = 0
    }

    /// Forgets a peer that goes, or whose link does.
    func remove(_ peer: Peer) {
        guard peer.isInFanOut else { return }
        peer.isInFanOut = false
        // It may come again, when its session outlives its link.
        peer.fanOutPosition = Position()
        peers.removeAll { $0 === peer }
        sessions.removeAll { $0 == peer.session }
    }
}
