import FanfareModel

/// The first element of every frame: the operation numbers of `proto/PROTOCOL.md`, in one place.
package enum Operation: UInt8, Sendable, CaseIterable {
    // Section 3: opening and keeping a connection.
    case hello = 1
    case ping = 2
    case pong = 3
    case goodbye = 4
    case clock = 5
    case welcome = 64
    case goAway = 100

    // Section 5: requests.
    case send = 10
    case receive = 11
    case cancel = 12
    case giveBack = 13
    case report = 14
    case openChannels = 15
    case closeChannels = 16
    case groupAdd = 20
    case groupDiscard = 21
    case groupSend = 22
    case outcome = 23
    case flush = 30
    case inspect = 31
    case tail = 32
    case admin = 33

    // Sections 4 and 6: replies and notices.
    case ack = 70
    case error = 71
    case result = 72
    case deliver = 80
    case handOut = 81
    case gap = 82
    case groupDeliver = 90
    case members = 91
    case flushed = 92
    case tailed = 93

    /// The name of the protocol text, for errors, logs and tests.
    package var name: String {
        switch self {
        case .hello: "HELLO"
        case .ping: "PING"
        case .pong: "PONG"
        case .goodbye: "GOODBYE"
        case .clock: "CLOCK"
        case .welcome: "WELCOME"
        case .goAway: "GOAWAY"
        case .send: "SEND"
        case .receive: "RECEIVE"
        case .cancel: "CANCEL"
        case .giveBack: "GIVE_BACK"
        case .report: "REPORT"
        case .openChannels: "OPEN_CHANNELS"
        case .closeChannels: "CLOSE_CHANNELS"
        case .groupAdd: "GROUP_ADD"
        case .groupDiscard: "GROUP_DISCARD"
        case .groupSend: "GROUP_SEND"
        case .outcome: "OUTCOME"
        case .flush: "FLUSH"
        case .inspect: "INSPECT"
        case .tail: "TAIL"
        case .admin: "ADMIN"
        case .ack: "ACK"
        case .error: "ERROR"
        case .result: "RESULT"
        case .deliver: "DELIVER"
        case .handOut: "HAND_OUT"
        case .gap: "GAP"
        case .groupDeliver: "GROUP_DELIVER"
        case .members: "MEMBERS"
        case .flushed: "FLUSHED"
        case .tailed: "TAILED"
        }
    }
}

/// Ranges that belong to the protocol text itself and that no configuration moves.
enum Bounds {
    /// Request ids: what every client language holds exactly, doubles included.
    static let requestID: ClosedRange<UInt64> = 1...((1 << 53) - 1)
    /// Messages one `RECEIVE` may ask for.
    static let receiveCount: ClosedRange<UInt64> = 1...65_535
    /// Channels a `GROUP_SEND` may leave out.
    static let excluded = 256
    /// How long an `INSPECT` may look.
    static let inspectionMilliseconds: ClosedRange<UInt64> = 1...10_000
    /// Copies a second a `TAIL` may ask for.
    static let tailRate: ClosedRange<UInt64> = 1...10_000
    /// Bytes of a glob: matching costs up to pattern times name, for every name that is looked at.
    static let patternBytes = 256
    /// Every other integer: what a signed 64-bit reader holds.
    static let integer: ClosedRange<UInt64> = 0...UInt64(Int64.max)
    /// Bytes of an error's text, a reason or an attribute.
    static let textBytes = Limits().textBytes
}
