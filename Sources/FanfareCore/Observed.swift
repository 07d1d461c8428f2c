package import FanfareModel

/// What the shell has counted and the core cannot know; the shell sets it just before an `INSPECT`.
package struct Observed: Sendable {
    /// Bytes and frames of one session.
    package struct Traffic: Sendable, Equatable {
        package var framesIn: UInt64 = 0
        package var framesOut: UInt64 = 0
        package var bytesIn: UInt64 = 0
        package var bytesOut: UInt64 = 0
        /// Bytes waiting to be written.
        package var linkBytes: Int = 0
        /// How long the session has been without a connection; `nil` while it has one.
        package var away: Milliseconds?

        package init() {}
    }

    package var traffic: [SessionID: Traffic] = [:]
    /// Further entries of `status`: endpoints, pid, uptime, totals.
    package var status: [String: MessageValue] = [:]

    package init() {}
}
