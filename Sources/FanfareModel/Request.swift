/// Ties a reply to its request. Chosen by the client, unique among its requests in flight.
package typealias RequestID = UInt64

/// A message as the broker sees it: opaque bytes, copied out of the receive buffer once, shared from then on.
package typealias Body = [UInt8]

/// Everything a client may ask, as plain values. The numbers are those of `proto/PROTOCOL.md`, section 5.
package enum Request: Sendable, Equatable {
    /// Indirect, as other large and rare requests: the size of all is that of the largest.
    indirect case hello(Hello)
    case ping(RequestID)
    case pong(RequestID)
    case goodbye
    case send(id: RequestID?, channel: String, body: Body, SendOptions)
    case receive(id: RequestID, channel: String, count: Int)
    case cancel(id: RequestID, target: RequestID)
    case giveBack(id: RequestID?, channel: String, GivenBack)
    case report(Report)
    case openChannels(id: RequestID?, [OpenedChannel])
    case closeChannels(id: RequestID?, [String])
    case groupAdd(id: RequestID?, group: String, channels: [String], groupExpiry: Milliseconds?)
    case groupDiscard(id: RequestID?, group: String, channels: [String])
    case groupSend(id: RequestID?, group: String, body: Body, GroupSendOptions)
    case outcome(token: UInt64, accepted: UInt64, dropped: UInt64)
    case flush(RequestID)
    indirect case inspect(RequestID, InspectionQuery)
    indirect case tail(RequestID, TailQuery)
    case admin(RequestID, command: String, arguments: MessageValue)

    /// The id to answer under, if the client wants an answer.
    package var id: RequestID? {
        switch self {
        case .hello, .goodbye, .pong, .report, .outcome: nil
        case .ping(let id), .flush(let id), .receive(let id, _, _), .cancel(let id, _), .inspect(let id, _),
            .tail(let id, _), .admin(let id, _, _):
            id
        case .send(let id, _, _, _), .giveBack(let id, _, _), .openChannels(let id, _), .closeChannels(let id, _),
            .groupAdd(let id, _, _, _), .groupDiscard(let id, _, _), .groupSend(let id, _, _, _):
            id
        }
    }
}

/// What a single send may add to its session's policy.
package struct SendOptions: Sendable, Equatable {
    /// The life of this message instead of the policy's.
    package var expiry: Milliseconds?
    package var trace: TraceContext?

    package init(expiry: Milliseconds? = nil, trace: TraceContext? = nil) {
        self.expiry = expiry
        self.trace = trace
    }
}

/// What a single group send may add to its session's policy.
package struct GroupSendOptions: Sendable, Equatable {
    package var expiry: Milliseconds?
    /// Members that do not get this message.
    package var exclude: [String] = []
    /// Whether the sender wants `{members, accepted, dropped}` instead of a bare acknowledgement.
    package var wantsOutcome = false
    package var trace: TraceContext?

    package init(
        expiry: Milliseconds? = nil,
        exclude: [String] = [],
        wantsOutcome: Bool = false,
        trace: TraceContext? = nil
    ) {
        self.expiry = expiry
        self.exclude = exclude
        self.wantsOutcome = wantsOutcome
        self.trace = trace
    }
}

/// A handed-out message on its way back to the head of its queue.
package struct GivenBack: Sendable, Equatable {
    package var body: Body
    /// Its place in the queue, as the hand-out said.
    package var order: UInt64
    /// Its original deadline on the broker's clock, as the hand-out said.
    package var deadline: Instant
    package var trace: TraceContext?

    package init(body: Body, order: UInt64, deadline: Instant, trace: TraceContext? = nil) {
        self.body = body
        self.order = order
        self.deadline = deadline
        self.trace = trace
    }

    /// What was handed out, as it was.
    package init(_ handOut: HandOut) {
        self.init(body: handOut.body, order: handOut.order, deadline: handOut.deadline, trace: handOut.trace)
    }
}

/// What an owner's readers took and what its local buffers dropped since its last report.
package struct Report: Sendable, Equatable {
    /// Counted replies this session has received so far; what the broker keeps for resuming ends there.
    package var received: UInt64
    package var taken: [Taken]
    package var dropped: [Dropped]

    package struct Taken: Sendable, Equatable {
        package var channel: String
        /// Direct messages readers took since the last report.
        package var taken: UInt64
        /// Group messages now waiting unread in the owner's buffer.
        package var held: UInt64

        package init(channel: String, taken: UInt64, held: UInt64) {
            self.channel = channel
            self.taken = taken
            self.held = held
        }
    }

    package struct Dropped: Sendable, Equatable {
        /// The channel they were for; `nil` for what every member here of the group lost alike.
        package var channel: String?
        /// The group the messages came through, or `nil` for direct ones.
        package var group: String?
        package var count: UInt64
        package var reason: DropReason

        package init(channel: String?, group: String?, count: UInt64, reason: DropReason) {
            self.channel = channel
            self.group = group
            self.count = count
            self.reason = reason
        }
    }

    package init(received: UInt64, taken: [Taken], dropped: [Dropped]) {
        self.received = received
        self.taken = taken
        self.dropped = dropped
    }
}

/// A process channel its owner declares, with facts for listings such as `remote`.
package struct OpenedChannel: Sendable, Equatable {
    package var name: String
    package var attributes: [String: String]

    package init(name: String, attributes: [String: String] = [:]) {
        self.name = name
        self.attributes = attributes
    }
}

/// What `INSPECT` asks. Filter, order and bounds run in the broker.
package struct InspectionQuery: Sendable, Equatable {
    package enum Subject: String, Sendable, CaseIterable {
        case status
        case groups
        case group
        case channels
        case channel
        case sessions
        case drops
        case closed

        /// Whether the role `worker` may ask for it, in its own namespace.
        package var isOpenToWorkers: Bool {
            switch self {
            case .groups, .group, .channels, .channel, .sessions: true
            case .status, .drops, .closed: false
            }
        }
    }

    package var subject: Subject
    /// The one group or channel that `group` and `channel` ask about.
    package var name: String?
    /// Only this namespace; `nil` for all.
    package var namespace: String?
    /// Only names this pattern matches.
    package var match: Glob?
    /// Only rows of this reason, of `drops` and `closed`; `nil` for all.
    package var reason: String?
    /// The column to order by; `nil` for the first one.
    package var sort: String?
    package var descending = false
    package var limit = 100
    /// Where the previous page ended, as the previous answer said.
    package var cursor: String?
    /// How long the broker looks before it answers what it has found as partial.
    package var budget = Milliseconds(1_000)
    /// What may be in the answer. Set by the broker, not by the client: it is no part of the frame.
    package var visibility = Visibility.everything

    package init(_ subject: Subject) {
        self.subject = subject
    }
}

/// What `TAIL` asks: copies of messages as they pass.
package struct TailQuery: Sendable, Equatable {
    package enum Kind: String, Sendable {
        case channel
        case group
    }

    package var kind: Kind
    package var match: Glob
    package var namespace: String?
    /// One message of this many.
    package var sample: UInt64 = 1
    /// At most this many copies a second; the rest is counted in `skipped`.
    package var ratePerSecond: UInt64 = 50
    /// What may be copied. Set by the broker, not by the client: it is no part of the frame.
    package var visibility = Visibility.everything

    package init(kind: Kind, match: Glob) {
        self.kind = kind
        self.match = match
    }
}
