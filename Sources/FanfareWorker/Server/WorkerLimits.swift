package import FanfareModel
package import FanfareTransport

/// Every bound of a worker, in one place, with what happens when it is reached.
///
/// Close codes are those of RFC 6455, section 7.4, and its registry. Each refusal and close is counted by code.
public struct WorkerLimits: Sendable, Equatable {
    // MARK: Before the handshake is done

    /// Connections that have not become WebSockets yet. More: the newest is closed without an answer.
    public var handshakes = 10_000
    /// A connection that is no WebSocket by then is closed, pages included.
    package var handshakeWithin = Milliseconds(10_000)
    /// Bytes of all header names and values of a request. More: 400.
    public var headerBytes = 16_384
    /// Header fields of a request. More: 400.
    public var headerFields = 100
    /// Connections the kernel keeps until they are accepted.
    public var backlog: Int32 = 1_024
    /// Connections accepted a second, and a quarter of that at once. What comes faster, as when all clients come back
    /// together, waits in the kernel's backlog; nothing is refused. A handshake takes about 0.1 ms of processor time, so
    /// that this is half of a core: the other half serves who is there already.
    public var acceptsPerSecond = 5_000

    // MARK: Sockets

    /// WebSockets at once. More: 503 with `Retry-After`.
    public var sockets = 100_000
    /// Bytes of one incoming message, over all its fragments. More: close 1009.
    public var messageBytes = 1_048_576
    /// Fragments of one incoming message. More: close 1009.
    public var fragments = 16_384
    /// Messages one socket may have waiting because its peer does not read, but for what NIO and the kernel hold. More:
    /// ``slowReaders-swift.property``. At least 1.
    public var outgoingMessages = 4_096
    /// Bytes one socket may have waiting, counted alike; one message alone always fits. More: ``slowReaders-swift.property``.
    public var outgoingBytes = 1_048_576
    /// What happens to a message beyond these two. To disconnect: what waits is dropped, close 1013, try again later.
    package var outgoingPolicy = OutgoingQueue.Policy.disconnect
    /// How long a byte may wait for a peer to read, pings included. Longer: close 1013, whatever the policy.
    package var outgoingAge = Milliseconds(30_000)
    /// A socket is pinged this often; one that was not heard at all between two pings is gone. At least a second.
    package var pingAfter = Milliseconds(25_000)
    /// A peer has this long to answer a close frame.
    package var closeWithin = Milliseconds(5_000)

    /// A socket whose client says nothing for this long is closed with 3008; pings do not count. 0: never.
    package var idle = Milliseconds(0)
    /// A socket is closed with 1012, which invites to connect again, after this long or up to a tenth less. 0: never.
    package var lifetime = Milliseconds(0)
    /// Handlers of a closed connection that still run by then are cancelled, and its groups are left.
    package var disconnectWithin = Milliseconds(10_000)

    /// What is sent while there is no broker waits for one this long, and then fails; also when 16 384 requests or 16 MiB
    /// wait already. 0: it fails at once.
    package var sendsWait = Milliseconds(5_000)

    // MARK: Compression

    /// Whether permessage-deflate (RFC 7692) is agreed with clients that offer it. It costs time for every message and
    /// saves bytes; without TLS between client and server it tells nobody anything new.
    public var compression = false
    /// Shorter messages are sent as they are.
    public var compressionLeastBytes = 128
    /// zlib's level, 1 (fast) to 9.
    public var compressionLevel = 1

    // MARK: HTTP

    /// Bytes of the body of an HTTP request. More: 413.
    public var bodyBytes = 1_048_576

    // MARK: Fan-out

    /// Frames of one group merged into one `send`. More: written before the burst is over.
    public var mergedBytes = 262_144
    /// Members of one group that get a message in one turn of the loop: with more, others' messages pass in between.
    public var membersPerTurn = 2_000

    // MARK: Fairness

    /// Frames of one client handled in one turn of the loop. Its others wait behind the other clients, and nothing more
    /// is read of it, so that who floods with tiny frames keeps nobody waiting. The bytes are bounded anyway: one read
    /// of at most 64 KiB a turn, and of compressed messages those that inflate to as many.
    public var framesPerTurn = 256

    /// The documented defaults.
    public init() {}

    /// Bytes of one client's messages that may wait for its consumer. From ``messageBytes`` on it is not read; more comes
    /// only of what was read before, and when it leaves and the kernel hands over all it holds. More: close 1013.
    var waitingBytes: Int { messageBytes + 16 * 1_048_576 }

    /// The bounds of what waits for one socket.
    var outgoing: OutgoingQueue.Bounds {
        OutgoingQueue.Bounds(messages: outgoingMessages, bytes: outgoingBytes, policy: outgoingPolicy)
    }
}
