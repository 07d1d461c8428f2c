import FanfareModel
import FanfareOps
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
        .bytes(
            "outgoing_bytes",
            \.outgoingBytes,
            4_096...gibibyte,
            "Bytes waiting for a socket whose peer does not read; more closes it with 1013."
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
        .bytes(
            "receive_bytes",
            \.receiveBytes,
            256...1_048_576,
            "Bytes one read takes from the kernel; also what a socket that is being read costs."
        ),
        .bytes(
            "merged_bytes",
            \.mergedBytes,
            1_024...(64 * 1_048_576),
            "Size of the frames of one group that are merged into one write."
        ),
    ]

    /// ``backlog`` in the type settings have.
    private var backlogConnections: Int {
        get { Int(backlog) }
        set { backlog = Int32(clamping: newValue) }
    }
}
