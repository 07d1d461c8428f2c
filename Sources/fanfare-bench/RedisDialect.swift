/// Redis, RESP 2: `PUBLISH` to subscribed connections; `RPUSH` and `BLPOP`, or `PUBLISH`, between two.
final class RedisDialect: BrokerDialect {
    let name = "redis"
    let answersJoin = true
    private let usesLists: Bool

    /// - Parameter usesLists: Whether send-receive goes through a list, which keeps what nobody reads yet.
    init(usesLists: Bool) {
        self.usesLists = usesLists
    }

    private func command(_ words: [[UInt8]]) -> [UInt8] {
        var bytes = Array("*\(words.count)\r\n".utf8)
        for word in words {
            bytes += Array("$\(word.count)\r\n".utf8)
            bytes += word
            bytes += [13, 10]
        }
        return bytes
    }

    private func template(_ name: String, _ key: String, payload: Int) -> BrokerTemplate {
        let message = [UInt8](repeating: UInt8(ascii: "x"), count: payload)
        let bytes = command([Array(name.utf8), Array(key.utf8), message])
        return BrokerTemplate(bytes, sequenceOffset: bytes.count - 2 - payload)
    }

    func opening(node: String) -> [UInt8] { [] }

    func join(_ group: String, node: String) -> [UInt8] {
        command([Array("SUBSCRIBE".utf8), Array(group.utf8)])
    }

    func publish(to group: String, payload: Int, acknowledged: Bool) -> BrokerTemplate {
        template("PUBLISH", group, payload: payload)
    }

    func send(to channel: String, payload: Int) -> BrokerTemplate {
        template(usesLists ? "RPUSH" : "PUBLISH", channel, payload: payload)
    }

    func receive(from channel: String) -> BrokerTemplate? {
        guard usesLists else { return nil }
        return BrokerTemplate(command([Array("BLPOP".utf8), Array(channel.utf8), Array("0".utf8)]))
    }

    func pong(_ number: UInt64) -> [UInt8] { [] }

    func read(_ bytes: UnsafeRawBufferPointer, into frame: inout BrokerFrame) throws -> Int {
        guard let first = bytes.first, let line = try Self.line(bytes, at: 0) else { return 0 }
        switch first {
        case UInt8(ascii: ":"), UInt8(ascii: "+"):
            frame.kind = .acknowledged
            frame.number = 0
            frame.count = 1
            return line.end
        case UInt8(ascii: "*"): return try readArray(bytes, count: line.number, from: line.end, into: &frame)
        default:
            let text = String(decoding: bytes.prefix(line.end), as: UTF8.self)
            throw LoadFailure("Redis answered \(text.split(separator: "\r\n").first ?? "")")
        }
    }

    /// `message` and the answer to `BLPOP` end with the message; the answer to `SUBSCRIBE` with a number.
    private func readArray(
        _ bytes: UnsafeRawBufferPointer,
        count: Int,
        from start: Int,
        into frame: inout BrokerFrame
    ) throws -> Int {
        frame.kind = .other
        var offset = start
        for index in 0..<count {
            guard offset < bytes.count, let line = try Self.line(bytes, at: offset) else { return 0 }
            let isText = bytes[offset] == UInt8(ascii: "$")
            let end = isText ? line.end + line.number + 2 : line.end
            guard end <= bytes.count else { return 0 }
            if index == count - 1 {
                frame.kind = isText ? .delivery : .acknowledged
                frame.count = 1
                frame.number = 0
                if isText {
                    var cursor = BrokerCursor(bytes, at: line.end)
                    frame.number = try cursor.sequence(ofMessage: line.number)
                }
            }
            offset = end
        }
        return offset
    }

    /// The number behind the first byte of a line, and where the line ends; `nil` when its end has not come yet.
    private static func line(_ bytes: UnsafeRawBufferPointer, at start: Int) throws -> (number: Int, end: Int)? {
        var number = 0
        var offset = start + 1
        while offset < bytes.count {
            let byte = bytes[offset]
            if byte == 13 { return offset + 1 < bytes.count ? (number, offset + 2) : nil }
            // Texts of errors have no number; nobody asks for it.
            if byte >= 48, byte <= 57, number < 1 << 40 { number = number * 10 + Int(byte - 48) }
            offset += 1
        }
        return nil
    }
}
