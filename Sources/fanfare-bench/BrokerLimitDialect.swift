/// The bare loop's links: a frame is its length, 32 bits, and that many bytes; see `Sources/CLimit/framing.c`.
final class BrokerLimitDialect: BrokerDialect {
    let name = "limit"
    /// With an empty frame.
    let answersJoin = true

    private func frame(_ payload: [UInt8]) -> [UInt8] {
        withUnsafeBytes(of: UInt32(payload.count).bigEndian) { Array($0) } + payload
    }

    func opening(node: String) -> [UInt8] { [] }

    func join(_ group: String, node: String) -> [UInt8] {
        frame(Array("S\(group)".utf8))
    }

    func openingPublisher(to group: String) -> [UInt8] {
        frame(Array("P\(group)".utf8))
    }

    func publish(to group: String, payload: Int, acknowledged: Bool) -> BrokerTemplate {
        BrokerTemplate(frame([UInt8](repeating: UInt8(ascii: "x"), count: payload)), sequenceOffset: 4)
    }

    func send(to channel: String, payload: Int) -> BrokerTemplate {
        publish(to: channel, payload: payload, acknowledged: false)
    }

    let answersSend = false

    func receive(from channel: String) -> BrokerTemplate? { nil }

    func pong(_ number: UInt64) -> [UInt8] { [] }

    func read(_ bytes: UnsafeRawBufferPointer, into frame: inout BrokerFrame) throws -> Int {
        guard bytes.count >= 4 else { return 0 }
        let length = Int(UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
        guard bytes.count - 4 >= length else { return 0 }
        frame.count = 1
        frame.number = 0
        frame.kind = length == 0 ? .acknowledged : .delivery
        if length > 0 {
            var cursor = BrokerCursor(bytes, at: 4)
            frame.number = try cursor.sequence(ofMessage: length)
        }
        return 4 + length
    }
}
