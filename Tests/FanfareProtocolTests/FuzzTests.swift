import CMsgpack
import FanfareModel
import FanfareProtocol
import Testing

/// Hostile frames: nothing may crash, and nothing may pass the reader that the guard refuses.
struct FuzzTests {
    private static let rounds = 200_000
    private let limits = Limits()

    @Test(arguments: [0xfa17_0003, 0xfa17_0004] as [UInt64])
    func `mutated and random frames are read or refused, and the guard decides first`(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let corpus = Vector.all.map { $0.kind == .body ? $0.bytes : [UInt8]($0.bytes.dropFirst(4)) }
        let reader = FrameReader(limits: limits)
        var accepted = (guarded: 0, read: 0)
        for round in 0..<Self.rounds / 2 {
            let bytes = Self.candidate(corpus, &random)
            guard let problem = check(bytes, reader, &accepted) else { continue }
            Issue.record("\(problem); seed \(seed), round \(round), bytes \(bytes)")
            return
        }
        // A run that accepts nothing would prove nothing.
        #expect(accepted.guarded > Self.rounds / 25, "seed \(seed)")
        #expect(accepted.read > Self.rounds / 200, "seed \(seed)")
    }

    /// What is wrong, or `nil`.
    private func check(_ bytes: [UInt8], _ reader: FrameReader, _ accepted: inout (guarded: Int, read: Int)) -> String?
    {
        bytes.withUnsafeBytes { payload in
            let passes = (try? MessagePackGuard.scan(payload, limits: limits)) != nil
            if passes {
                accepted.guarded += 1
                if Self.unpack(payload) != MSGPACK_UNPACK_SUCCESS.rawValue { return "msgpack-c refuses what passed" }
            }
            let requestCode = Self.code { try reader.request(payload) }
            let replyCode = Self.code { try reader.reply(payload) }
            let valueCode = Self.code { try reader.value(bytes) }
            guard passes else {
                return [requestCode, replyCode, valueCode].allSatisfy { $0 == .malformedFrame }
                    ? nil : "read although the guard refuses it"
            }
            if requestCode == nil || replyCode == nil { accepted.read += 1 }
            return unstable(payload, reader)
        }
    }

    /// What was read, written and read again must be written the same.
    private func unstable(_ payload: UnsafeRawBufferPointer, _ reader: FrameReader) -> String? {
        if let request = try? reader.request(payload) {
            let once = Self.frame { $0.append(request) }
            guard let again = try? once.withUnsafeBytes({ try reader.request($0) }) else {
                return "a request that was written cannot be read"
            }
            if Self.frame({ $0.append(again) }) != once { return "a request changes when written twice" }
        }
        if let reply = try? reader.reply(payload).first {
            let once = Self.frame { $0.append(reply) }
            guard let again = try? once.withUnsafeBytes({ try reader.reply($0) }), again.count == 1 else {
                return "a reply that was written cannot be read"
            }
            if Self.frame({ $0.append(again[0]) }) != once { return "a reply changes when written twice" }
        }
        return nil
    }

    private static func frame(_ append: (FrameBuffer) -> Void) -> [UInt8] {
        let buffer = FrameBuffer()
        append(buffer)
        return buffer.withUnsafeBytes { [UInt8]($0.dropFirst(4)) }
    }

    private static func code(_ read: () throws -> some Any) -> ErrorCode? {
        do {
            _ = try read()
            return nil
        } catch {
            return (error as? Refusal)?.failure.code
        }
    }

    private static func unpack(_ payload: UnsafeRawBufferPointer) -> Int32 {
        guard let zone = msgpack_zone_new(2_048) else { return 0 }
        defer { msgpack_zone_free(zone) }
        var root = msgpack_object()
        var offset = 0
        let start = payload.assumingMemoryBound(to: CChar.self).baseAddress
        return Int32(msgpack_unpack(start, payload.count, &offset, zone, &root).rawValue)
    }

    /// One frame in eight is random; the others are vectors, changed in one to four places.
    private static func candidate(_ corpus: [[UInt8]], _ random: inout SplitMix64) -> [UInt8] {
        if UInt8.random(in: 0..<8, using: &random) == 0 {
            return (0..<Int.random(in: 0...40, using: &random)).map { _ in
                UInt8.random(in: .min ... .max, using: &random)
            }
        }
        var bytes = corpus.randomElement(using: &random)!
        let changes = [1, 1, 2, 4].randomElement(using: &random)!
        for _ in 0..<changes { mutate(&bytes, corpus, &random) }
        return bytes
    }

    private static func mutate(_ bytes: inout [UInt8], _ corpus: [[UInt8]], _ random: inout SplitMix64) {
        let headers: [UInt8] = [
            0x00, 0x7f, 0x80, 0x90, 0xa0, 0xc0, 0xc1, 0xc4, 0xc6, 0xc9, 0xca, 0xcb, 0xcf, 0xd3, 0xd6, 0xd9, 0xdb, 0xdd,
            0xdf, 0xff,
        ]
        let place = Int.random(in: 0...bytes.count, using: &random)
        switch UInt8.random(in: 0..<7, using: &random) {
        case 0 where place < bytes.count: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1 where place < bytes.count: bytes[place] = headers.randomElement(using: &random)!
        case 2 where place < bytes.count: bytes[place] = UInt8.random(in: .min ... .max, using: &random)
        case 3: bytes.insert(headers.randomElement(using: &random)!, at: place)
        case 4: bytes.removeSubrange(place...)
        case 5 where place < bytes.count: bytes.remove(at: place)
        default: bytes.insert(contentsOf: corpus.randomElement(using: &random)!.prefix(30), at: place)
        }
    }
}
