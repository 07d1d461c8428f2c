import FanfareModel
import FanfareProtocol
import Testing

struct FrameBufferTests {
    @Test func `frames leave in the order they were appended`() {
        let buffer = FrameBuffer()
        buffer.append(Reply.ack(1))
        buffer.append(Request.goodbye)
        [UInt8]([0xaa, 0xbb]).withUnsafeBytes { buffer.append(copying: $0) }
        #expect(bytes(buffer) == [0, 0, 0, 3, 0x92, 70, 1, 0, 0, 0, 2, 0x91, 4, 0xaa, 0xbb])
        #expect(buffer.count == 15)
    }

    @Test func `consumed bytes are gone and the rest stays`() {
        let buffer = FrameBuffer()
        buffer.append(Reply.ack(1))
        buffer.consume(5)
        #expect(bytes(buffer) == [70, 1])
        buffer.append(Reply.ack(2))
        #expect(bytes(buffer) == [70, 1, 0, 0, 0, 3, 0x92, 70, 2])
        buffer.removeAll()
        #expect(buffer.count == 0)
        #expect(bytes(buffer) == [])
    }

    @Test func `frames appended while earlier ones are half written come out whole`() throws {
        let buffer = FrameBuffer()
        let decoder = FrameDecoder(limit: 1_000)
        let reader = FrameReader(limits: Limits())
        var got: [Reply] = []
        for token in 1...1_000 as ClosedRange<UInt64> {
            buffer.append(Reply.flushed(token: token))
            buffer.append(Reply.deliver(channel: "c", body: Body(repeating: 7, count: 100), remaining: Milliseconds(1)))
            let written = token.isMultiple(of: 7) ? buffer.count : min(113, buffer.count)
            try buffer.withUnsafeBytes { bytes in
                try decoder.feed(UnsafeRawBufferPointer(rebasing: bytes.prefix(written))) {
                    got += try reader.reply($0)
                }
            }
            buffer.consume(written)
        }
        try buffer.withUnsafeBytes { try decoder.feed($0) { got += try reader.reply($0) } }
        #expect(got.count == 2_000)
        #expect(got.filter { if case .flushed = $0 { true } else { false } } == (1...1_000).map { .flushed(token: $0) })
    }

    @Test func `what goes in comes out under any mix of appending and consuming`() {
        let seed: UInt64 = 0xfa17_0002
        var random = SplitMix64(seed: seed)
        let buffer = FrameBuffer()
        var model: [UInt8] = []
        for _ in 0..<3_000 {
            let count = Int.random(in: 0...[10, 600, 40_000].randomElement(using: &random)!, using: &random)
            if Bool.random(using: &random) {
                let added = [UInt8](repeating: UInt8.random(in: .min ... .max, using: &random), count: count)
                added.withUnsafeBytes { buffer.append(copying: $0) }
                model += added
            } else {
                let consumed = min(count * 2, model.count)
                buffer.consume(consumed)
                model.removeFirst(consumed)
            }
            guard bytes(buffer) == model else {
                Issue.record("the buffer differs from what was put in; seed \(seed)")
                return
            }
        }
    }

    @Test func `acknowledgements that follow each other share a frame`() throws {
        let buffer = FrameBuffer()
        var replies: [Reply] = [3, 1 << 40, 1].map { .ack($0) } + [.pong(9)] + (1...30).map { .ack($0) }
        for reply in replies { buffer.append(reply) }
        #expect(try read(buffer) == [3, 1, 14, 14, 2])
        // What has left cannot be added to.
        buffer.removeAll()
        replies = [.ack(31)]
        buffer.append(Reply.ack(31))
        #expect(bytes(buffer) == [0, 0, 0, 3, 0x92, 70, 31])

        /// Compares with `replies`; answers how many of them each frame holds.
        func read(_ buffer: FrameBuffer) throws -> [Int] {
            let reader = FrameReader(limits: Limits())
            var got: [[Reply]] = []
            try buffer.withUnsafeBytes { bytes in
                try FrameDecoder(limit: 1_000).feed(bytes) { got.append(try reader.reply($0)) }
            }
            #expect(got.flatMap(\.self) == replies)
            return got.map(\.count)
        }
    }

    @Test func `texts for people are cut on a character boundary`() throws {
        // 255 bytes, then a character of four that does not fit.
        let text = String(repeating: "x", count: 255) + "😀😀"
        let frame = payload { $0.append(Reply.error(1, Failure(.badRequest, text))) }
        let reply = try frame.withUnsafeBytes { try FrameReader(limits: Limits()).reply($0) }
        #expect(reply == [.error(1, Failure(.badRequest, String(repeating: "x", count: 255)))])
    }

    @Test func `numbers no reader takes are cut to the largest it does`() throws {
        let frame = payload { $0.append(Reply.flushed(token: .max)) }
        let reply = try frame.withUnsafeBytes { try FrameReader(limits: Limits()).reply($0) }
        #expect(reply == [.flushed(token: UInt64(Int64.max))])
    }

    private func bytes(_ buffer: FrameBuffer) -> [UInt8] {
        buffer.withUnsafeBytes { [UInt8]($0) }
    }

    private func payload(_ append: (FrameBuffer) -> Void) -> [UInt8] {
        let buffer = FrameBuffer()
        append(buffer)
        return [UInt8](bytes(buffer).dropFirst(4))
    }
}
