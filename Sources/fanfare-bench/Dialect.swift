import ArgumentParser

/// What the clients of a server speak.
enum Dialect: String, ExpressibleByArgument, CaseIterable {
    /// `{"message":"…"}` in both directions, as in the tutorial of Django Channels.
    case chat
    /// The same text, which the server relays as it is.
    case frames
    /// MQTT 3.1.1 in binary frames, quality of service 0; the room is the topic.
    case mqtt

    var subprotocol: String? { self == .mqtt ? "mqtt" : nil }

    /// Where the number of a message stands in what a server delivers, or nil when it is no message of a load.
    ///
    /// - Parameter payload: Of one WebSocket frame.
    func numberOffset(in payload: UnsafeRawBufferPointer) -> Int? {
        var start = 0
        if self == .mqtt {
            guard let head = MQTT.publishHeadBytes(payload) else { return nil }
            start = head
        }
        // Python's json writes a space after the colon.
        start += Message.prefix.count
        if start < payload.count, payload[start - 1] == UInt8(ascii: " ") { start += 1 }
        return start + Message.stampBytes <= payload.count ? start : nil
    }
}

/// The little of MQTT 3.1.1 that a load needs; each packet travels in one WebSocket frame.
enum MQTT {
    static let connectAccepted: [UInt8] = [0x20, 2, 0, 0]
    static let subscribeAnswer: UInt8 = 0x90

    /// Section 3.1: a clean session without keep-alive.
    static func connect(client: String) -> [UInt8] {
        packet(0x10, string("MQTT") + [4, 0x02, 0, 0] + string(client))
    }

    /// Section 3.8.
    static func subscribe(_ topic: String) -> [UInt8] {
        packet(0x82, [0, 1] + string(topic) + [0])
    }

    /// Section 3.3.
    static func publish(_ payload: [UInt8], to topic: String) -> [UInt8] {
        packet(0x30, string(topic) + payload)
    }

    /// The bytes before the payload of a PUBLISH of quality 0, or nil for anything else.
    static func publishHeadBytes(_ packet: UnsafeRawBufferPointer) -> Int? {
        guard packet.count > 4, packet[0] & 0xF6 == 0x30 else { return nil }
        guard let lengthEnd = packet[1..<5].firstIndex(where: { $0 & 0x80 == 0 }), lengthEnd + 2 < packet.count else {
            return nil
        }
        return lengthEnd + 3 + Int(packet[lengthEnd + 1]) << 8 + Int(packet[lengthEnd + 2])
    }

    private static func string(_ text: String) -> [UInt8] {
        [UInt8(text.utf8.count >> 8 & 0xFF), UInt8(text.utf8.count & 0xFF)] + Array(text.utf8)
    }

    private static func packet(_ first: UInt8, _ rest: [UInt8]) -> [UInt8] {
        var (length, head) = (rest.count, [first])
        repeat {
            head.append(UInt8(length & 0x7F) | (length > 0x7F ? 0x80 : 0))
            length >>= 7
        } while length > 0
        return head + rest
    }
}

/// The messages of one room, as frames that are ready but for their stamp: a number and a time, sixteen hexadecimal
/// digits each.
struct Message {
    static let prefix = Array("{\"message\":\"".utf8)
    private static let suffix = Array("\"}".utf8)
    static let stampBytes = 32
    /// Bytes of the shortest and the longest message.
    static let sizes = (prefix.count + stampBytes + suffix.count)...1_000_000

    private(set) var frame: [UInt8]
    private let stampOffset: Int

    /// - Parameter bytes: Of the whole message, see ``sizes``.
    init(_ dialect: Dialect, room: String, bytes: Int) {
        let filling = bytes - Self.prefix.count - Self.suffix.count
        var message = Self.prefix + [UInt8](repeating: UInt8(ascii: "x"), count: filling) + Self.suffix
        if dialect == .mqtt { message = MQTT.publish(message, to: room) }
        frame = ServerFrame.fromClient(opcode: dialect == .mqtt ? 2 : 1, message)
        stampOffset = frame.count - Self.suffix.count - filling
    }

    mutating func stamp(number: UInt64, time: UInt64) {
        for (value, offset) in [(number, stampOffset), (time, stampOffset + 16)] {
            for digit in 0..<16 {
                let nibble = UInt8(value >> UInt64(60 - 4 * digit) & 0xF)
                frame[offset + digit] = nibble < 10 ? 48 + nibble : 87 + nibble
            }
        }
    }

    /// The number and the time of a stamp; of bytes that are none, some number or other.
    static func readStamp(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> (number: UInt64, time: UInt64) {
        (hexadecimal(bytes, at: offset), hexadecimal(bytes, at: offset + 16))
    }

    private static func hexadecimal(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in offset..<offset + 16 {
            let digit = bytes[index]
            value = value << 4 | UInt64((digit & 0xF) &+ (digit >> 6) &* 9)
        }
        return value
    }
}
