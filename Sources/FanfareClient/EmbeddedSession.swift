import DequeModule
import FanfareModel
import NIOCore

/// What the embedded broker knows of a session beside the core: its link, and what it takes to go on over another one
/// (`proto/PROTOCOL.md`, section 8.2).
final class EmbeddedSession {
    var link: EmbeddedLink?
    /// Names the session in the hello of another link; `nil`: it ends with its link.
    let token: Body?
    /// Counted requests taken.
    private(set) var taken: UInt64 = 0
    /// Ends the session when no link has come by then.
    var grace: Scheduled<Void>?
    private var kept: Deque<Reply> = []
    /// Counted replies before the first one kept.
    private var base: UInt64 = 0

    /// More than this nobody keeps: a session of this process says every 50 ms what it has received.
    private static let keptMaximum = 262_144

    init(token: Body?) {
        self.token = token
    }

    func note(_ request: Request) {
        if case .pong = request { return }
        taken += 1
        if case .report(let report) = request { forget(through: report.received) }
    }

    func note(_ reply: Reply) {
        switch reply {
        case .welcome, .ping, .clock, .goAway: return
        default: break
        }
        guard token != nil else { return }
        if kept.count >= Self.keptMaximum {
            base += UInt64(kept.count)
            kept.removeAll()
        }
        kept.append(reply)
    }

    private func forget(through received: UInt64) {
        while base < received, kept.popFirst() != nil { base += 1 }
    }

    /// What to repeat to a client that has so much of it; `nil` when that is not to be had.
    func replies(after received: UInt64) -> [Reply]? {
        guard (base...base + UInt64(kept.count)).contains(received) else { return nil }
        forget(through: received)
        return Array(kept)
    }
}
