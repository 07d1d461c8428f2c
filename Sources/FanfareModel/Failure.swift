/// Why a request, a frame or a connection was refused: the error table of `proto/PROTOCOL.md`, section 4.
package enum ErrorCode: UInt16, Sendable, CaseIterable {
    case frameTooLarge = 1
    case malformedFrame = 2
    case helloExpected = 3
    case helloRepeated = 4
    case unsupportedProtocol = 5
    case badHello = 6
    case unauthorized = 7
    case forbidden = 8
    case nodeTaken = 9
    case unknownOperation = 10
    case badRequest = 11
    case badName = 12
    case tooManyNames = 13
    case duplicateID = 14
    case notOffered = 15
    case channelFull = 20
    case messageTooLarge = 21
    case notOwner = 22
    case notFound = 23
    case limitReached = 24
    case draining = 30
    case linkOverflow = 31
    case silence = 32
    case kicked = 33

    /// The name of the code in texts, logs and JSON.
    package var name: String {
        switch self {
        case .frameTooLarge: "frame_too_large"
        case .malformedFrame: "malformed_frame"
        case .helloExpected: "hello_expected"
        case .helloRepeated: "hello_repeated"
        case .unsupportedProtocol: "unsupported_protocol"
        case .badHello: "bad_hello"
        case .unauthorized: "unauthorized"
        case .forbidden: "forbidden"
        case .nodeTaken: "node_taken"
        case .unknownOperation: "unknown_operation"
        case .badRequest: "bad_request"
        case .badName: "bad_name"
        case .tooManyNames: "too_many_names"
        case .duplicateID: "duplicate_id"
        case .notOffered: "not_offered"
        case .channelFull: "channel_full"
        case .messageTooLarge: "message_too_large"
        case .notOwner: "not_owner"
        case .notFound: "not_found"
        case .limitReached: "limit_reached"
        case .draining: "draining"
        case .linkOverflow: "link_overflow"
        case .silence: "silence"
        case .kicked: "kicked"
        }
    }

    /// Whether the same request may succeed later without being changed.
    package var isRetryable: Bool {
        switch self {
        case .nodeTaken, .channelFull, .limitReached, .draining, .linkOverflow, .silence: true
        default: false
        }
    }

    /// Whether the stream cannot go on: the broker writes the error and closes.
    package var isFatal: Bool {
        switch self {
        case .frameTooLarge, .malformedFrame, .helloExpected, .unsupportedProtocol, .badHello, .unauthorized,
            .nodeTaken, .linkOverflow, .silence, .kicked:
            true
        default: false
        }
    }
}

/// A refusal with its text for people.
package struct Failure: Error, Sendable, Equatable {
    package var code: ErrorCode
    /// What happened, the value, what to do. Cut to ``Limits/textBytes`` on the wire.
    package var text: String
    /// Whether the request was certainly not carried out: false only in a client whose session ended before the answer.
    package var isOutcomeKnown: Bool

    package init(_ code: ErrorCode, _ text: String, isOutcomeKnown: Bool = true) {
        self.code = code
        self.text = text
        self.isOutcomeKnown = isOutcomeKnown
    }
}

/// Why a message reached fewer readers than it was sent to.
package enum DropReason: UInt8, Sendable, CaseIterable {
    case full = 1
    case expired = 2
    case ownerGone = 3
    case tooLarge = 4
    case linkOverflow = 5
    case undecodable = 6
    case flushed = 7
    case injected = 8

    /// The name of the reason in inspection, logs and metrics.
    package var name: String {
        switch self {
        case .full: "full"
        case .expired: "expired"
        case .ownerGone: "owner_gone"
        case .tooLarge: "too_large"
        case .linkOverflow: "link_overflow"
        case .undecodable: "undecodable"
        case .flushed: "flushed"
        case .injected: "injected"
        }
    }
}
