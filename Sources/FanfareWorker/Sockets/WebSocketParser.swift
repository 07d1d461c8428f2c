/// What a peer did that ends its connection, and with which code.
struct WebSocketViolation: Error, Equatable {
    let code: CloseCode
    /// For the close frame and the log.
    let reason: String

    init(_ code: CloseCode, _ reason: String) {
        self.code = code
        self.reason = reason
    }
}

/// What a client's bytes mean once the frames are put together.
enum WebSocketEvent: Equatable {
    /// A whole text message; its UTF-8 has been checked.
    case text(String)
    /// A whole binary message.
    case binary([UInt8])
    case ping([UInt8])
    case pong
    /// The peer closes; without a code in its frame, `noStatus`. Nothing follows.
    case close(CloseCode, reason: String)
}

/// Turns the bytes of one client into messages: RFC 6455, section 5, the server's side.
///
/// Pure and incremental: any cut of the stream gives the same events. Holds only bytes that have been received, at
/// most one message and one control frame. After an error or a close event, whatever comes is ignored.
struct WebSocketParser {
    private enum Stage {
        case header
        case payload
        case finished
    }

    private let messageBytes: Int
    private let fragments: Int

    private var stage = Stage.header
    private var header = FrameHeader()
    /// Payload bytes of the current frame seen so far.
    private var payloadSeen = 0
    /// The data message being put together, unmasked.
    private var message: [UInt8] = []
    /// What the message began with; `nil` between messages.
    private var messageOpcode: Opcode?
    private var fragmentsSeen = 0
    /// The payload of the control frame being read.
    private var control: [UInt8] = []

    /// - Parameter limits: Bounds the bytes and the fragments of a message.
    init(limits: WorkerLimits) {
        messageBytes = limits.messageBytes
        fragments = limits.fragments
    }

    /// Takes what one read brought and calls `event` for everything that is complete, in order.
    ///
    /// - Parameters:
    ///   - bytes: Any piece of the stream.
    ///   - event: Must not feed this parser.
    /// - Throws: What the peer violated, as soon as it can be seen.
    mutating func feed(
        _ bytes: UnsafeRawBufferPointer,
        _ event: (WebSocketEvent) -> Void
    ) throws(WebSocketViolation) {
        do throws(WebSocketViolation) {
            var position = 0
            while position < bytes.count {
                switch stage {
                case .header:
                    try header.take(bytes[position])
                    position += 1
                    if header.isComplete { try begin() }
                case .payload:
                    let end = position + min(bytes.count - position, header.length - payloadSeen)
                    take(UnsafeRawBufferPointer(rebasing: bytes[position..<end]))
                    position = end
                case .finished:
                    return
                }
                if stage == .payload, payloadSeen == header.length { try finish(event) }
            }
        } catch {
            stage = .finished
            release()
            throw error
        }
    }

    /// Checks a complete header against the message it belongs to.
    private mutating func begin() throws(WebSocketViolation) {
        stage = .payload
        payloadSeen = 0
        guard !header.opcode.isControl else { return }
        guard (header.opcode == .continuation) == (messageOpcode != nil) else {
            throw WebSocketViolation(
                .protocolError,
                messageOpcode == nil ? "a continuation without a message" : "a message inside a fragmented one"
            )
        }
        if header.opcode != .continuation { messageOpcode = header.opcode }
        fragmentsSeen += 1
        guard fragmentsSeen <= fragments else {
            throw WebSocketViolation(.messageTooBig, "a message of more than \(fragments) fragments")
        }
        guard header.length <= messageBytes - message.count else {
            throw WebSocketViolation(.messageTooBig, "a message of more than \(messageBytes) bytes")
        }
    }

    /// Adds a piece of payload; memory follows what was received, not what was announced.
    private mutating func take(_ piece: UnsafeRawBufferPointer) {
        if header.opcode.isControl {
            header.key.append(piece, offset: payloadSeen, to: &control)
        } else {
            header.key.append(piece, offset: payloadSeen, to: &message)
        }
        payloadSeen += piece.count
    }

    private mutating func finish(_ event: (WebSocketEvent) -> Void) throws(WebSocketViolation) {
        stage = .header
        defer { header = FrameHeader() }
        if header.opcode.isControl {
            let payload = control
            control = []
            try finishControl(payload, event)
        } else if header.isFinal {
            let payload = message
            let opcode = messageOpcode
            release()
            guard opcode == .text else { return event(.binary(payload)) }
            guard let text = String(validating: payload, as: UTF8.self) else {
                throw WebSocketViolation(.invalidPayload, "text that is not UTF-8")
            }
            event(.text(text))
        }
    }

    private mutating func finishControl(
        _ payload: [UInt8],
        _ event: (WebSocketEvent) -> Void
    ) throws(WebSocketViolation) {
        switch header.opcode {
        case .ping: event(.ping(payload))
        case .pong: event(.pong)
        default:
            let (code, reason) = try Self.closing(payload)
            stage = .finished
            release()
            event(.close(code, reason: reason))
        }
    }

    /// Reads the payload of a close frame: nothing, or a code and UTF-8 (section 5.5.1).
    private static func closing(_ payload: [UInt8]) throws(WebSocketViolation) -> (CloseCode, String) {
        guard !payload.isEmpty else { return (.noStatus, "") }
        guard payload.count >= 2 else { throw WebSocketViolation(.protocolError, "a close frame of one byte") }
        let code = CloseCode(rawValue: UInt16(payload[0]) << 8 | UInt16(payload[1]))
        guard code.isAllowedOnWire else {
            throw WebSocketViolation(.protocolError, "the close code \(code.rawValue)")
        }
        guard let reason = String(validating: payload[2...], as: UTF8.self) else {
            throw WebSocketViolation(.invalidPayload, "a close reason that is not UTF-8")
        }
        return (code, reason)
    }

    /// An idle socket keeps no buffers.
    private mutating func release() {
        message = []
        messageOpcode = nil
        fragmentsSeen = 0
    }
}

extension MaskingKey {
    /// Appends `piece`, unmasked.
    fileprivate func append(_ piece: UnsafeRawBufferPointer, offset: Int, to target: inout [UInt8]) {
        let start = target.count
        target.append(contentsOf: piece)
        target.withUnsafeMutableBytes {
            apply(to: UnsafeMutableRawBufferPointer(rebasing: $0[start...]), offset: offset)
        }
    }
}
