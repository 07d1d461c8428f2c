import FanfareModel
import FanfareProtocol

/// The Fanfare protocol: requests are encoded by `FanfareProtocol`, the replies that come in numbers read by hand.
final class BrokerFanfareDialect: BrokerDialect {
    let name = "fanfare"
    let answersJoin = true

    private let reader = FrameReader(limits: Limits())
    private let frames = FrameBuffer()

    /// Behind the length, the array and the operation, one byte each, and the marker of a 32-bit number.
    private static let idOffset = 7

    func encode(_ request: Request) -> [UInt8] {
        frames.append(request)
        defer { frames.removeAll() }
        return frames.withUnsafeBytes { [UInt8]($0) }
    }

    func opening(node: String) -> [UInt8] {
        var hello = Hello(client: "fanfare-bench/1", name: node, role: .worker, policy: Policy(Limits()))
        hello.node = node
        return encode(.hello(hello))
    }

    /// A process channel of the link that owns `node`.
    static func channel(_ number: Int, node: String) -> String {
        "bench.\(node)!\(number)"
    }

    func join(_ group: String, node: String) -> [UInt8] {
        let channels = [Self.channel(0, node: node)]
        return encode(
            .groupAdd(id: BrokerTemplate.idBase, group: group, channels: channels, groupExpiry: nil)
        )
    }

    func publish(to group: String, payload: Int, acknowledged: Bool) -> BrokerTemplate {
        let id = acknowledged ? BrokerTemplate.idBase : nil
        let body = Body(repeating: UInt8(ascii: "x"), count: payload)
        let bytes = encode(.groupSend(id: id, group: group, body: body, GroupSendOptions()))
        return BrokerTemplate(
            bytes,
            sequenceOffset: bytes.count - payload,
            idOffset: acknowledged ? Self.idOffset : nil
        )
    }

    func send(to channel: String, payload: Int) -> BrokerTemplate {
        let body = Body(repeating: UInt8(ascii: "x"), count: payload)
        let bytes = encode(.send(id: BrokerTemplate.idBase, channel: channel, body: body, SendOptions()))
        return BrokerTemplate(bytes, sequenceOffset: bytes.count - payload, idOffset: Self.idOffset)
    }

    func receive(from channel: String) -> BrokerTemplate? {
        let bytes = encode(.receive(id: BrokerTemplate.idBase, channel: channel, count: 1))
        return BrokerTemplate(bytes, idOffset: Self.idOffset)
    }

    func pong(_ number: UInt64) -> [UInt8] {
        encode(.pong(number))
    }

    func read(_ bytes: UnsafeRawBufferPointer, into frame: inout BrokerFrame) throws -> Int {
        guard bytes.count >= 4 else { return 0 }
        let length = Int(UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
        guard bytes.count - 4 >= length else { return 0 }
        let payload = UnsafeRawBufferPointer(rebasing: bytes[4..<(4 + length)])
        var cursor = BrokerCursor(payload)
        let fields = try Self.arrayCount(&cursor)
        switch Operation(rawValue: try cursor.byte()) {
        case .groupDeliver, .deliver:
            try cursor.skip(try Self.length(&cursor))
            frame.kind = .delivery
            frame.number = try cursor.sequence(ofMessage: try Self.length(&cursor))
        case .handOut:
            _ = try Self.integer(&cursor)
            frame.kind = .delivery
            frame.number = try cursor.sequence(ofMessage: try Self.length(&cursor))
        case .ack:
            try readAcknowledgement(ids: fields - 1, &cursor, into: &frame)
        case .ping:
            frame.kind = .ping
            frame.number = try Self.integer(&cursor)
        case .welcome: frame.kind = .opened
        default: try readRest(payload, into: &frame)
        }
        return 4 + length
    }

    /// Answers keep the order of the requests, so the ids of one frame follow each other.
    private func readAcknowledgement(
        ids: Int,
        _ cursor: inout BrokerCursor,
        into frame: inout BrokerFrame
    ) throws {
        frame.kind = .acknowledged
        frame.count = ids
        frame.number = try Self.integer(&cursor)
        var last = frame.number
        for _ in 1..<max(ids, 1) {
            let id = try Self.integer(&cursor)
            guard id == last + 1 || id == BrokerTemplate.idBase else {
                throw LoadFailure("the broker acknowledged request \(id) after \(last)")
            }
            last = id
        }
    }

    private func readRest(_ payload: UnsafeRawBufferPointer, into frame: inout BrokerFrame) throws {
        for reply in try reader.reply(payload) {
            switch reply {
            case .error(_, let failure): throw failure
            case .gap(let gap): throw LoadFailure("the broker dropped \(gap.count) messages: \(gap.reason)")
            case .goAway(_, let reason, _): throw LoadFailure("the broker goes away: \(reason)")
            default: frame.kind = .other
            }
        }
    }

    private static func arrayCount(_ cursor: inout BrokerCursor) throws -> Int {
        switch try cursor.byte() {
        case let first where first & 0xf0 == 0x90: Int(first & 0x0f)
        case 0xdc: Int(try cursor.bigEndian(UInt16.self))
        case 0xdd: Int(try cursor.bigEndian(UInt32.self))
        case let first: throw LoadFailure("a frame of the broker begins with \(first), not with a list")
        }
    }

    private static func integer(_ cursor: inout BrokerCursor) throws -> UInt64 {
        switch try cursor.byte() {
        case let first where first < 0x80: UInt64(first)
        case 0xcc: UInt64(try cursor.byte())
        case 0xcd: UInt64(try cursor.bigEndian(UInt16.self))
        case 0xce: UInt64(try cursor.bigEndian(UInt32.self))
        case 0xcf: try cursor.bigEndian(UInt64.self)
        case let first: throw LoadFailure("the broker sent \(first) where a number belongs")
        }
    }

    /// The length of a text or of bytes.
    private static func length(_ cursor: inout BrokerCursor) throws -> Int {
        switch try cursor.byte() {
        case let first where first & 0xe0 == 0xa0: Int(first & 0x1f)
        case 0xc4, 0xd9: Int(try cursor.byte())
        case 0xc5, 0xda: Int(try cursor.bigEndian(UInt16.self))
        case 0xc6, 0xdb: Int(try cursor.bigEndian(UInt32.self))
        case let first: throw LoadFailure("the broker sent \(first) where a text or bytes belong")
        }
    }
}
