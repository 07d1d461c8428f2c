import FanfareModel
import FanfareProtocol
import Testing

struct RoundTripTests {
    private let reader = FrameReader(limits: Limits())

    @Test(arguments: Self.requests)
    func `a request that was written is read the same`(request: Request) throws {
        let payload = payload { $0.append(request) }
        #expect(try payload.withUnsafeBytes { try reader.request($0) } == request)
    }

    @Test(arguments: Self.replies)
    func `a reply that was written is read the same`(reply: Reply) throws {
        let payload = payload { $0.append(reply) }
        #expect(try payload.withUnsafeBytes { try reader.reply($0) } == [reply])
    }

    @Test func `the samples hold every operation`() {
        let payloads =
            Self.requests.map { request in payload { $0.append(request) } }
            + Self.replies.map { reply in payload { $0.append(reply) } }
        #expect(Set(payloads.map { Operation(rawValue: $0[1]) }) == Set(Operation.allCases))
    }

    @Test func `values of any shape come back the same`() throws {
        let seed: UInt64 = 0xfa17_0005
        var random = SplitMix64(seed: seed)
        for _ in 0..<2_000 {
            let value = Self.value(depth: 5, &random)
            #expect(try reader.value(MessagePack.encode(value)) == value, "seed \(seed)")
        }
    }

    @Test func `a frame means the same with and without an empty map of options, whatever its bytes`() throws {
        let seed: UInt64 = 0xfa17_0021
        var random = SplitMix64(seed: seed)
        let reader = FrameReader(limits: Limits())
        let body = Body(repeating: 1, count: 40)
        let requests: [Request] = [
            .send(id: 7, channel: "some.channel!1", body: body, SendOptions()),
            .groupSend(id: nil, group: "g", body: body, GroupSendOptions()),
            .receive(id: 1 << 40, channel: "jobs", count: 300),
        ]
        var accepted = 0
        for _ in 0..<20_000 {
            var frame = payload { $0.append(requests.randomElement(using: &random)!) }
            guard frame[0] == 0x94 else { throw Failure(.badRequest, "the sample has \(frame[0] & 0x0f) fields") }
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                frame[Int.random(in: 1..<frame.count, using: &random)] = .random(in: 0...255, using: &random)
            }
            guard let request = try? frame.withUnsafeBytes({ try reader.request($0) }) else { continue }
            accepted += 1
            let longer = [0x95] + frame[1...] + [0x80]
            let again = try longer.withUnsafeBytes { try reader.request($0) }
            guard request == again else {
                Issue.record("\(frame) is read as \(request), with options as \(again); seed \(seed)")
                return
            }
        }
        #expect(accepted > 5_000)
    }

    @Test func `a reader goes on after it refused`() throws {
        _ = try? [UInt8]([0xc1]).withUnsafeBytes { try reader.request($0) }
        let payload = payload { $0.append(Request.goodbye) }
        #expect(try payload.withUnsafeBytes { try reader.request($0) } == .goodbye)
    }

    @Test func `more names than a frame may hold are refused under the request's id`() throws {
        let limits = Limits()
        let most = [String](repeating: "p.n!a", count: limits.namesPerFrame)
        let allowed = Request.groupAdd(id: 7, group: "g", channels: most, groupExpiry: nil)
        #expect(try payload { $0.append(allowed) }.withUnsafeBytes { try reader.request($0) } == allowed)
        let tooMany: [Request] = [
            .groupAdd(id: 7, group: "g", channels: most + ["c"], groupExpiry: nil),
            .groupDiscard(id: 7, group: "g", channels: most + ["c"]),
            .closeChannels(id: 7, most + ["c"]),
            .openChannels(id: 7, (most + ["c"]).map { OpenedChannel(name: $0) }),
        ]
        for request in tooMany {
            let payload = payload { $0.append(request) }
            let refusal = #expect(throws: Refusal.self) {
                try payload.withUnsafeBytes { try reader.request($0) }
            }
            #expect(refusal?.failure.code == .tooManyNames)
            #expect(refusal?.id == 7)
        }
    }

    @Test func `a refusal names the operation, the field and what was found`() throws {
        // [10, 7, {}, bin]
        let refusal = #expect(throws: Refusal.self) {
            try [UInt8]([0x94, 10, 7, 0x80, 0xc4, 0]).withUnsafeBytes { try reader.request($0) }
        }
        #expect(refusal?.failure.text == "SEND: field 2 (channel) must be text, got a map")
    }

    @Test func `of another version's hello only the version is read`() throws {
        // [1, {"protocol": 2}]
        let bytes: [UInt8] = [0x92, 1, 0x81, 0xa8] + [UInt8]("protocol".utf8) + [2]
        guard case .hello(let hello) = try bytes.withUnsafeBytes({ try reader.request($0) }) else {
            Issue.record("not read as a hello")
            return
        }
        #expect(hello.protocolVersion == 2)
    }

    private func payload(_ append: (FrameBuffer) -> Void) -> [UInt8] {
        let buffer = FrameBuffer()
        append(buffer)
        return buffer.withUnsafeBytes { [UInt8]($0.dropFirst(4)) }
    }

    private static func value(depth: Int, _ random: inout SplitMix64) -> MessageValue {
        switch Int.random(in: 0..<(depth > 0 ? 8 : 6), using: &random) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &random))
        case 2: return .int(Int64.random(in: .min ... .max, using: &random) >> Int64.random(in: 0...63, using: &random))
        case 3: return .double(Double.random(in: -1e9...1e9, using: &random))
        case 4: return .string(String(repeating: "é", count: Int.random(in: 0...40, using: &random)))
        case 5: return .binary([UInt8](repeating: 7, count: Int.random(in: 0...300, using: &random)))
        case 6:
            return .array((0..<Int.random(in: 0...20, using: &random)).map { _ in value(depth: depth - 2, &random) })
        default:
            let keys = (0..<Int.random(in: 0...20, using: &random)).map { "key \($0)" }
            return .map(Dictionary(uniqueKeysWithValues: keys.map { ($0, value(depth: depth - 2, &random)) }))
        }
    }
}
