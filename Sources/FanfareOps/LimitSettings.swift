package import FanfareModel

extension Limits {
    private static let mebibyte = 1_048_576
    private static let gibibyte = 1_073_741_824
    private static let dayMilliseconds: UInt64 = 86_400_000
    private static let yearMilliseconds: UInt64 = 31_536_000_000

    /// Every bound of ``Limits`` as a setting. A test compares it with the properties, so none can be forgotten.
    package static let settings: [Setting<Limits>] =
        wireSettings + nameSettings + channelSettings + sessionSettings + inspectionSettings + clientSettings

    private static let wireSettings: [Setting<Limits>] = [
        .bytes(
            "frame_bytes",
            \.frameBytes,
            8_192...gibibyte,
            "Size of one frame; a larger one is answered frame_too_large and closes the connection. "
                + "Follows body_bytes when it is not given."
        ),
        .bytes(
            "hello_frame_bytes",
            \.helloFrameBytes,
            512...65_536,
            "Size of a frame from a connection that has not been welcomed yet."
        ),
        .bytes(
            "body_bytes",
            \.bodyBytes,
            1_024...(gibibyte - 65_536),
            flag: "--body-bytes",
            "Size of one message body; a larger one is answered message_too_large."
        ),
        .integer(
            "nesting",
            \.nesting,
            2...32,
            "Containers inside containers in a message; deeper is answered malformed_frame."
        ),
        .integer(
            "elements",
            \.elements,
            256...16_777_216,
            "Values in one frame or message; more is answered malformed_frame."
        ),
        .integer(
            "frames_per_turn",
            \.framesPerTurn,
            1...1_000_000,
            "Frames of one connection handled before the other connections have their turn."
        ),
        .integer(
            "names_per_frame",
            \.namesPerFrame,
            1...65_536,
            "Names in one membership, open, close or report request; more is answered too_many_names."
        ),
        .bytes(
            "text_bytes",
            \.textBytes,
            32...4_096,
            "Size of an error text, a reason or an attribute value; longer ones are cut."
        ),
        .integer("attributes", \.attributes, 0...256, "Attributes of a hello or of a channel."),
    ]

    private static let nameSettings: [Setting<Limits>] = [
        .bytes("name_bytes", \.nameBytes, 16...255, "Size of a channel, group or namespace name."),
        .bytes("node_bytes", \.nodeBytes, 8...200, "Size of the node inside a process channel's name."),
    ]

    private static let channelSettings: [Setting<Limits>] = [
        .integer(
            "capacity_default",
            \.capacityDefault,
            1...1_000_000_000,
            flag: "--capacity",
            "Unread messages a channel holds unless the client asks otherwise; one more is answered channel_full."
        ),
        .integer(
            "capacity_maximum",
            \.capacityMaximum,
            1...1_000_000_000,
            "The most a client may ask for as capacity; more is cut to this."
        ),
        .bytes(
            "channel_bytes",
            \.channelBytes,
            1_024...(1_024 * gibibyte),
            "Message bytes waiting in one channel; more is answered channel_full. "
                + "Stays between body_bytes and queued_bytes when it is not given."
        ),
        .bytes(
            "queued_bytes",
            \.queuedBytes,
            65_536...(1_024 * gibibyte),
            "Message bytes waiting in all channels together; more is answered channel_full. "
                + "At most memory_bytes when it is not given."
        ),
        .bytes(
            "memory_bytes",
            \.memoryBytes,
            1_048_576...(1_024 * gibibyte),
            flag: "--memory-bytes",
            "Bytes of queues, links, what is kept for resuming, and tables as an estimate, all together; beyond it "
                + "sends are answered channel_full, new sessions and memberships limit_reached."
        ),
        .integer("channels", \.channels, 1...1_000_000_000, "Channels known at once; more is answered limit_reached."),
        .integer("groups", \.groups, 1...1_000_000_000, "Groups known at once; more is answered limit_reached."),
        .integer(
            "groups_per_channel",
            \.groupsPerChannel,
            1...1_000_000,
            "Groups one channel may be in; bounds what closing a channel costs."
        ),
        .integer(
            "unowned_members_per_group",
            \.unownedMembersPerGroup,
            1...10_000_000,
            "Members of one group without a live owner; each costs a queue operation per group send."
        ),
        .seconds(
            "expiry_default_seconds",
            \.expiryDefault,
            1...yearMilliseconds,
            flag: "--expiry",
            "How long an unread message lives unless the client asks otherwise."
        ),
        .seconds(
            "expiry_maximum_seconds",
            \.expiryMaximum,
            1...yearMilliseconds,
            "The longest message life a client may ask for; longer is cut to this."
        ),
        .seconds(
            "group_expiry_default_seconds",
            \.groupExpiryDefault,
            1...(100 * yearMilliseconds),
            flag: "--group-expiry",
            "How long a membership without a live owner lives after its last add."
        ),
        .seconds(
            "group_expiry_maximum_seconds",
            \.groupExpiryMaximum,
            1...(100 * yearMilliseconds),
            "The longest group expiry a client may ask for; longer is cut to this."
        ),
        .integer(
            "capacity_patterns",
            \.capacityPatterns,
            0...4_096,
            "Capacities by channel pattern in one client's policy; the rest is ignored."
        ),
    ]

    private static let sessionSettings: [Setting<Limits>] = [
        .integer("sessions", \.sessions, 1...1_048_576, "Sessions at once; one more is answered limit_reached."),
        .integer(
            "strangers",
            \.strangers,
            1...65_536,
            "Connections that have not said hello; of more the newest is closed."
        ),
        .integer(
            "accepts_per_second",
            \.acceptsPerSecond,
            1...1_000_000,
            "Connections accepted a second, a quarter of them at once; more wait in the kernel until then."
        ),
        .integer(
            "strangers_per_address",
            \.strangersPerAddress,
            1...65_536,
            "The same for one TCP address; of more the newest is closed."
        ),
        .bytes(
            "handshake_bytes",
            \.handshakeBytes,
            4_096...1_048_576,
            "Bytes a client may send for its TLS handshake before it is closed."
        ),
        .seconds(
            "hello_within_seconds",
            \.helloWithin,
            10...60_000,
            "How long a connection may take for its hello, and after its session for what was left to read, before it is "
                + "closed."
        ),
        .seconds(
            "ping_after_seconds",
            \.pingAfter,
            100...3_600_000,
            "How long a peer may be silent before it is pinged."
        ),
        .seconds(
            "silence_maximum_seconds",
            \.silenceMaximum,
            200...dayMilliseconds,
            "How long a peer may be silent before it counts as gone."
        ),
        .seconds(
            "round_trip_every_seconds",
            \.roundTripEvery,
            100...3_600_000,
            "How often each session is sent a PING whose way there and back is measured."
        ),
        .integer(
            "receives_per_session",
            \.receivesPerSession,
            1...16_777_216,
            "Waiting receives of one session; one more is answered limit_reached."
        ),
        .integer("tails", \.tails, 0...4_096, "Tails of the whole broker; one more is answered limit_reached."),
        .bytes(
            "link_bytes",
            \.linkBytes,
            65_536...(64 * gibibyte),
            "Bytes waiting for one connection; with more it is sent no messages until all have gone, and with twice "
                + "as many it is closed."
        ),
        .seconds(
            "link_age_seconds",
            \.linkAge,
            1_000...3_600_000,
            "How long the oldest byte may wait for one connection before it is sent no more messages."
        ),
        .bytes(
            "tail_bytes",
            \.tailBytes,
            4_096...gibibyte,
            "Bytes waiting for one connection beyond which copies for its tails are skipped, and beyond which it is closed "
                + "at once when its session ends."
        ),
        .seconds(
            "resume_grace_seconds",
            \.resumeGrace,
            10...3_600_000,
            "How long a session whose connection broke is kept for its client to go on with, if the client can."
        ),
        .bytes(
            "resume_bytes",
            \.resumeBytes,
            65_536...(64 * gibibyte),
            "Bytes kept for one session until its client has received them; with more it cannot be resumed until the "
                + "client has caught up."
        ),
        .seconds(
            "collect_within_seconds",
            \.collectWithin,
            10...60_000,
            "How long a flush or an outcome waits for the processes it asked."
        ),
        .integer(
            "collections",
            \.collections,
            1...16_777_216,
            "Flushes and outcomes that wait at once; one more is answered limit_reached."
        ),
        .bytes(
            "state_bytes",
            \.stateBytes,
            4_096...(64 * gibibyte),
            "Size of the state file; a larger state is not written, and a larger file is not read."
        ),
    ]

    private static let inspectionSettings: [Setting<Limits>] = [
        .integer(
            "rows_scanned",
            \.rowsScanned,
            100...100_000_000,
            "Rows one inspection looks at before it answers what it has as partial."
        ),
        .integer("rows_returned", \.rowsReturned, 1...1_000_000, "Rows one inspection returns."),
        .integer(
            "inspections",
            \.inspections,
            1...4_096,
            "Inspections under way at once; one more is answered limit_reached."
        ),
        .integer(
            "closed_connections",
            \.closedConnections,
            1...1_000_000,
            "Connections that have ended and are still listed; with more the oldest is forgotten."
        ),
    ]

    private static let clientSettings: [Setting<Limits>] = [
        .integer(
            "unconfirmed_requests",
            \.unconfirmedRequests,
            4_096...16_777_216,
            "Clients: requests kept until the broker has shown that it took them; with more the session cannot be resumed."
        ),
        .bytes(
            "unconfirmed_bytes",
            \.unconfirmedBytes,
            4_194_304...gibibyte,
            "Clients: bytes of requests kept until the broker has shown that it took them."
        ),
        .integer(
            "waiting_requests",
            \.waitingRequests,
            1...16_777_216,
            "Clients: requests that wait for a link to the broker; more fail and are not sent."
        ),
        .bytes(
            "waiting_bytes",
            \.waitingBytes,
            65_536...gibibyte,
            "Clients: bytes of requests that wait for a link to the broker."
        ),
    ]
}

/// What must hold between two limits: `lower` plus `room` is at most `upper`.
private struct LimitRelation {
    var lower: String
    var room = 0
    var upper: String

    static let all = [
        LimitRelation(lower: "body_bytes", room: 4_096, upper: "frame_bytes"),
        LimitRelation(lower: "hello_frame_bytes", upper: "frame_bytes"),
        LimitRelation(lower: "frame_bytes", upper: "link_bytes"),
        LimitRelation(lower: "body_bytes", upper: "channel_bytes"),
        LimitRelation(lower: "channel_bytes", upper: "queued_bytes"),
        LimitRelation(lower: "queued_bytes", upper: "memory_bytes"),
        // A node, the exclamation mark and at least one byte after it.
        LimitRelation(lower: "node_bytes", room: 2, upper: "name_bytes"),
        LimitRelation(lower: "capacity_default", upper: "capacity_maximum"),
        LimitRelation(lower: "expiry_default_seconds", upper: "expiry_maximum_seconds"),
        LimitRelation(lower: "group_expiry_default_seconds", upper: "group_expiry_maximum_seconds"),
        // A ping must be sent before the peer it asks counts as gone.
        LimitRelation(lower: "ping_after_seconds", room: 1, upper: "silence_maximum_seconds"),
        LimitRelation(lower: "rows_returned", upper: "rows_scanned"),
    ]
}

extension Settings {
    /// Room of the default frame around the largest body.
    private static var frameRoomBytes: Int { Limits().frameBytes - Limits().bodyBytes }

    /// Lets the limits nobody gave follow those somebody gave, and checks all of them against each other.
    ///
    /// - Parameters:
    ///   - path: Where the limits are in the values.
    ///   - section: What their section is called in the table.
    /// - Throws: `ProgramFailure(.configuration)` that names both limits, their values and where they were given.
    package mutating func settle(
        limits path: WritableKeyPath<Values, Limits>,
        in section: String = "limits"
    ) throws(ProgramFailure) {
        derive("\(section).frame_bytes") {
            let body = $0[keyPath: path].bodyBytes
            $0[keyPath: path].frameBytes = max($0[keyPath: path].frameBytes, body + Self.frameRoomBytes)
        }
        derive("\(section).queued_bytes") {
            $0[keyPath: path].queuedBytes = min($0[keyPath: path].queuedBytes, $0[keyPath: path].memoryBytes)
        }
        derive("\(section).channel_bytes") {
            let limits = $0[keyPath: path]
            $0[keyPath: path].channelBytes = min(max(limits.channelBytes, limits.bodyBytes), limits.queuedBytes)
        }
        let limits = values[keyPath: path]
        for relation in LimitRelation.all {
            let lower = relation.lower.limit, upper = relation.upper.limit
            guard lower.magnitude(limits) + relation.room > upper.magnitude(limits) else { continue }
            let origin = origins["\(section).\(upper.name)"] ?? origins["\(section).\(lower.name)"]
            let room = relation.room > 1 ? " plus \(relation.room)" : ""
            let least = relation.room == 1 ? "more than" : "at least"
            throw ProgramFailure(
                .configuration,
                "\(origin.map { $0 + ": " } ?? "")\(upper.name) (\(upper.yaml(limits) ?? "")) must be \(least) "
                    + "\(lower.name) (\(lower.yaml(limits) ?? ""))\(room); change one of them"
            )
        }
    }
}

extension String {
    /// The limit of this name; the relations name only limits that exist.
    fileprivate var limit: Setting<Limits> {
        Limits.settings.first { $0.name == self }!
    }
}

extension Setting {
    /// The value as a number that can be compared with others of its kind.
    fileprivate func magnitude(_ values: Values) -> Int {
        switch read(values) {
        case .integer(let number): number
        case .duration(let time): Int(clamping: time.value)
        default: preconditionFailure("\(name) has no magnitude")
        }
    }
}
