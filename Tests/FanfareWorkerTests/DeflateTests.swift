import Testing

@testable import FanfareWorker

@Suite struct DeflateTests {
    /// The one frame in `frame`, read without the code under test.
    private static func read(_ frame: [UInt8]) -> (first: UInt8, payload: [UInt8]) {
        let start = frame[1] == 127 ? 10 : frame[1] == 126 ? 4 : 2
        let count = start == 2 ? Int(frame[1]) : frame[2..<start].reduce(0) { $0 << 8 | Int($1) }
        #expect(frame.count == start + count)
        return (frame[0], Array(frame[start...]))
    }

    private static func outcome(_ inflater: Inflater, _ payload: [UInt8], limit: Int) -> ReferenceInflater.Outcome {
        do throws(WebSocketViolation) {
            return .message(try inflater.inflate(payload, limit: limit))
        } catch {
            #expect([.messageTooBig, .invalidPayload].contains(error.code))
            return error.code == .messageTooBig ? .tooBig : .damaged
        }
    }

    @Test("What goes out comes in again, and no copy looks back further than was agreed", arguments: 8...15)
    func roundTrip(windowBits: Int) throws {
        let compressor = Compressor(leastBytes: 0)
        let inflater = Inflater()
        var random = SplitMix64(seed: UInt64(windowBits))
        var longestDistance = 0
        for bytes in [0, 1, 2, 5, 127, 128, 1_000, 5_000, 20_000, 70_000] {
            for payload in [
                SamplePayload.text(bytes, &random), SamplePayload.noise(bytes, &random),
                SamplePayload.echoes(bytes, &random),
                [UInt8](repeating: 7, count: bytes),
            ] {
                var frame: [UInt8] = []
                compressor.append(.binary, payload, windowBits: windowBits, to: &frame)
                let (first, sent) = Self.read(frame)
                guard first == 0xc2 else {
                    #expect(first == 0x82 && sent == payload)
                    continue
                }
                #expect(sent.count < payload.count)
                #expect(try inflater.inflate(sent, limit: bytes) == payload)
                var reference = ReferenceInflater(sent, limit: bytes)
                #expect(reference.run() == .message(payload))
                longestDistance = max(longestDistance, reference.longestDistance)
            }
        }
        #expect(longestDistance <= 1 << windowBits)
        // Otherwise the line above has proved nothing.
        #expect(longestDistance > 1 << (windowBits - 2))
    }

    @Test("Random payloads of up to 200 KB survive every level", arguments: 1...9)
    func levels(level: Int) throws {
        let compressor = Compressor(leastBytes: 0, level: level)
        let inflater = Inflater()
        var random = SplitMix64(seed: UInt64(level))
        for _ in 0..<6 {
            let bytes = Int(random.next() % 200_001)
            for payload in [SamplePayload.text(bytes, &random), SamplePayload.echoes(bytes, &random)] {
                var frame: [UInt8] = []
                compressor.append(.text, payload, windowBits: 15, to: &frame)
                let (first, sent) = Self.read(frame)
                #expect(first == 0xc1 || sent == payload)
                if first == 0xc1 { #expect(try inflater.inflate(sent, limit: bytes) == payload) }
            }
        }
    }

    @Test func `short and incompressible messages go out as they are`() {
        let compressor = Compressor(leastBytes: 100)
        var random = SplitMix64(seed: 1)
        for (payload, first) in [
            ([], 0x81), ([UInt8](repeating: 65, count: 99), 0x81), ([UInt8](repeating: 65, count: 100), 0xc1),
            (SamplePayload.noise(100, &random), 0x81), (SamplePayload.noise(70_000, &random), 0x81),
            ([UInt8](repeating: 65, count: 70_000), 0xc1),
        ] as [([UInt8], UInt8)] {
            var frames: [UInt8] = [9]
            compressor.append(.text, payload, windowBits: 15, to: &frames)
            let frame = Self.read(Array(frames.dropFirst()))
            #expect(frames[0] == 9)
            #expect(frame.first == first)
            #expect((frame.payload == payload) == (first == 0x81))
        }
    }

    @Test func `a message keeps nothing of the one before`() throws {
        let compressor = Compressor(leastBytes: 0)
        let text = Array("the same message, the same message, the same bytes".utf8)
        var first: [UInt8] = []
        compressor.append(.text, text, windowBits: 15, to: &first)
        var noise = SplitMix64(seed: 3)
        var plain: [UInt8] = []
        compressor.append(.text, SamplePayload.noise(5_000, &noise), windowBits: 15, to: &plain)
        var second: [UInt8] = []
        compressor.append(.text, text, windowBits: 15, to: &second)
        #expect(first == second)
        // RFC 7692, section 7.2.3.2: the second message copies from the first, which we have agreed not to allow.
        let inflater = Inflater()
        #expect(try inflater.inflate([0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], limit: 5) == Array("Hello".utf8))
        #expect(Self.outcome(inflater, [0xf2, 0x00, 0x11, 0x00, 0x00], limit: 5) == .damaged)
        #expect(try inflater.inflate([0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], limit: 5) == Array("Hello".utf8))
    }

    private static let damaged: [(String, [UInt8])] = [
        ("the reserved kind of block", [0x06]),
        ("the reserved kind of block, final", [0x07]),
        ("a stored block whose lengths differ", [0x00, 0x05, 0x00, 0xfa, 0xfe, 1, 2, 3, 4, 5, 0x00]),
        ("a stored block cut off", [0x00, 0x05, 0x00]),
        ("stored bytes cut off", [0x00, 0xff, 0x00, 0x00, 0xff, 1, 2, 3]),
        ("a fixed block cut off", [0xf2, 0x48, 0xcd, 0xc9]),
        ("a fixed block without its last byte", [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07]),
        ("a tail too many", [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff]),
        ("garbage after the end", [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xff]),
        ("garbage after a final block", [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xff]),
        ("a zlib header", [0x78, 0x9c, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        ("a gzip header", [0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 3, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        ("plain text", Array("Hello".utf8)),
        ("a copy from before the message", [0xf2, 0x00, 0x11, 0x00, 0x00]),
        ("a copy over a final block", DeflateBlock.stored([1, 2, 3], isFinal: true) + [0xf2, 0x00, 0x11, 0x00, 0x00]),
        ("tables with too many codes", [0x04, 0xfe, 0xff, 0xff, 0xff, 0xff]),
    ]

    @Test("What is not one whole DEFLATE stream is refused", arguments: damaged)
    func refuses(name: String, payload: [UInt8]) throws {
        var reference = ReferenceInflater(payload, limit: 1_000)
        #expect(reference.run() == .damaged)
        let inflater = Inflater()
        #expect(Self.outcome(inflater, payload, limit: 1_000) == .damaged)
        #expect(try inflater.inflate([0x4a, 0x04, 0x00], limit: 1) == [0x61], "the next message is not harmed")
    }

    @Test func `a bomb ends at the limit and takes no more memory than that`() throws {
        let limit = 100_000
        let inflater = Inflater()
        func squeezed(_ bytes: Int) -> [UInt8] {
            var frame: [UInt8] = []
            Compressor().append(.binary, [UInt8](repeating: 0, count: bytes), windowBits: 15, to: &frame)
            return Self.read(frame).payload
        }
        let whole = try inflater.inflate(squeezed(limit), limit: limit)
        #expect(whole == [UInt8](repeating: 0, count: limit))
        #expect(whole.capacity < limit + 16_384)
        #expect(Self.outcome(inflater, squeezed(limit + 1), limit: limit) == .tooBig)
        #expect(Self.outcome(inflater, squeezed(20_000_000), limit: limit) == .tooBig)
        #expect(Self.outcome(inflater, squeezed(1_000), limit: 0) == .tooBig)
        for limit in [0, 1, 16_383, 16_384, 16_385, 32_768, 65_536] {
            #expect(Self.outcome(inflater, squeezed(limit + 200), limit: limit + 200) != .tooBig)
            #expect(Self.outcome(inflater, squeezed(limit + 201), limit: limit + 200) == .tooBig)
        }
        #expect(Self.outcome(inflater, DeflateBlock.stored([]) + [0x00], limit: 0) == .message([]))
        // Nothing comes out of these, however many there are.
        var empties: [UInt8] = []
        for _ in 0..<5_000 {
            empties += [0x03, 0x00] + DeflateBlock.stored([]) + DeflateBlock.stored([], isFinal: true)
        }
        #expect(Self.outcome(inflater, empties + [0x00], limit: 0) == .message([]))
    }

    @Test func `damaged payloads end as the reference says`() {
        let compressor = Compressor(leastBytes: 0, level: 6)
        let inflater = Inflater()
        var endings = (messages: 0, tooBig: 0, damaged: 0)
        for seed in UInt64(0)..<3_000 {
            var random = SplitMix64(seed: seed)
            let bytes = Int(random.next() % 600) + 20
            let plain = seed % 2 == 0 ? SamplePayload.text(bytes, &random) : SamplePayload.echoes(bytes, &random)
            var frame: [UInt8] = []
            compressor.append(.binary, plain, windowBits: 15, to: &frame)
            var payload = Self.read(frame).payload
            if seed % 5 == 0 { payload = DeflateBlock.stored(plain, isFinal: seed % 2 == 0) + payload }
            for _ in 0..<(random.next() % 4) {
                let index = Int(random.next() % UInt64(payload.count))
                switch random.next() % 4 {
                case 0: payload[index] ^= 1 << UInt8(random.next() % 8)
                case 1: payload[index] = UInt8(truncatingIfNeeded: random.next())
                case 2: payload.removeSubrange(index...)
                default: payload.insert(UInt8(truncatingIfNeeded: random.next()), at: index)
                }
                if payload.isEmpty { payload = [0] }
            }
            var reference = ReferenceInflater(payload, limit: 800)
            let expected = reference.run()
            #expect(Self.outcome(inflater, payload, limit: 800) == expected, "seed \(seed)")
            switch expected {
            case .message: endings.messages += 1
            case .tooBig: endings.tooBig += 1
            case .damaged: endings.damaged += 1
            }
        }
        #expect(endings.messages > 100 && endings.tooBig > 100 && endings.damaged > 100, "\(endings)")
    }
}
