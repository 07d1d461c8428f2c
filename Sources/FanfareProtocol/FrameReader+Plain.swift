import FanfareModel

// The frames nearly all traffic consists of, read without unpacking them into objects first.
extension FrameReader {
    /// Reads a `SEND` or `GROUP_SEND` without options, or a `RECEIVE` with a count.
    ///
    /// - Returns: What the general way would return; `nil` for every other frame, and for one that is not valid: the
    ///   general way finds out what is wrong with it.
    func plainRequest(_ payload: UnsafeRawBufferPointer) -> Request? {
        guard isPlainAllowed, payload.count > 2, payload[0] == PlainFields.arrayOfFour else { return nil }
        var fields = PlainFields(payload, at: 2)
        switch Operation(rawValue: payload[1]) {
        case .send:
            guard let id = fields.optionalID(), let channel = fields.string(), let body = fields.lastBinary() else {
                return nil
            }
            return .send(id: id.value, channel: channel, body: body, SendOptions())
        case .groupSend:
            guard let id = fields.optionalID(), let group = fields.string(), let body = fields.lastBinary() else {
                return nil
            }
            return .groupSend(id: id.value, group: group, body: body, GroupSendOptions())
        case .receive:
            guard let id = fields.optionalID()?.value, let channel = fields.string(), let count = fields.integer(),
                Bounds.receiveCount.contains(count), fields.isAtEnd
            else { return nil }
            return .receive(id: id, channel: channel, count: Int(count))
        default: return nil
        }
    }

    /// Whether the limits on values and nesting cannot be reached by such frames.
    private var isPlainAllowed: Bool { limits.elements >= 5 && limits.nesting >= 1 }
}

/// A walk through MessagePack values of known kinds; every step answers `nil` when the next one is of another kind,
/// longer than what is there, or out of its range.
private struct PlainFields {
    static let arrayOfFour: UInt8 = 0x94

    private let bytes: UnsafeRawBufferPointer
    private var position: Int

    init(_ bytes: UnsafeRawBufferPointer, at position: Int) {
        self.bytes = bytes
        self.position = position
    }

    /// What stands in the place of an id.
    struct OptionalID {
        let value: RequestID?
    }

    var isAtEnd: Bool { position == bytes.count }

    /// An id, or a `nil` that stands for none.
    mutating func optionalID() -> OptionalID? {
        if position < bytes.count, bytes[position] == 0xc0 {
            position += 1
            return OptionalID(value: nil)
        }
        guard let id = integer(), Bounds.requestID.contains(id) else { return nil }
        return OptionalID(value: id)
    }

    mutating func integer() -> UInt64? {
        guard let byte = number(1) else { return nil }
        switch byte {
        case 0x00...0x7f: return byte
        case 0xcc: return number(1)
        case 0xcd: return number(2)
        case 0xce: return number(4)
        case 0xcf: return number(8)
        default: return nil
        }
    }

    /// A text of ASCII, as all valid names are.
    mutating func string() -> String? {
        guard let byte = number(1) else { return nil }
        let count: UInt64? =
            switch byte {
            case 0xa0...0xbf: byte & 0x1f
            case 0xd9: number(1)
            case 0xda: number(2)
            default: nil
            }
        guard let text = take(count), text.allSatisfy({ $0 < 0x80 }) else { return nil }
        return String(decoding: text, as: UTF8.self)
    }

    /// Bytes with nothing behind them, copied once into an array of their exact size.
    mutating func lastBinary() -> Body? {
        guard let byte = number(1) else { return nil }
        let count: UInt64? =
            switch byte {
            case 0xc4: number(1)
            case 0xc5: number(2)
            case 0xc6: number(4)
            default: nil
            }
        guard let body = take(count), isAtEnd else { return nil }
        return Body(body)
    }

    /// A big-endian number of `width` bytes.
    private mutating func number(_ width: Int) -> UInt64? {
        guard width <= bytes.count - position else { return nil }
        var value: UInt64 = 0
        for offset in position..<(position + width) { value = value << 8 | UInt64(bytes[offset]) }
        position += width
        return value
    }

    private mutating func take(_ count: UInt64?) -> UnsafeRawBufferPointer? {
        guard let count, count <= UInt64(bytes.count - position) else { return nil }
        defer { position += Int(count) }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<(position + Int(count))])
    }
}
