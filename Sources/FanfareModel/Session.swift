/// One accepted connection, numbered by the broker, never reused within an epoch.
package struct SessionID: Sendable, Hashable, Comparable {
    package let value: UInt64
    /// Where the broker keeps what belongs to the session: a small number, taken again when the session has ended. No
    /// part of the identity; 0 in an id that came over a wire.
    package let place: UInt32

    package init(_ value: UInt64, place: UInt32 = 0) {
        self.value = value
        self.place = place
    }

    /// The broker itself, where it reads what it says: no session has this number.
    package static let broker = SessionID(0)

    package static func == (left: SessionID, right: SessionID) -> Bool {
        left.value == right.value
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(value)
    }

    package static func < (left: SessionID, right: SessionID) -> Bool {
        left.value < right.value
    }
}

/// What a session may do. Tokens are per role; without tokens the role is what the hello says.
package enum Role: String, Sendable, CaseIterable {
    /// Sends only: `SEND`, `GROUP_SEND`.
    case publish
    /// A full channel layer: everything but `TAIL`, `ADMIN` and the subjects of `INSPECT` that are about more than its
    /// own namespace.
    case worker
    /// Looks: `INSPECT`, `TAIL`.
    case inspect
    /// Everything.
    case admin
}

/// Whose messages count together against a capacity. Public because programs choose it.
public enum CapacityScope: String, Sendable {
    /// Each full channel name by itself: one slow socket never costs its neighbours.
    case channel
    /// Everything before and including `!` together, as the specification words it.
    case process
}

/// What becomes of a message for a channel that is at its capacity. Public because programs choose it.
public enum Overflow: String, Sendable, CaseIterable {
    /// The send fails with `channel_full`; a group send skips the member.
    case reject
    /// The new message is dropped and the send succeeds.
    case dropNewest = "drop_newest"
    /// The oldest unread message makes room.
    case dropOldest = "drop_oldest"
    /// The channel is closed: its reader is too slow to be worth keeping. Without an owner the same as `reject`.
    case disconnect
}

/// The rules a session's sends and memberships follow. The broker's limits cap each of them.
package struct Policy: Sendable, Equatable {
    /// Unread messages a channel holds when no pattern matches it.
    package var capacity: Int
    /// Overrides by channel name; the first match wins.
    package var channelCapacity: [ChannelCapacity] = []
    package var capacityScope = CapacityScope.channel
    /// What happens at capacity, by channel name; the first match wins, else `reject`.
    package var overflow: [ChannelOverflow] = []
    /// How long a message lives unread.
    package var expiry: Milliseconds
    /// How long a membership without a live owner lives after its last add.
    package var groupExpiry: Milliseconds
    /// Whether ``groupExpiry`` also ends memberships whose owner lives: the specification's literal rule.
    package var groupExpiryIsLiteral = false

    package struct ChannelCapacity: Sendable, Equatable {
        package var pattern: Glob
        package var capacity: Int

        package init(pattern: Glob, capacity: Int) {
            self.pattern = pattern
            self.capacity = capacity
        }
    }

    package struct ChannelOverflow: Sendable, Equatable {
        package var pattern: Glob
        package var overflow: Overflow

        package init(pattern: Glob, overflow: Overflow) {
            self.pattern = pattern
            self.overflow = overflow
        }
    }

    /// The broker's defaults.
    package init(_ limits: Limits) {
        capacity = limits.capacityDefault
        expiry = limits.expiryDefault
        groupExpiry = limits.groupExpiryDefault
    }

    /// The capacity of `channel` under this policy.
    package func capacity(of channel: String) -> Int {
        channelCapacity.first { $0.pattern.matches(channel) }?.capacity ?? capacity
    }

    /// What happens when `channel` is at its capacity.
    package func overflow(of channel: String) -> Overflow {
        overflow.first { $0.pattern.matches(channel) }?.overflow ?? .reject
    }

    /// This policy with every value brought within `limits`.
    package func capped(by limits: Limits) -> Policy {
        var capped = self
        capped.capacity = min(max(capacity, 1), limits.capacityMaximum)
        capped.channelCapacity = channelCapacity.prefix(limits.capacityPatterns).map {
            ChannelCapacity(pattern: $0.pattern, capacity: min(max($0.capacity, 1), limits.capacityMaximum))
        }
        capped.overflow = Array(overflow.prefix(limits.capacityPatterns))
        capped.expiry = min(expiry, limits.expiryMaximum)
        capped.groupExpiry = min(groupExpiry, limits.groupExpiryMaximum)
        return capped
    }
}

/// The first frame of a connection: who the peer is and what rules it wants.
package struct Hello: Sendable, Equatable {
    /// The version of the protocol the peer speaks.
    package var protocolVersion: Int
    /// Program and version, such as `fanfare-worker/0.1.0`.
    package var client: String
    /// A name people recognise in listings. May repeat.
    package var name: String
    package var role: Role
    package var namespace = Protocol.namespaceDefault
    /// The node of the process channels this session owns, or `nil` if it owns none.
    package var node: String?
    package var policy: Policy
    /// Facts for listings: `pid`, `host`, `listen`.
    package var attributes: [String: String] = [:]
    package var token: String?
    /// What the client understands beyond the core of version 1: `clock`, `resume`.
    package var capabilities: [String] = []
    /// The session to go on with, and what has arrived of it; `nil` for a session of its own.
    package var resume: Resume?

    /// Where a client left off; `proto/PROTOCOL.md`, section 8.
    package struct Resume: Sendable, Equatable {
        /// The `resume_token` of the session's `WELCOME`.
        package var token: Body
        /// Counted replies of the session that have arrived.
        package var received: UInt64

        package init(token: Body, received: UInt64) {
            self.token = token
            self.received = received
        }
    }

    package init(
        protocolVersion: Int = Protocol.version,
        client: String,
        name: String,
        role: Role,
        policy: Policy
    ) {
        self.protocolVersion = protocolVersion
        self.client = client
        self.name = name
        self.role = role
        self.policy = policy
    }
}

/// The broker's answer to a hello.
package struct Welcome: Sendable, Equatable {
    package var protocolVersion: Int
    package var session: SessionID
    /// Changes whenever the broker has forgotten what it knew: register again.
    package var epoch: UInt64
    /// Program and version of the broker.
    package var broker: String
    package var capabilities: [String]
    package var policy: Policy
    package var frameBytes: Int
    package var bodyBytes: Int
    package var namesPerFrame: Int
    package var pingAfter: Milliseconds
    package var silenceMaximum: Milliseconds
    /// How to go on with this session after its link broke; `nil`: not at all.
    package var resumption: Resumption?

    /// What the broker keeps for a session whose link breaks; `proto/PROTOCOL.md`, section 8.
    package struct Resumption: Sendable, Equatable {
        /// Names the session in the next hello. Secret.
        package var token: Body
        /// How long the session outlives its link.
        package var grace: Milliseconds
        /// When this welcome goes on with an earlier session: how many of its counted requests the broker has taken.
        package var resumedAfter: UInt64?

        package init(token: Body, grace: Milliseconds, resumedAfter: UInt64? = nil) {
            self.token = token
            self.grace = grace
            self.resumedAfter = resumedAfter
        }
    }

    package init(session: SessionID, epoch: UInt64, broker: String, policy: Policy, limits: Limits) {
        protocolVersion = Protocol.version
        self.session = session
        self.epoch = epoch
        self.broker = broker
        capabilities = Protocol.capabilities
        self.policy = policy
        frameBytes = limits.frameBytes
        bodyBytes = limits.bodyBytes
        namesPerFrame = limits.namesPerFrame
        pingAfter = limits.pingAfter
        silenceMaximum = limits.silenceMaximum
    }
}

/// Constants of the protocol itself.
package enum Protocol {
    package static let version = 1
    package static let namespaceDefault = "default"
    /// A client that understands `CLOCK` says so in its hello.
    package static let clockCapability = "clock"
    /// How long after a `CLOCK` the broker writes messages without telling the time again.
    package static let clockInterval = Milliseconds(50)
    /// A client that counts what it is sent and can go on with a session says so in its hello.
    package static let resumeCapability = "resume"
    /// The capabilities of clients this build knows.
    package static let clientCapabilities: Set = [clockCapability, resumeCapability]
    /// Bytes of a resume token, at most: another broker's may be longer than ours.
    package static let resumeTokenBytesMaximum = 64
    /// What this build offers beyond the core of version 1; see `proto/PROTOCOL.md`, section 3.
    package static let capabilities = [
        "inspect", "tail", "outcome", "overflow", clockCapability, resumeCapability, "admin",
    ]
}
