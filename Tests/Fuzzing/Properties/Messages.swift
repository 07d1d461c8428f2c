import CMsgpack
import FanfareClient
import FanfareModel
import FanfareProtocol

/// One payload of the protocol, or one body: the whole input.
enum Messages {
    private static let limits = Limits()

    static func check(_ payload: UnsafeRawBufferPointer) throws {
        let reader = FrameReader(limits: limits)
        let isGuarded = (try? MessagePackGuard.scan(payload, limits: limits)) != nil
        let bytes = Array(payload)
        let codes = [
            code { try reader.request(payload) }, code { try reader.reply(payload) }, code { try reader.value(bytes) },
        ]
        if isGuarded {
            try require(unpack(payload) == MSGPACK_UNPACK_SUCCESS.rawValue, "msgpack-c refuses what the guard accepts")
        } else {
            try require(codes.allSatisfy { $0 == .malformedFrame }, "read although the guard refuses it: \(codes)")
        }
        try checkPlain(payload, reader)
        try checkStable(payload, bytes, reader)
        try checkMemory(payload, bytes, reader)
    }

    /// The quick way and the general way agree. The same array with a longer header goes the general way.
    private static func checkPlain(_ payload: UnsafeRawBufferPointer, _ reader: FrameReader) throws {
        guard payload.first == 0x94 else { return }
        let plain = result(reader, payload)
        let general = ([0xdc, 0, 4] + payload.dropFirst()).withUnsafeBytes { result(reader, $0) }
        switch (plain, general) {
        case (.success(let plain), .success(let general)):
            try require(plain == general, "the quick way reads \(plain), the general way \(general)")
        case (.failure(let plain), .failure(let general)):
            try require(
                plain.failure.code == general.failure.code && plain.id == general.id,
                "the quick way refuses with \(plain), the general way with \(general)"
            )
        default: throw Finding("the quick way gives \(plain), the general way \(general)")
        }
    }

    /// What was read, written and read again is the same.
    private static func checkStable(
        _ payload: UnsafeRawBufferPointer,
        _ bytes: [UInt8],
        _ reader: FrameReader
    ) throws {
        if let request = try? reader.request(payload) {
            let written = frames { $0.append(request) }
            let again = written.first.flatMap { frame in try? frame.withUnsafeBytes { try reader.request($0) } }
            try require(written.count == 1, "a request is written as \(written.count) frames")
            let isSame = again.map { $0 == request || isNaN($0, written) } ?? false
            try require(isSame, "\(request) becomes \(again as Any)")
        }
        if let replies = try? reader.reply(payload) {
            let written = frames { buffer in for reply in replies { buffer.append(reply) } }
            var again: [Reply] = []
            for frame in written { again += try frame.withUnsafeBytes { try reader.reply($0) } }
            let twice = frames { buffer in for reply in again { buffer.append(reply) } }
            try require(twice == written && again.count == replies.count, "\(replies) become \(again)")
        }
        if let value = try? reader.value(bytes) {
            let once = MessagePack.encode(value)
            let again = try reader.value(once)
            try require(MessagePack.encode(again) == once, "\(value) becomes \(again)")
        }
    }

    /// NaN is not equal to itself; its bytes are.
    private static func isNaN(_ request: Request, _ written: [[UInt8]]) -> Bool {
        frames { $0.append(request) } == written
    }

    private static func checkMemory(
        _ payload: UnsafeRawBufferPointer,
        _ bytes: [UInt8],
        _ reader: FrameReader
    ) throws {
        for (what, read) in readings(payload, bytes, reader) {
            try Memory.requireProportion(
                what,
                received: payload.count,
                factor: factor,
                constant: constant
            ) { _ = try? read() }
        }
    }

    /// A value of one byte is an object of 24 for msgpack-c, whose memory comes in powers of two, an entry of two bytes
    /// two of them, and then an entry of a dictionary, whose memory doubles.
    static let factor = 256
    /// msgpack-c's memory comes in pieces of 8 KiB.
    static let constant = 32_768

    static func readings(
        _ payload: UnsafeRawBufferPointer,
        _ bytes: [UInt8],
        _ reader: FrameReader
    ) -> [(String, () throws -> Void)] {
        [
            ("request", { _ = try reader.request(payload) }), ("reply", { _ = try reader.reply(payload) }),
            ("value", { _ = try reader.value(bytes) }),
        ]
    }

    private static func result(_ reader: FrameReader, _ payload: UnsafeRawBufferPointer) -> Result<Request, Refusal> {
        do throws(Refusal) { return .success(try reader.request(payload)) } catch { return .failure(error) }
    }

    private static func code(_ read: () throws -> some Any) -> ErrorCode? {
        do {
            _ = try read()
            return nil
        } catch {
            return (error as? Refusal)?.failure.code
        }
    }

    /// The payloads of the frames that `append` writes.
    private static func frames(_ append: (FrameBuffer) -> Void) -> [[UInt8]] {
        let buffer = FrameBuffer()
        append(buffer)
        var payloads: [[UInt8]] = []
        buffer.withUnsafeBytes { try? FrameDecoder(limit: .max).feed($0) { payloads.append(Array($0)) } }
        return payloads
    }

    private static func unpack(_ payload: UnsafeRawBufferPointer) -> UInt32 {
        guard let zone = msgpack_zone_new(2_048) else { return MSGPACK_UNPACK_NOMEM_ERROR.rawValue.magnitude }
        defer { msgpack_zone_free(zone) }
        var root = msgpack_object()
        var offset = 0
        let start = payload.assumingMemoryBound(to: CChar.self).baseAddress
        return UInt32(bitPattern: Int32(msgpack_unpack(start, payload.count, &offset, zone, &root).rawValue))
    }
}

/// JSON that a client sends and a consumer reads as a message: the whole input.
enum JSONMessages {
    static func check(_ input: UnsafeRawBufferPointer) throws {
        let text = Array(input)
        guard let value = try? MessageValue(json: text) else { return try checkMemory(text) }
        let once = try value.json(sortedKeys: true)
        let again = try MessageValue(json: once)
        try require(again == value, "\(value) becomes \(again)")
        try require(try again.json(sortedKeys: true) == once, "it is written differently the second time")
        let body = MessagePack.encode(value)
        let read = try FrameReader(limits: Limits()).value(body)
        try require(read == value, "\(value) becomes \(read) as MessagePack")
        try checkMemory(text)
    }

    private static func checkMemory(_ text: [UInt8]) throws {
        try Memory.requireProportion("JSON", received: text.count, factor: 256, constant: 16_384) {
            _ = try? MessageValue(json: text)
        }
    }
}
