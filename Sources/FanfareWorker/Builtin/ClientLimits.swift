import FanfareModel

/// What one client of a built-in service may send.
public struct ClientLimits: Sendable {
    /// What happens with a message that comes too early.
    public enum RatePolicy: String, Sendable, CaseIterable {
        /// The connection is closed with 1008.
        case close
        /// The message is dropped.
        case drop
    }

    /// Bytes of one message; one with more closes the connection with 1009. `nil`: only the worker's own limit holds.
    public var messageBytes: Int?
    /// How often it may send. `nil`: as often as it likes.
    public var rate: RateLimit?
    /// What happens beyond ``rate``; counted as `message_rate` either way.
    public var ratePolicy = RatePolicy.close

    /// No limits of its own.
    public init() {}
}

/// Holds one client to its ``ClientLimits``.
struct ClientGate {
    private let limits: ClientLimits
    private var bucket: TokenBucket?

    enum Answer {
        case admitted
        /// Beyond the rate; the connection goes on.
        case dropped
        /// The connection is being closed.
        case closed
    }

    init(_ limits: ClientLimits) {
        self.limits = limits
        bucket = limits.rate.map { TokenBucket($0) }
    }

    /// Asks whether a message may go on. Refusals are counted.
    mutating func admit(bytes: Int, from socket: Socket) -> Answer {
        if let most = limits.messageBytes, bytes > most {
            socket.worker.refused("message_bytes", peer: socket.remote)
            socket.close(.messageTooBig, reason: "a message may have \(most) bytes here")
            return .closed
        }
        if bucket?.take(nowNanoseconds: socket.worker.now.nanoseconds).isAdmitted == false {
            socket.worker.refused("message_rate", peer: socket.remote)
            guard limits.ratePolicy == .close else { return .dropped }
            socket.close(.policyViolation, reason: "too many messages")
            return .closed
        }
        return .admitted
    }
}
