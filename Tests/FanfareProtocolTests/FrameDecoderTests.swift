import FanfareModel
import FanfareProtocol
import Testing

struct FrameDecoderTests {
    private static let seed: UInt64 = 0xfa17_0001

    @Test func `a stream fed byte by byte gives the same frames`() throws {
        let (stream, payloads) = Self.stream(frames: 200, seed: Self.seed)
        let decoder = FrameDecoder(limit: 10_000)
        var got: [[UInt8]] = []
        for byte in stream { try Self.feed(decoder, [byte]) { got.append($0) } }
        #expect(got == payloads)
        #expect(decoder.bufferedBytes == 0)
    }

    @Test(arguments: 0..<50 as Range<UInt64>)
    func `a stream cut anywhere gives the same frames`(round: UInt64) throws {
        let seed = Self.seed &+ round
        let (stream, payloads) = Self.stream(frames: 100, seed: seed)
        var random = SplitMix64(seed: seed)
        let decoder = FrameDecoder(limit: 10_000)
        var got: [[UInt8]] = []
        var rest = stream[...]
        while !rest.isEmpty {
            let cut = rest.prefix(Int.random(in: 0...[3, 40, 9_000].randomElement(using: &random)!, using: &random))
            try Self.feed(decoder, [UInt8](cut)) { got.append($0) }
            rest = rest.dropFirst(cut.count)
        }
        #expect(got == payloads, "seed \(seed)")
        #expect(decoder.bufferedBytes == 0, "seed \(seed)")
    }

    @Test(arguments: [1, 2, 7, 1_000])
    func `a stream cut anywhere and fed a few frames at a time gives the same frames`(most: Int) throws {
        let (stream, payloads) = Self.stream(frames: 100, seed: Self.seed)
        var random = SplitMix64(seed: UInt64(most))
        let decoder = FrameDecoder(limit: 10_000)
        var got: [[UInt8]] = []
        var rest = stream[...]
        while !rest.isEmpty {
            let longest = [3, 40, 9_000][Int.random(in: 0..<3, using: &random)]
            let cut = Array(rest.prefix(Int.random(in: 1...longest, using: &random)))
            let before = got.count
            let taken = try cut.withUnsafeBytes { try decoder.feed($0, atMost: most) { got.append(Array($0)) } }
            #expect((1...cut.count).contains(taken))
            #expect(got.count - before <= most)
            // What was not taken was not kept either, and only so many frames are a reason not to take it.
            #expect(taken == cut.count || got.count - before == most)
            rest = rest.dropFirst(taken)
        }
        #expect(got == payloads)
        #expect(decoder.bufferedBytes == 0)
    }

    @Test func `a declared length costs no memory before its bytes come`() throws {
        let decoder = FrameDecoder(limit: 2_162_688)
        try Self.feed(decoder, [0x00, 0x21, 0x00, 0x00] + [UInt8](repeating: 0, count: 6)) { _ in
            Issue.record("a frame that is not complete")
        }
        #expect(decoder.bufferedBytes == 10)
    }

    @Test func `a length over the limit is refused with its fourth byte`() throws {
        let decoder = FrameDecoder(limit: 4_096)
        try Self.feed(decoder, [0x00, 0x00, 0x10]) { _ in Issue.record("no frame has begun") }
        let failure = #expect(throws: Failure.self) { try Self.feed(decoder, [0x01]) { _ in } }
        #expect(failure?.code == .frameTooLarge)
        #expect(failure?.text.contains("4097") == true)
    }

    @Test func `a frame of exactly the limit is accepted`() throws {
        let decoder = FrameDecoder(limit: 5)
        var got: [[UInt8]] = []
        try Self.feed(decoder, [0, 0, 0, 5, 1, 2, 3, 4, 5]) { got.append($0) }
        #expect(got == [[1, 2, 3, 4, 5]])
    }

    @Test func `the limit raised by one frame counts for the next of the same read`() throws {
        let decoder = FrameDecoder(limit: 1)
        var got: [[UInt8]] = []
        try Self.feed(decoder, [0, 0, 0, 1, 7, 0, 0, 0, 2, 8, 9]) {
            got.append($0)
            decoder.limit = 2
        }
        #expect(got == [[7], [8, 9]])
    }

    @Test func `frames before a bad length are still given`() {
        let decoder = FrameDecoder(limit: 10)
        var got: [[UInt8]] = []
        #expect(throws: Failure.self) {
            try Self.feed(decoder, [0, 0, 0, 1, 7, 0, 0, 0, 0]) { got.append($0) }
        }
        #expect(got == [[7]])
    }

    @Test func `an error of the callback ends the feeding`() {
        struct Stop: Error {}
        let decoder = FrameDecoder(limit: 10)
        var calls = 0
        #expect(throws: Stop.self) {
            try Self.feed(decoder, [0, 0, 0, 1, 7, 0, 0, 0, 1, 8]) { _ in
                calls += 1
                throw Stop()
            }
        }
        #expect(calls == 1)
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\n", "POST /x", "HEAD /", "PUT /", "OPTIONS *", "DELETE /", "PATCH /", "CONNECT a:1",
    ])
    func `an HTTP request is recognised by its first bytes`(text: String) {
        #expect([UInt8](text.utf8).withUnsafeBytes(FrameDecoder.looksLikeHTTP))
    }

    @Test(arguments: [[], [0x47], [0x47, 0x45, 0x54], [0x47, 0x45, 0x54, 0x00], [0, 0, 0, 1, 0xc0]] as [[UInt8]])
    func `frames and short reads are no HTTP request`(bytes: [UInt8]) {
        #expect(!bytes.withUnsafeBytes(FrameDecoder.looksLikeHTTP))
    }

    private static func feed(_ decoder: FrameDecoder, _ bytes: [UInt8], _ frame: ([UInt8]) throws -> Void) throws {
        try bytes.withUnsafeBytes { try decoder.feed($0) { try frame([UInt8]($0)) } }
    }

    /// Frames of 1 byte to some kilobytes, most of them small.
    private static func stream(frames: Int, seed: UInt64) -> (stream: [UInt8], payloads: [[UInt8]]) {
        var random = SplitMix64(seed: seed)
        var stream: [UInt8] = []
        var payloads: [[UInt8]] = []
        for _ in 0..<frames {
            let count = Int.random(in: 1...[2, 50, 6_000].randomElement(using: &random)!, using: &random)
            let payload = (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            withUnsafeBytes(of: UInt32(count).bigEndian) { stream.append(contentsOf: $0) }
            stream += payload
            payloads.append(payload)
        }
        return (stream, payloads)
    }
}
