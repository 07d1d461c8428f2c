import FanfareModel
import FanfareProtocol
import Testing

@testable import fanfare_bench

@Suite struct BrokerDialectTests {
    private static let sequence: UInt64 = 0x0102_0304_0506_0708
    private static let message = withUnsafeBytes(of: sequence) { Body($0) } + Body(repeating: 120, count: 300)

    private static func bytes(_ reply: Reply) -> [UInt8] {
        let buffer = FrameBuffer()
        buffer.append(reply)
        return buffer.withUnsafeBytes { [UInt8]($0) }
    }

    private static func read(_ bytes: [UInt8], _ dialect: any BrokerDialect) throws -> (frame: BrokerFrame, taken: Int)
    {
        var frame = BrokerFrame()
        let taken = try bytes.withUnsafeBytes { try dialect.read($0, into: &frame) }
        return (frame, taken)
    }

    private static let handOut = HandOut(
        body: message,
        order: 1 << 40,
        deadline: Instant(nanoseconds: 1 << 50),
        remaining: Milliseconds(60_000)
    )

    private static let replies: [Reply] = [
        .groupDeliver(GroupDelivery(group: "a", body: message, remaining: Milliseconds(1))),
        .groupDeliver(
            GroupDelivery(group: String(repeating: "g", count: 90), body: message, remaining: .init(1 << 40))
        ),
        .deliver(channel: "bench.node!1", body: message, remaining: Milliseconds(60_000)),
        .handOut(3, handOut), .handOut(70_000, handOut),
    ]

    @Test(arguments: replies) func `a pushed message gives its number, and nothing before its end`(reply: Reply) throws
    {
        let bytes = Self.bytes(reply)
        let dialect = BrokerFanfareDialect()
        for count in 0..<bytes.count { #expect(try Self.read(Array(bytes[..<count]), dialect).taken == 0) }
        let (frame, taken) = try Self.read(bytes + [1, 2, 3], dialect)
        #expect(taken == bytes.count)
        #expect(frame.kind == .delivery)
        #expect(frame.number == Self.sequence)
    }

    @Test(arguments: replies) func `a spoilt frame is refused or read as something, never past its end`(reply: Reply) {
        let bytes = Self.bytes(reply)
        let dialect = BrokerFanfareDialect()
        for index in 4..<min(bytes.count, 140) {
            for value in [0, 0x7f, 0x80, 0xc1, 0xc6, 0xdb, 0xdd, 0xff] as [UInt8] {
                var spoilt = bytes
                spoilt[index] = value
                if let (_, taken) = try? Self.read(spoilt, dialect) { #expect(taken == bytes.count) }
            }
        }
    }

    @Test func `acknowledgements are counted, in their order`() throws {
        let dialect = BrokerFanfareDialect()
        let base = BrokerTemplate.idBase
        let single = try Self.read(Self.bytes(.ack(base)), dialect).frame
        #expect(single.kind == .acknowledged && single.number == base && single.count == 1)
        // [70, base, base + 1, base + 2]
        var several: [UInt8] = [0, 0, 0, 17, 0x94, 70]
        for id in base..<(base + 3) { several += [0xce] + withUnsafeBytes(of: UInt32(id).bigEndian) { Array($0) } }
        let frame = try Self.read(several, dialect).frame
        #expect(frame.kind == .acknowledged && frame.number == base && frame.count == 3)
        several[several.count - 1] += 1
        #expect(throws: LoadFailure.self) { try Self.read(several, dialect) }
    }

    @Test func `a refusal and a gap end the load`() {
        let dialect = BrokerFanfareDialect()
        #expect(throws: Failure.self) { try Self.read(Self.bytes(.error(1, Failure(.channelFull, "full"))), dialect) }
        let gap = Gap(name: nil, count: 3, reason: .linkOverflow)
        #expect(throws: LoadFailure.self) { try Self.read(Self.bytes(.gap(gap)), dialect) }
    }

    @Test func `a stamped request is the one the protocol would encode`() throws {
        let dialect = BrokerFanfareDialect()
        var send = dialect.send(to: "jobs", payload: Self.message.count)
        send.stamp(sequence: Self.sequence, request: 5)
        let reader = FrameReader(limits: Limits())
        let request = try send.bytes.dropFirst(4).withUnsafeBytes { try reader.request($0) }
        #expect(request == .send(id: BrokerTemplate.id(5), channel: "jobs", body: Self.message, SendOptions()))
        var receive = try #require(dialect.receive(from: "jobs"))
        receive.stamp(sequence: 0, request: 7)
        let asked = try receive.bytes.dropFirst(4).withUnsafeBytes { try reader.request($0) }
        #expect(asked == .receive(id: BrokerTemplate.id(7), channel: "jobs", count: 1))
    }

    @Test func `Redis pushes, lists, answers and errors are told apart at their last byte`() throws {
        let redis = RedisDialect(usesLists: true)
        let bulk = Array("$308\r\n".utf8) + Self.message + [13, 10]
        let push = Array("*3\r\n$7\r\nmessage\r\n$5\r\nbench\r\n".utf8) + bulk
        let list = Array("*2\r\n$4\r\njobs\r\n".utf8) + bulk
        for bytes in [push, list] {
            for count in 0..<bytes.count { #expect(try Self.read(Array(bytes[..<count]), redis).taken == 0) }
            let (frame, taken) = try Self.read(bytes + push, redis)
            #expect(taken == bytes.count && frame.kind == .delivery && frame.number == Self.sequence)
        }
        for text in [":100\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"] {
            let (frame, taken) = try Self.read(Array(text.utf8), redis)
            #expect(taken == text.utf8.count && frame.kind == .acknowledged && frame.count == 1)
        }
        #expect(throws: LoadFailure.self) { try Self.read(Array("-ERR no\r\n".utf8), redis) }
        #expect(throws: LoadFailure.self) { try Self.read(Array("*1\r\n$2\r\nxy\r\n".utf8), redis) }
    }
}
