import Testing

@testable import FanfareWorker

/// Text that is not UTF-8 ends the connection at the byte that makes it so, not at the end of the message.
@Suite struct TextCheckTests {
    /// Whether some UTF-8 text begins with `bytes`.
    private static func canBecomeText(_ bytes: [UInt8]) -> Bool {
        let second: [UInt8] = [0x80, 0x90, 0xa0]
        let endings: [[UInt8]] =
            [[]]
            + second.flatMap { byte -> [[UInt8]] in
                [[byte], [byte, 0x80], [byte, 0x80, 0x80]]
            }
        return endings.contains { String(validating: bytes + $0, as: UTF8.self) != nil }
    }

    @Test func `every beginning of a character is refused at its first wrong byte`() throws {
        let seconds: [UInt8] = [0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xff]
        var refused = 0
        for first in UInt8.min...UInt8.max {
            for second in seconds {
                for third: UInt8 in [0x41, 0x80, 0xbf, 0xc2] {
                    let text: [UInt8] = [0x61, first, second, third, 0x80, 0x62]
                    let expected = text.indices.first { !Self.canBecomeText(Array(text[...$0])) }
                    var parser = WebSocketParser(limits: WorkerLimits())
                    _ = try parser.events(ClientFrame.text("", isFinal: false))
                    let actual = text.indices.first { index in
                        (try? parser.events(ClientFrame.continuation([text[index]], isFinal: false))) == nil
                    }
                    #expect(actual == expected, "\(text)")
                    refused += expected == nil ? 0 : 1
                }
            }
        }
        #expect(refused > 5_000)
    }

    /// The cases 6.4 of the Autobahn suite: over fragments, and within one frame.
    @Test("A wrong byte is refused at once", arguments: [[0xf4, 0x90], [0xed, 0xa0], [0xff], [0xc3, 0x28]])
    func early(wrong: [UInt8]) throws {
        let start = Array("κόσμε".utf8) + wrong.dropLast()
        let last = Array(wrong.suffix(1))
        var fragmented = WebSocketParser(limits: WorkerLimits())
        #expect(try fragmented.events(ClientFrame.bytes(first: 0x01, start)).isEmpty)
        let thrown = #expect(throws: WebSocketViolation.self) {
            try fragmented.events(ClientFrame.continuation(last, isFinal: false))
        }
        #expect(thrown?.code == .invalidPayload)

        let frame = ClientFrame.bytes(first: 0x81, start + last + Array("edited".utf8))
        var chopped = WebSocketParser(limits: WorkerLimits())
        #expect(try chopped.events(Array(frame[..<(6 + start.count)])).isEmpty)
        let second = #expect(throws: WebSocketViolation.self) { try chopped.events([frame[6 + start.count]]) }
        #expect(second?.code == .invalidPayload)
    }

    @Test func `right text passes however it is cut into fragments and reads`() throws {
        for seed in UInt64(0)..<200 {
            var random = SplitMix64(seed: seed)
            let text = SamplePayload.text(Int(random.next() % 400), &random)
            var stream: [UInt8] = []
            var rest = text[...]
            var first: UInt8 = 0x01
            while !rest.isEmpty {
                let piece = rest.prefix(Int(random.next() % 20))
                rest = rest.dropFirst(piece.count)
                stream += ClientFrame.bytes(first: first, Array(piece))
                if random.next() % 4 == 0 { stream += ClientFrame.bytes(first: 0x8a, [0xff]) }
                first = 0
            }
            stream += ClientFrame.bytes(first: first | 0x80, [])
            var parser = WebSocketParser(limits: WorkerLimits())
            var events: [WebSocketEvent] = []
            var pieces = stream[...]
            while !pieces.isEmpty {
                let piece = pieces.prefix(Int(random.next() % 30) + 1)
                events += try parser.events(Array(piece)).filter { $0 != .pong }
                pieces = pieces.dropFirst(piece.count)
            }
            #expect(events == [.text(String(decoding: text, as: UTF8.self))], "seed \(seed)")
        }
    }

    @Test func `binary messages and control frames are not checked as text`() throws {
        var parser = WebSocketParser(limits: WorkerLimits())
        let stream =
            ClientFrame.bytes(first: 0x02, [0xff]) + ClientFrame.bytes(first: 0x89, [0xfe])
            + ClientFrame.continuation([0xff], isFinal: true) + ClientFrame.text("a")
        #expect(try parser.events(stream) == [.ping([0xfe]), .binary([0xff, 0xff]), .text("a")])
    }
}
