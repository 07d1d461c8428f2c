import Testing

@testable import FanfareWorker

@Suite struct CompressedMessageTests {
    private static let hello: [UInt8] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]

    /// RFC 7692, section 7.2.3, and what is allowed beside it.
    private static let conversation: [UInt8] =
        ClientFrame.bytes(first: 0xc1, hello)
        + ClientFrame.bytes(first: 0x41, Array(hello[..<3]))
        + ClientFrame.bytes(first: 0x89, [1])
        + ClientFrame.bytes(first: 0x80, Array(hello[3...]))
        + ClientFrame.bytes(first: 0xc1, [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00])
        + ClientFrame.bytes(first: 0xc1, [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00])
        + ClientFrame.bytes(first: 0xc1, [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00])
        + ClientFrame.bytes(
            first: 0xc1,
            [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]
        )
        + ClientFrame.bytes(first: 0xc1, [0x00])
        + ClientFrame.bytes(first: 0xc2, [])
        + ClientFrame.bytes(first: 0x42, []) + ClientFrame.bytes(first: 0x80, [0x00])
        + ClientFrame.bytes(
            first: 0xc2,
            DeflateBlock.stored([1, 2], isFinal: true) + DeflateBlock.stored([3]) + [0x00]
        )
        + ClientFrame.text("plain")
        + ClientFrame.text("pl", isFinal: false) + ClientFrame.continuation(Array("ain".utf8), isFinal: true)
        + ClientFrame.close(1_000)

    private static let events: [WebSocketEvent] = [
        .text("Hello"), .ping([1]), .text("Hello"), .text("Hello"), .text("Hello"), .text("Hello"), .text("Hello"),
        .text(""), .binary([]), .binary([]), .binary([1, 2, 3]), .text("plain"), .text("plain"),
        .close(.normal, reason: ""),
    ]

    @Test func `the examples of the RFC are the same however the stream is cut`() throws {
        let inflater = Inflater()
        for seed in UInt64(0)..<40 {
            var random = SplitMix64(seed: seed)
            var parser = WebSocketParser(limits: WorkerLimits(), inflater: inflater)
            var events: [WebSocketEvent] = []
            var rest = Self.conversation[...]
            while !rest.isEmpty {
                let piece = rest.prefix(seed == 0 ? 1 : seed == 1 ? rest.count : Int(random.next() % 40) + 1)
                events += try parser.events(Array(piece))
                rest = rest.dropFirst(piece.count)
            }
            #expect(events == Self.events, "seed \(seed)")
        }
    }

    private static let violations: [(String, [UInt8], CloseCode)] = [
        (
            "a continuation", ClientFrame.text("a", isFinal: false) + ClientFrame.bytes(first: 0xc0, hello),
            .protocolError
        ),
        (
            "a continuation of a compressed message",
            ClientFrame.bytes(first: 0x41, hello) + ClientFrame.bytes(first: 0xc0, []), .protocolError
        ),
        ("a ping", ClientFrame.bytes(first: 0xc9, []), .protocolError),
        ("a pong", ClientFrame.bytes(first: 0xca, []), .protocolError),
        ("a close", ClientFrame.bytes(first: 0xc8, []), .protocolError),
        ("reserved bit 2 beside", ClientFrame.bytes(first: 0xe1, hello), .protocolError),
        ("reserved bit 3 beside", ClientFrame.bytes(first: 0xd1, hello), .protocolError),
        ("reserved bit 2", ClientFrame.bytes(first: 0xa1, [65]), .protocolError),
        ("reserved bit 3", ClientFrame.bytes(first: 0x91, [65]), .protocolError),
        ("a reserved opcode", ClientFrame.bytes(first: 0xc3, hello), .protocolError),
        ("no DEFLATE", ClientFrame.bytes(first: 0xc2, Array("Hello".utf8)), .invalidPayload),
        ("DEFLATE cut off", ClientFrame.bytes(first: 0xc2, Array(hello.dropLast())), .invalidPayload),
        ("text that is not UTF-8", ClientFrame.bytes(first: 0xc1, DeflateBlock.stored([0xff]) + [0]), .invalidPayload),
        ("text cut off", ClientFrame.bytes(first: 0xc1, DeflateBlock.stored([0xe2, 0x82]) + [0]), .invalidPayload),
        (
            "more than the limit inflated",
            squeezed(101), .messageTooBig
        ),
        (
            "more than the limit compressed",
            ClientFrame.bytes(first: 0x42, [UInt8](repeating: 0, count: 60))
                + ClientFrame.continuation([UInt8](repeating: 0, count: 41), isFinal: true), .messageTooBig
        ),
    ]

    /// A client's frame with as many zeros as `count` says.
    private static func squeezed(_ count: Int) -> [UInt8] {
        var frame: [UInt8] = []
        Compressor(leastBytes: 0).append(.binary, [UInt8](repeating: 0, count: count), windowBits: 15, to: &frame)
        return ClientFrame.bytes(first: 0xc2, Array(frame[(frame[1] == 126 ? 4 : 2)...]))
    }

    @Test("What a client may not compress ends with the right code", arguments: violations)
    func violation(name: String, bytes: [UInt8], code: CloseCode) throws {
        var limits = WorkerLimits()
        limits.messageBytes = 100
        let inflater = Inflater()
        for piece in [bytes.count, 1] {
            var parser = WebSocketParser(limits: limits, inflater: inflater)
            let thrown = #expect(throws: WebSocketViolation.self) {
                for start in stride(from: 0, to: bytes.count, by: piece) {
                    _ = try parser.events(Array(bytes[start..<min(start + piece, bytes.count)]))
                }
            }
            #expect(thrown?.code == code)
            #expect(try parser.events(ClientFrame.text("later")).isEmpty)
        }
        var unagreed = WebSocketParser(limits: limits)
        #expect(throws: WebSocketViolation.self) { try unagreed.events(bytes) }
    }

    @Test func `what inflates to much is one client's due in a turn`() throws {
        var parser = WebSocketParser(limits: WorkerLimits(), inflater: Inflater())
        let (small, large) = (Self.squeezed(30_000), Self.squeezed(100_000))
        var bytes = small + small + small + large + large + small
        var taken: [Int] = []
        while !bytes.isEmpty {
            let count = try bytes.withUnsafeBytes { try parser.feed($0, atMost: 100) { _ in } }
            taken.append(count)
            bytes.removeFirst(count)
        }
        #expect(taken == [3 * small.count, large.count, large.count, small.count])
    }

    @Test func `without agreement the bit for compression is refused at the first byte`() {
        var parser = WebSocketParser(limits: WorkerLimits())
        let thrown = #expect(throws: WebSocketViolation.self) { try parser.events([0xc1]) }
        #expect(thrown?.code == .protocolError)
    }

    @Test func `sockets share an inflater while their messages are in pieces`() throws {
        let inflater = Inflater()
        let compressor = Compressor(leastBytes: 0)
        var random = SplitMix64(seed: 11)
        var parsers = (0..<8).map { _ in WebSocketParser(limits: WorkerLimits(), inflater: inflater) }
        var streams: [ArraySlice<UInt8>] = []
        var expected: [[WebSocketEvent]] = []
        for index in parsers.indices {
            var stream: [UInt8] = []
            var events: [WebSocketEvent] = []
            for bytes in [0, 300, index * 7_000, 200_000 >> index] {
                let payload = SamplePayload.text(bytes, &random)
                var frame: [UInt8] = []
                compressor.append(.text, payload, windowBits: 15, to: &frame)
                let header = frame[1] == 127 ? 10 : frame[1] == 126 ? 4 : 2
                var rest = frame[header...]
                var first = frame[0] & 0x7f
                repeat {
                    let piece = rest.prefix(Int(random.next() % 4_000))
                    rest = rest.dropFirst(piece.count)
                    stream += ClientFrame.bytes(first: first | (rest.isEmpty ? 0x80 : 0), Array(piece))
                    first = 0
                } while !rest.isEmpty
                events.append(.text(String(decoding: payload, as: UTF8.self)))
            }
            streams.append(stream[...])
            expected.append(events)
        }
        var received = [[WebSocketEvent]](repeating: [], count: parsers.count)
        while !streams.allSatisfy(\.isEmpty) {
            for index in parsers.indices {
                let piece = streams[index].prefix(Int(random.next() % 3_000))
                streams[index] = streams[index].dropFirst(piece.count)
                received[index] += try parsers[index].events(Array(piece))
            }
        }
        #expect(received == expected)
    }

    @Test func `damaged compressed frames never trap and keep the bounds`() {
        var limits = WorkerLimits()
        limits.messageBytes = 2_000
        limits.fragments = 8
        let inflater = Inflater()
        let compressor = Compressor(leastBytes: 0, level: 6)
        var messages = 0
        for seed in UInt64(0)..<4_000 {
            var random = SplitMix64(seed: seed)
            var stream: [UInt8] = []
            for bytes in [40, 1_500, 3_000] {
                var frame: [UInt8] = []
                let isBomb = random.next() % 4 == 0
                let payload = isBomb ? [UInt8](repeating: 0, count: bytes * 20) : SamplePayload.text(bytes, &random)
                compressor.append(.binary, payload, windowBits: 15, to: &frame)
                stream += ClientFrame.bytes(first: frame[0], Array(frame[(frame[1] < 126 ? 2 : 4)...]))
            }
            for _ in 0..<(random.next() % 8) {
                stream[Int(random.next() % UInt64(stream.count))] ^= 1 << UInt8(random.next() % 8)
            }
            var parser = WebSocketParser(limits: limits, inflater: inflater)
            do {
                try stream.withUnsafeBytes { stream in
                    try parser.feed(stream) { event in
                        messages += 1
                        if case .binary(let bytes) = event { #expect(bytes.count <= 2_000, "seed \(seed)") }
                    }
                }
            } catch {
                #expect((error as? WebSocketViolation)?.code.isAllowedOnWire == true, "seed \(seed)")
            }
        }
        #expect(messages > 1_000)
    }

    @Test func `an idle parser stays small`() {
        #expect(MemoryLayout<WebSocketParser>.size <= 120)
    }
}
