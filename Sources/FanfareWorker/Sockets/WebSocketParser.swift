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

/// Turns the bytes of one client into messages: RFC 6455, section 5, the server's side, with RFC 7692, section 6.
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
    private let inflater: Inflater?

    private var stage = Stage.header
    private var header = FrameHeader()
    /// Payload bytes of the current frame seen so far.
    private var payloadSeen = 0
    /// The data message being put together, unmasked but not inflated.
    private var message: [UInt8] = []
    /// What the message began with; `nil` between messages.
    private var messageOpcode: Opcode?
    private var messageIsCompressed = false
    /// Bytes at the end of a text that begin a character; the text before them has been checked.
    private var partialCharacterBytes: UInt8 = 0
    private var fragmentsSeen = 0
    /// The payload of the control frame being read.
    private var control: [UInt8] = []

    /// Bytes that messages may inflate to in one call before it ends: as many as one read brings.
    private static let inflatedBytesMaximum = 65_536

    /// - Parameters:
    ///   - limits: Bounds the bytes of a message, compressed and inflated, and its fragments.
    ///   - inflater: The loop's, when permessage-deflate was agreed with the client.
    init(limits: WorkerLimits, inflater: Inflater? = nil) {
        messageBytes = limits.messageBytes
        fragments = limits.fragments
        self.inflater = inflater
    }

    /// Takes what one read brought, or the first frames of it, and calls `event` for everything that is complete, in
    /// order. A few bytes may inflate to a thousand times as many: beyond 64 KiB of them it ends with that message.
    ///
    /// - Parameters:
    ///   - bytes: Any piece of the stream.
    ///   - frames: The most frames to finish, at least 1.
    ///   - event: Must not feed this parser.
    /// - Returns: The bytes taken: all, or those of so many frames. The others are to be fed again.
    /// - Throws: What the peer violated, as soon as it can be seen.
    mutating func feed(
        _ bytes: UnsafeRawBufferPointer,
        atMost frames: Int,
        _ event: (WebSocketEvent) -> Void
    ) throws(WebSocketViolation) -> Int {
        var left = frames
        var inflatedBytes = 0
        do throws(WebSocketViolation) {
            var position = 0
            while position < bytes.count {
                switch stage {
                case .header:
                    try header.take(bytes[position], allowsCompression: inflater != nil)
                    position += 1
                    if header.isComplete { try begin() }
                case .payload:
                    let end = position + min(bytes.count - position, header.length - payloadSeen)
                    try take(UnsafeRawBufferPointer(rebasing: bytes[position..<end]))
                    position = end
                case .finished:
                    return bytes.count
                }
                if stage == .payload, payloadSeen == header.length {
                    inflatedBytes += try finish(event)
                    left -= 1
                    if left == 0 || inflatedBytes >= Self.inflatedBytesMaximum { return position }
                }
            }
            return bytes.count
        } catch {
            stage = .finished
            release()
            throw error
        }
    }

    /// Takes what one read brought, all of it.
    mutating func feed(
        _ bytes: UnsafeRawBufferPointer,
        _ event: (WebSocketEvent) -> Void
    ) throws(WebSocketViolation) {
        var taken = 0
        while taken < bytes.count {
            taken += try feed(UnsafeRawBufferPointer(rebasing: bytes[taken...]), atMost: .max, event)
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
        if header.opcode != .continuation {
            messageOpcode = header.opcode
            messageIsCompressed = header.isCompressed
        }
        fragmentsSeen += 1
        guard fragmentsSeen <= fragments else {
            throw WebSocketViolation(.messageTooBig, "a message of more than \(fragments) fragments")
        }
        guard header.length <= messageBytes - message.count else {
            throw WebSocketViolation(.messageTooBig, "a message of more than \(messageBytes) bytes")
        }
    }

    /// Adds a piece of payload; memory follows what was received, not what was announced.
    private mutating func take(_ piece: UnsafeRawBufferPointer) throws(WebSocketViolation) {
        let offset = payloadSeen
        payloadSeen += piece.count
        guard !header.opcode.isControl else {
            return header.key.append(piece, offset: offset, to: &control)
        }
        header.key.append(piece, offset: offset, to: &message)
        let isWhole = header.isFinal && payloadSeen == header.length
        if messageOpcode == .text, !messageIsCompressed, !isWhole { try checkText(added: piece.count) }
    }

    /// Refuses an unfinished text as soon as it cannot become UTF-8 any more (section 8.1).
    ///
    /// A message that arrives at once never comes here: making the string checks it.
    private mutating func checkText(added: Int) throws(WebSocketViolation) {
        let start = message.count - added - Int(partialCharacterBytes)
        let unchecked = message.count - start
        do throws(UTF8.ValidationError) {
            _ = try UTF8Span(validating: message.span.extracting(start...))
            partialCharacterBytes = 0
        } catch {
            guard error.kind == .truncatedScalar, error.byteOffsets.upperBound == unchecked else {
                throw Self.notUTF8
            }
            partialCharacterBytes = UInt8(error.byteOffsets.count)
        }
    }

    /// - Returns: The bytes that a message inflated to.
    private mutating func finish(_ event: (WebSocketEvent) -> Void) throws(WebSocketViolation) -> Int {
        stage = .header
        defer { header = FrameHeader() }
        if header.opcode.isControl {
            let payload = control
            control = []
            try finishControl(payload, event)
        } else if header.isFinal {
            let isText = messageOpcode == .text
            let inflates = messageIsCompressed
            let payload = try takeMessage()
            let inflatedBytes = inflates ? payload.count : 0
            if isText {
                guard let text = String(validating: payload, as: UTF8.self) else { throw Self.notUTF8 }
                event(.text(text))
            } else {
                event(.binary(payload))
            }
            return inflatedBytes
        }
        return 0
    }

    private static let notUTF8 = WebSocketViolation(.invalidPayload, "text that is not UTF-8")

    /// The whole message, inflated; the parser has none afterwards.
    private mutating func takeMessage() throws(WebSocketViolation) -> [UInt8] {
        let payload = message
        let isCompressed = messageIsCompressed
        release()
        guard isCompressed, let inflater else { return payload }
        return try inflater.inflate(payload, limit: messageBytes)
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
        messageIsCompressed = false
        partialCharacterBytes = 0
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
