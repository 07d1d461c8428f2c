/// Why a WebSocket was closed: RFC 6455, section 7.4, and the registry it opened.
struct CloseCode: RawRepresentable, Hashable, Sendable {
    let rawValue: UInt16

    /// The job is done.
    static let normal = CloseCode(rawValue: 1_000)
    /// The worker stops, or the page was left: connect again, perhaps elsewhere.
    static let goingAway = CloseCode(rawValue: 1_001)
    /// The peer broke the rules of the protocol.
    static let protocolError = CloseCode(rawValue: 1_002)
    /// The consumer takes text only.
    static let unsupportedData = CloseCode(rawValue: 1_003)
    /// Never on the wire: the peer's close frame had no code.
    static let noStatus = CloseCode(rawValue: 1_005)
    /// Never on the wire: the connection ended without a close frame.
    static let abnormal = CloseCode(rawValue: 1_006)
    /// Text that is not UTF-8.
    static let invalidPayload = CloseCode(rawValue: 1_007)
    /// A message over the limit.
    static let messageTooBig = CloseCode(rawValue: 1_009)
    /// Something failed on this side that a second try will not mend.
    static let internalError = CloseCode(rawValue: 1_011)
    /// What the socket had registered is gone: connect again.
    static let serviceRestart = CloseCode(rawValue: 1_012)
    /// Not now: no broker, or the peer reads too slowly. Connect again later.
    static let tryAgainLater = CloseCode(rawValue: 1_013)

    init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// Whether a peer may put this code into a close frame.
    var isAllowedOnWire: Bool {
        switch rawValue {
        case 1_000...1_003, 1_007...1_014, 3_000...4_999: true
        default: false
        }
    }
}
