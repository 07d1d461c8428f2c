/// The head of one WebSocket frame from a server (RFC 6455, section 5.2): only what servers of a load send, which is
/// unmasked and not fragmented.
struct ServerFrame: Equatable {
    let opcode: UInt8
    let headBytes: Int
    let payloadBytes: Int

    /// What stands at the front of some bytes.
    enum Scan: Equatable {
        case frame(ServerFrame)
        /// More bytes must come before it is a whole frame.
        case incomplete
        /// It cannot become a frame that a load understands.
        case malformed
    }

    static let payloadMaximum = 16 << 20
    private static let controlMaximum = 125

    /// Reads the frame that begins at `offset`.
    static func scan(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Scan {
        let available = bytes.count - offset
        guard available >= 2 else { return .incomplete }
        let (first, second) = (bytes[offset], bytes[offset + 1])
        let opcode = first & 0x0F
        guard first & 0xF0 == 0x80, second & 0x80 == 0 else { return .malformed }
        var (head, length) = (2, Int(second))
        if length > controlMaximum {
            guard opcode < 8 else { return .malformed }
            head = length == 126 ? 4 : 10
            guard available >= head else { return .incomplete }
            var long: UInt64 = 0
            for index in 2..<head { long = long << 8 | UInt64(bytes[offset + index]) }
            guard long <= UInt64(payloadMaximum) else { return .malformed }
            length = Int(long)
        }
        guard available >= head + length else { return .incomplete }
        return .frame(ServerFrame(opcode: opcode, headBytes: head, payloadBytes: length))
    }

    /// The bytes of a frame from a client: masked as it must be, with a mask of zeros.
    static func fromClient(opcode: UInt8, _ payload: [UInt8]) -> [UInt8] {
        var frame: [UInt8] = [0x80 | opcode]
        switch payload.count {
        case ..<126: frame.append(0x80 | UInt8(payload.count))
        case ...0xFFFF: frame += [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        default:
            frame.append(0x80 | 127)
            for shift in stride(from: 56, through: 0, by: -8) { frame.append(UInt8(payload.count >> shift & 0xFF)) }
        }
        return frame + [0, 0, 0, 0] + payload
    }
}
