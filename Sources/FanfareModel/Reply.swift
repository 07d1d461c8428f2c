/// Everything a broker may say, as plain values. The numbers are those of `proto/PROTOCOL.md`, section 6.
package enum Reply: Sendable, Equatable {
    /// Indirect, as other large and rare replies: the size of all is that of the largest.
    indirect case welcome(Welcome)
    case ping(RequestID)
    case pong(RequestID)
    /// The broker's clock when what follows was written; only for clients that say they understand it.
    case clock(Milliseconds)
    case ack(RequestID)
    case error(RequestID?, Failure)
    case result(RequestID, MessageValue)
    /// A message for a process channel of this session, pushed.
    case deliver(channel: String, body: Body, remaining: Milliseconds, trace: TraceContext? = nil)
    /// A message for a waiting `receive`.
    case handOut(RequestID, HandOut)
    /// This session missed messages at this place of the stream.
    case gap(Gap)
    /// One message for every member this session has in the group, bar the excluded.
    case groupDeliver(GroupDelivery)
    /// Somebody changed the groups of this session's channels.
    case members(group: String, added: [String], removed: [String])
    /// The namespace was flushed: forget buffers and memberships, then answer `OUTCOME token`.
    case flushed(token: UInt64)
    indirect case tailed(RequestID, Tailed)
    /// The broker is about to stop, or, when `drains`, asks this client to finish and leave.
    case goAway(within: Milliseconds, reason: String, drains: Bool)
}

/// A hole in what a session was sent.
package struct Gap: Sendable, Equatable {
    /// The channel that missed messages; `nil`: any of the session's.
    package var name: String?
    package var count: UInt64
    package var reason: DropReason
    /// Whether the broker has closed the channel, as the overflow policy `disconnect` asks.
    package var isClosed = false

    package init(name: String?, count: UInt64, reason: DropReason, isClosed: Bool = false) {
        self.name = name
        self.count = count
        self.reason = reason
        self.isClosed = isClosed
    }
}

/// A message from a queue, with what is needed to give it back.
package struct HandOut: Sendable, Equatable {
    package var body: Body
    /// Its place in the queue.
    package var order: UInt64
    /// Its deadline on the broker's clock, opaque to the client.
    package var deadline: Instant
    /// The rest of its life.
    package var remaining: Milliseconds
    package var trace: TraceContext?

    package init(
        body: Body,
        order: UInt64,
        deadline: Instant,
        remaining: Milliseconds,
        trace: TraceContext? = nil
    ) {
        self.body = body
        self.order = order
        self.deadline = deadline
        self.remaining = remaining
        self.trace = trace
    }
}

/// One group message for one process.
package struct GroupDelivery: Sendable, Equatable {
    package var group: String
    package var body: Body
    package var remaining: Milliseconds
    package var exclude: [String] = []
    package var trace: TraceContext?
    /// When present, answer `OUTCOME token` with how many members took the message.
    package var outcome: UInt64?

    package init(group: String, body: Body, remaining: Milliseconds) {
        self.group = group
        self.body = body
        self.remaining = remaining
    }
}

/// A copy of a passing message.
package struct Tailed: Sendable, Equatable {
    package var kind: TailQuery.Kind
    package var name: String
    package var namespace: String
    package var body: Body
    /// Matching messages not copied since the last copy, by sampling or rate.
    package var skipped: UInt64

    package init(kind: TailQuery.Kind, name: String, namespace: String, body: Body, skipped: UInt64) {
        self.kind = kind
        self.name = name
        self.namespace = namespace
        self.body = body
        self.skipped = skipped
    }
}
