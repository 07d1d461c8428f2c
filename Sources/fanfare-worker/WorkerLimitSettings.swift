import FanfareModel
import FanfareOps
import FanfareTransport
import FanfareWorker

extension WorkerLimits {
    private static let gibibyte = 1_073_741_824

    /// Every bound of ``WorkerLimits`` as a setting. A test compares it with the properties.
    static let settings: [Setting<WorkerLimits>] = [
        .integer(
            "handshakes",
            \.handshakes,
            1...1_000_000,
            "Connections that have not become WebSockets; of more the newest is closed."
        ),
        .seconds(
            "handshake_within_seconds",
            \.handshakeWithin,
            100...600_000,
            "How long a connection may take to become a WebSocket, pages included."
        ),
        .bytes(
            "header_bytes",
            \.headerBytes,
            1_024...1_048_576,
            "Size of all header names and values of a request; more is answered 400."
        ),
        .integer(
            "header_fields",
            \.headerFields,
            16...1_000,
            "Header fields of a request; more is answered 400."
        ),
        .integer(
            "backlog",
            \.backlogConnections,
            1...65_535,
            "Connections the kernel keeps until they are accepted."
        ),
        .integer(
            "accepts_per_second",
            \.acceptsPerSecond,
            1...1_000_000,
            "Connections accepted a second, a quarter of them at once; more wait in the kernel until then."
        ),
        .integer("sockets", \.sockets, 1...10_000_000, "WebSockets at once; one more is answered 503."),
        .bytes(
            "message_bytes",
            \.messageBytes,
            125...gibibyte,
            "Size of one incoming message over all its fragments; more closes the socket with 1009."
        ),
        .integer(
            "fragments",
            \.fragments,
            1...1_000_000,
            "Fragments of one incoming message; more closes the socket with 1009."
        ),
        .integer(
            "outgoing_messages",
            \.outgoingMessages,
            1...10_000_000,
            "Messages waiting for a socket whose peer does not read; of more, outgoing_policy decides."
        ),
        .bytes(
            "outgoing_bytes",
            \.outgoingBytes,
            4_096...gibibyte,
            "Bytes waiting for a socket whose peer does not read; of more, outgoing_policy decides."
        ),
        .choice(
            "outgoing_policy",
            \.outgoingPolicyName,
            OutgoingQueue.Policy.allCases.map(\.rawValue),
            "When too much waits for a socket: close it with 1013, or drop the newest or the oldest messages."
        ),
        .seconds(
            "outgoing_age_seconds",
            \.outgoingAge,
            1_000...3_600_000,
            "How long something may wait for a peer that does not read; longer closes the socket with 1013."
        ),
        .seconds(
            "ping_after_seconds",
            \.pingAfter,
            1_000...3_600_000,
            "How often a socket is pinged; one that was not heard between two pings is gone."
        ),
        .seconds(
            "close_within_seconds",
            \.closeWithin,
            10...60_000,
            "How long a peer may take to answer a close frame."
        ),
        .seconds(
            "idle_seconds",
            \.idle,
            0...86_400_000,
            "A socket whose client says nothing for this long is closed with 3008; pings do not count. 0: never."
        ),
        .seconds(
            "lifetime_seconds",
            \.lifetime,
            0...86_400_000,
            "A socket is closed with 1012, connect again, after this long or up to a tenth less. 0: never."
        ),
        .seconds(
            "disconnect_within_seconds",
            \.disconnectWithin,
            10...600_000,
            "How long handlers of a closed socket may still run before they are cancelled."
        ),
        .seconds(
            "sends_wait_seconds",
            \.sendsWait,
            0...600_000,
            "How long messages wait for a broker while there is none, before their senders are told. 0: not at all."
        ),
        .flag(
            "compression",
            \.compression,
            flag: "--compression",
            "Whether messages are compressed (permessage-deflate) for clients that offer it; costs time for each message."
        ),
        .integer(
            "compression_least_bytes",
            \.compressionLeastBytes,
            0...1_048_576,
            "Shorter messages are sent as they are."
        ),
        .integer("compression_level", \.compressionLevel, 1...9, "zlib's level: 1 is fast, 9 is small."),
        .bytes(
            "body_bytes",
            \.bodyBytes,
            0...gibibyte,
            "Size of the body of an HTTP request; more is answered 413."
        ),
        .bytes(
            "merged_bytes",
            \.mergedBytes,
            1_024...(64 * 1_048_576),
            "Size of the frames of one group that are merged into one write."
        ),
        .integer(
            "members_per_turn",
            \.membersPerTurn,
            100...1_000_000,
            "Members of a group that get a message before other work has its turn."
        ),
        .integer(
            "frames_per_turn",
            \.framesPerTurn,
            1...1_000_000,
            "Frames of one client handled before the other clients have their turn."
        ),
    ]

    /// ``outgoingPolicy`` in the type settings have.
    private var outgoingPolicyName: String? {
        get { outgoingPolicy.rawValue }
        set { outgoingPolicy = newValue.flatMap(OutgoingQueue.Policy.init) ?? WorkerLimits().outgoingPolicy }
    }

    /// ``backlog`` in the type settings have.
    private var backlogConnections: Int {
        get { Int(backlog) }
        set { backlog = Int32(clamping: newValue) }
    }
}
