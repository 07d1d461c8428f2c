/// Every bound of Fanfare, in one place, with the reason for its default.
///
/// A bound is a promise: what happens when it is reached is written beside it, and the broker counts it.
/// `0` never means "unlimited" here; a limit that does not exist is not in this list.
package struct Limits: Sendable, Equatable {
    // MARK: The wire

    /// Bytes of one frame after its length prefix. More: `frame_too_large`, and the connection closes.
    /// Room for the largest body and the longest names around it.
    package var frameBytes = 2 * 1_048_576 + 65_536
    /// Bytes of a frame before `WELCOME`. A hello is small; a stranger gets little memory.
    package var helloFrameBytes = 4_096
    /// Bytes of one message body. More: `message_too_large`. The specification asks for at least 1 MiB.
    package var bodyBytes = 2 * 1_048_576
    /// Containers inside containers. Deeper: `malformed_frame`.
    package var nesting = 16
    /// Elements (scalars, containers, keys) in one frame or message. More: `malformed_frame`.
    package var elements = 1_048_576
    /// Frames of one connection handled in one turn of the loop; its others wait behind the other connections, so that
    /// who floods with tiny frames keeps nobody waiting. A read of 64 KiB of ordinary frames has fewer.
    package var framesPerTurn = 1_024
    /// Names in one membership, open, close or report request. More: `too_many_names`.
    package var namesPerFrame = 4_096
    /// Bytes of the text of an error, a reason or an attribute value. Longer texts are cut.
    package var textBytes = 256
    /// Entries of a hello's or a channel's attributes.
    package var attributes = 16

    // MARK: Names

    /// Bytes of a channel, group or namespace name. Channels asks for "length < 100".
    package var nameBytes = 99
    /// Bytes of a node: the part of a process channel between the last `.` and the `!`.
    package var nodeBytes = 40

    // MARK: Channels and groups

    /// Unread messages a channel holds unless the session's policy says otherwise.
    package var capacityDefault = 100
    /// The most a session's policy may ask for.
    package var capacityMaximum = 1_000_000
    /// Bytes of bodies and trace contexts waiting in one channel. More: `channel_full`, reason `bytes`.
    package var channelBytes = 64 * 1_048_576
    /// Bytes of bodies and trace contexts waiting in all channels. More: `channel_full`, reason `memory`.
    package var queuedBytes = 1_024 * 1_048_576
    /// Bytes of all that grows with what others send: queues, links, what is kept for resuming, and tables as an
    /// estimate. More: sends and group messages are refused or dropped as `full`, channels, memberships and sessions
    /// with `limit_reached`. A broker uses little besides; leave the machine a quarter of its memory.
    package var memoryBytes = 4_096 * 1_048_576
    /// Channels the broker knows at once. More: `limit_reached`.
    package var channels = 4_000_000
    /// Groups the broker knows at once. More: `limit_reached`.
    package var groups = 4_000_000
    /// Groups one channel may be in. More: `limit_reached`. Bounds the cost of closing a channel.
    package var groupsPerChannel = 4_096
    /// Members of one group without a live owner: each costs a queue operation per group send.
    package var unownedMembersPerGroup = 100_000
    /// Messages live this long unless the policy or the call says otherwise.
    package var expiryDefault = Milliseconds(60_000)
    /// The longest life a policy or call may ask for. Longer is cut to this.
    package var expiryMaximum = Milliseconds(86_400_000)
    /// Memberships without a live owner live this long after the last add.
    package var groupExpiryDefault = Milliseconds(86_400_000)
    /// The longest group expiry a policy may ask for. Longer is cut to this.
    package var groupExpiryMaximum = Milliseconds(31_536_000_000)
    /// Glob overrides of each kind in one session's policy.
    package var capacityPatterns = 64

    // MARK: Sessions

    /// Sessions at once. More: `limit_reached`, and the connection closes.
    package var sessions = 65_536
    /// Connections that have not said hello yet. More: the newest is closed.
    package var strangers = 1_024
    /// Connections accepted a second, and a quarter of that at once. What comes faster, as when all clients come back
    /// together, waits in the kernel; nothing is refused.
    package var acceptsPerSecond = 5_000
    /// Those of one TCP address. More: the newest is closed. Less than ``strangers``, so that one address does not keep
    /// all others out.
    package var strangersPerAddress = 256
    /// Bytes a client may send for its TLS handshake; a chain of certificates is a few KiB. More: the connection closes.
    package var handshakeBytes = 65_536
    /// A hello must arrive within this time of the connection; and what is left to be said to a session that has ended
    /// must be read within it.
    package var helloWithin = Milliseconds(2_000)
    /// A silent peer is sent a `PING` after this.
    package var pingAfter = Milliseconds(15_000)
    /// A peer silent for this long is gone.
    package var silenceMaximum = Milliseconds(45_000)
    /// How often each session is sent a `PING` whose way there and back is measured. Answering costs a process nothing
    /// worth naming, and who has stopped is seen within that time.
    package var roundTripEvery = Milliseconds(5_000)
    /// Waiting receives of one session. More: `limit_reached`. And the channels for which it is told apart how many
    /// messages a session may give back; with more they are added up.
    package var receivesPerSession = 65_536
    /// Tails of the whole broker. More: `limit_reached`.
    package var tails = 64
    /// Bytes waiting for one connection. More: messages for it are dropped as `link_overflow` until all of them have
    /// gone; at twice as many, with answers it asked for and does not read, the connection closes.
    package var linkBytes = 64 * 1_048_576
    /// How long the oldest byte may wait for one connection. Longer: as with more than `link_bytes`.
    package var linkAge = Milliseconds(10_000)
    /// Bytes waiting for one connection beyond which it gets no copies of its tails; they are counted as skipped. When a
    /// session ends and more waits than this, its connection closes at once, counted as `link_overflow`.
    package var tailBytes = 1_048_576
    /// How long a session whose client can resume outlives its link. Then its channels and memberships go.
    package var resumeGrace = Milliseconds(10_000)
    /// Bytes kept for one session until its client has said that they arrived. More while it is linked: the session
    /// cannot be resumed until the client has caught up; more while it is not: as `link_bytes`.
    package var resumeBytes = 16 * 1_048_576
    /// How long a flush or an outcome waits for the owners it asked.
    package var collectWithin = Milliseconds(2_000)
    /// Flushes and outcomes waiting for owners. More: `limit_reached`.
    package var collections = 65_536

    /// Bytes of the file with which one start hands over to the next. More: it is not written, or not read.
    package var stateBytes = 4_096 * 1_048_576

    // MARK: Inspection

    /// Rows one inspection looks at before it stops and answers `partial`. Its time budget mostly ends it before.
    package var rowsScanned = 8_000_000
    /// Rows one inspection returns.
    package var rowsReturned = 1_000
    /// Inspections under way, which take turns. More: `limit_reached`.
    package var inspections = 32
    /// Connections that have ended and are still listed. More: the one that ended first is forgotten.
    package var closedConnections = 10_000

    // MARK: Clients

    /// Requests a client keeps for a session until the broker has shown that it took them. More: they are forgotten, and
    /// the session cannot be resumed until it has.
    package var unconfirmedRequests = 65_536
    /// Bytes of them. With those that wait less than ``linkBytes``: all of it leaves at once over a new link.
    package var unconfirmedBytes = 32 * 1_048_576
    /// Requests that wait in a client for a link. More: they fail, and were not sent.
    package var waitingRequests = 16_384
    /// Bytes of them.
    package var waitingBytes = 16 * 1_048_576

    /// The documented defaults.
    package init() {}
}
