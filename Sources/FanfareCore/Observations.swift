package import FanfareModel

/// What the shell has counted and the core cannot know, for an `INSPECT`.
package protocol Observations {
    func observation(of session: SessionID) -> SessionObservation
    /// Further entries of `status`: endpoints, pid, uptime, totals.
    var status: [String: MessageValue] { get }
}

/// What the shell knows of one session.
package struct SessionObservation: Sendable {
    package var traffic = Traffic()
    /// Messages it sent, and messages passed to it, a second.
    package var rateIn = Rate()
    package var rateOut = Rate()
    /// Where it connects from; empty when it has no connection and never had one.
    package var remote = ""
    /// The last round trip, or how long one has been unanswered if that is longer; `nil` before the first.
    package var lagMilliseconds: Double?
    /// Bytes waiting to be written.
    package var linkBytes = 0
    /// How long the session has been without a connection; `nil` while it has one.
    package var away: Milliseconds?

    package init() {}
}

/// What has passed over the connections of one session, or of all.
package struct Traffic: Sendable, Equatable {
    package var framesIn: UInt64 = 0
    package var framesOut: UInt64 = 0
    package var bytesIn: UInt64 = 0
    package var bytesOut: UInt64 = 0
    /// `SEND` and `GROUP_SEND`.
    package var messagesIn: UInt64 = 0
    /// `DELIVER`, `GROUP_DELIVER` and `HAND_OUT`.
    package var messagesOut: UInt64 = 0

    package init() {}
}

/// A core without a shell that counts.
package struct NothingObserved: Observations {
    package init() {}

    package func observation(of session: SessionID) -> SessionObservation { SessionObservation() }

    package var status: [String: MessageValue] { [:] }
}
