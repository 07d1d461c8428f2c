/// Why a WebSocket was closed: RFC 6455, section 7.4, and the registry it opened.
public struct CloseCode: RawRepresentable, Hashable, Sendable, ExpressibleByIntegerLiteral {
    /// The number on the wire.
    public let rawValue: UInt16

    /// The job is done.
    public static let normal: CloseCode = 1_000
    /// The worker stops, or the page was left: connect again, perhaps elsewhere.
    public static let goingAway: CloseCode = 1_001
    /// The peer broke the rules of the protocol.
    public static let protocolError: CloseCode = 1_002
    /// The consumer does not take this kind of message: text only, or binary only.
    public static let unsupportedData: CloseCode = 1_003
    /// Never on the wire: the peer's close frame had no code.
    public static let noStatus: CloseCode = 1_005
    /// Never on the wire: the connection ended without a close frame.
    public static let abnormal: CloseCode = 1_006
    /// Text that is not UTF-8, or a message that is not what it should be.
    public static let invalidPayload: CloseCode = 1_007
    /// A rule of the application was broken, such as a rate limit. Do not connect again at once.
    public static let policyViolation: CloseCode = 1_008
    /// A message over the limit.
    public static let messageTooBig: CloseCode = 1_009
    /// Something failed on this side that a second try will not mend.
    public static let internalError: CloseCode = 1_011
    /// What the socket had registered is gone, or its time was up: connect again.
    public static let serviceRestart: CloseCode = 1_012
    /// Not now: no broker, or the peer reads too slowly. Connect again later.
    public static let tryAgainLater: CloseCode = 1_013
    /// Who asked is not known any more: get new credentials first.
    public static let unauthorized: CloseCode = 3_000
    /// Who asked may not.
    public static let forbidden: CloseCode = 3_003
    /// The peer said nothing for too long. Connect again when there is something to say.
    public static let timeout: CloseCode = 3_008

    /// Any number; see ``isAllowedOnWire``.
    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// An application's own codes are 4000 to 4999.
    public init(integerLiteral value: UInt16) {
        rawValue = value
    }

    /// Whether a peer may put this code into a close frame.
    public var isAllowedOnWire: Bool {
        switch rawValue {
        case 1_000...1_003, 1_007...1_014, 3_000...4_999: true
        default: false
        }
    }

    /// What a violation with this code is counted as.
    var name: String {
        switch self {
        case .protocolError: "protocol_error"
        case .invalidPayload: "invalid_payload"
        case .messageTooBig: "message_too_big"
        default: "close_\(rawValue)"
        }
    }

    /// Whether a client does well to connect again by itself.
    public var invitesReconnect: Bool {
        switch self {
        case .goingAway, .noStatus, .abnormal, .serviceRestart, .tryAgainLater, .timeout: true
        default: false
        }
    }
}
