package import FanfareModel

/// Every bound of a worker, in one place, with what happens when it is reached.
///
/// Close codes are those of RFC 6455, section 7.4, and its registry. Each refusal and close is counted by code.
package struct WorkerLimits: Sendable, Equatable {
    // MARK: Before the handshake is done

    /// Connections that have not become WebSockets yet. More: the newest is closed without an answer.
    package var handshakes = 10_000
    /// A connection that is no WebSocket by then is closed, pages included.
    package var handshakeWithin = Milliseconds(10_000)
    /// Bytes of all header names and values of a request. More: 400.
    package var headerBytes = 16_384
    /// Header fields of a request. More: 400.
    package var headerFields = 100
    /// Connections the kernel keeps until they are accepted.
    package var backlog: Int32 = 1_024

    // MARK: Sockets

    /// WebSockets at once. More: 503 with `Retry-After`.
    package var sockets = 100_000
    /// Bytes of one incoming message, over all its fragments. More: close 1009.
    package var messageBytes = 1_048_576
    /// Fragments of one incoming message. More: close 1009.
    package var fragments = 16_384
    /// Bytes one socket may have waiting because its peer does not read. More: close 1013, try again later.
    package var outgoingBytes = 1_048_576
    /// A socket is pinged this often; one that was not heard at all between two pings is gone. At least a second.
    package var pingAfter = Milliseconds(25_000)
    /// A peer has this long to answer a close frame.
    package var closeWithin = Milliseconds(5_000)
    /// What one read takes from the kernel; also what a socket being read costs.
    package var receiveBytes = 2_048

    // MARK: Fan-out

    /// Frames of one group merged into one `send`. More: written before the burst is over.
    package var mergedBytes = 262_144

    /// The documented defaults.
    package init() {}
}
