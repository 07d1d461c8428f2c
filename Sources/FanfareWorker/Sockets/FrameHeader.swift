/// The frame types of RFC 6455, section 5.2.
package enum Opcode: UInt8, Sendable {
    case continuation = 0x0
    case text = 0x1
    case binary = 0x2
    case close = 0x8
    case ping = 0x9
    case pong = 0xa

    var isControl: Bool { rawValue & 0x8 != 0 }
}

/// The header of a client's frame, read byte by byte and refused at the first byte that is wrong.
struct FrameHeader {
    private(set) var isFinal = true
    private(set) var opcode = Opcode.continuation
    /// Whether RSV1 is set: the frame begins a compressed message (RFC 7692, section 6).
    private(set) var isCompressed = false
    /// Bytes of the payload, valid when the header is complete.
    private(set) var length = 0

    private var bytes = InlineArray<14, UInt8>(repeating: 0)
    private var count = 0
    private var countNeeded = 2

    /// What a control frame may carry (section 5.5).
    static let controlBytes = 125

    var isComplete: Bool { count == countNeeded }

    /// The last four bytes of the header.
    var key: MaskingKey {
        MaskingKey(bytes[count - 4], bytes[count - 3], bytes[count - 2], bytes[count - 1])
    }

    /// Takes the next byte of an incomplete header.
    ///
    /// - Parameters:
    ///   - byte: The byte.
    ///   - allowsCompression: Whether permessage-deflate was agreed.
    mutating func take(_ byte: UInt8, allowsCompression: Bool) throws(WebSocketViolation) {
        bytes[count] = byte
        count += 1
        switch count {
        case 1: try checkFirst(byte, allowsCompression: allowsCompression)
        case 2: try checkSecond(byte)
        default: break
        }
        if count > 2, isComplete { try readLength() }
    }

    private mutating func checkFirst(_ byte: UInt8, allowsCompression: Bool) throws(WebSocketViolation) {
        isFinal = byte & 0x80 != 0
        isCompressed = byte & 0x40 != 0
        guard byte & 0x30 == 0, allowsCompression || !isCompressed else {
            throw WebSocketViolation(.protocolError, "a reserved bit without an extension")
        }
        guard let opcode = Opcode(rawValue: byte & 0x0f) else {
            throw WebSocketViolation(.protocolError, "the reserved opcode \(byte & 0x0f)")
        }
        guard isFinal || !opcode.isControl else {
            throw WebSocketViolation(.protocolError, "a fragmented control frame")
        }
        guard !isCompressed || opcode == .text || opcode == .binary else {
            throw WebSocketViolation(.protocolError, "the bit for compression in a frame that begins no message")
        }
        self.opcode = opcode
    }

    private mutating func checkSecond(_ byte: UInt8) throws(WebSocketViolation) {
        guard byte & 0x80 != 0 else {
            throw WebSocketViolation(.protocolError, "a frame without a mask")
        }
        length = Int(byte & 0x7f)
        guard !opcode.isControl || length <= Self.controlBytes else {
            throw WebSocketViolation(.protocolError, "a control frame of more than \(Self.controlBytes) bytes")
        }
        let lengthBytes = length == 126 ? 2 : length == 127 ? 8 : 0
        countNeeded = 2 + lengthBytes + 4
    }

    private mutating func readLength() throws(WebSocketViolation) {
        let lengthBytes = countNeeded - 6
        guard lengthBytes > 0 else { return }
        var value: UInt64 = 0
        for index in 2..<(2 + lengthBytes) { value = value << 8 | UInt64(bytes[index]) }
        guard let exact = Int(exactly: value) else {
            throw WebSocketViolation(.protocolError, "a length with its highest bit set")
        }
        length = exact
    }
}
