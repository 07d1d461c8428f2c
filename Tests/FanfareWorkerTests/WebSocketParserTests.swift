import Testing

@testable import FanfareWorker

@Suite struct WebSocketParserTests {
    private static let conversation: [UInt8] =
        ClientFrame.text("")
        + ClientFrame.text("Grüße 👋")
        + ClientFrame.text("frag", isFinal: false)
        + ClientFrame.bytes(first: 0x89, [1, 2, 3])
        + ClientFrame.continuation([], isFinal: false)
        + ClientFrame.continuation(Array("mented ".utf8) + [0xf0, 0x9f], isFinal: false)
        + ClientFrame.bytes(first: 0x8a, [])
        + ClientFrame.continuation([0x91, 0x8b], isFinal: true)
        + ClientFrame.bytes(first: 0x82, [0, 255, 128])
        + ClientFrame.text(String(repeating: "x", count: 126))
        + ClientFrame.bytes(first: 0x82, [UInt8](repeating: 7, count: 70_000))
        + ClientFrame.close(1_000, Array("bye".utf8))
        + ClientFrame.text("after the close")

    private static let events: [WebSocketEvent] = [
        .text(""), .text("Grüße 👋"), .ping([1, 2, 3]), .pong, .text("fragmented 👋"), .binary([0, 255, 128]),
        .text(String(repeating: "x", count: 126)), .binary([UInt8](repeating: 7, count: 70_000)),
        .close(.normal, reason: "bye"),
    ]

    @Test func `messages are the same in one piece and byte by byte`() throws {
        var whole = WebSocketParser(limits: WorkerLimits())
        #expect(try whole.events(Self.conversation) == Self.events)
        var bytewise = WebSocketParser(limits: WorkerLimits())
        var events: [WebSocketEvent] = []
        for byte in Self.conversation { events += try bytewise.events([byte]) }
        #expect(events == Self.events)
    }

    @Test func `messages are the same however the stream is cut`() throws {
        for seed in UInt64(0)..<40 {
            var random = SplitMix64(seed: seed)
            var parser = WebSocketParser(limits: WorkerLimits())
            var events: [WebSocketEvent] = []
            var rest = Self.conversation[...]
            while !rest.isEmpty {
                let piece = rest.prefix(Int(random.next() % 300) + 1)
                events += try parser.events(Array(piece))
                rest = rest.dropFirst(piece.count)
            }
            #expect(events == Self.events, "seed \(seed)")
        }
    }

    @Test(arguments: [1, 2, 3, 100])
    func `messages are the same when only a few frames are taken at a time`(most: Int) throws {
        for seed in UInt64(0)..<10 {
            var random = SplitMix64(seed: seed)
            var parser = WebSocketParser(limits: WorkerLimits())
            var events: [WebSocketEvent] = []
            var rest = Self.conversation[...]
            while !rest.isEmpty {
                let piece = Array(rest.prefix(Int(random.next() % 300) + 1))
                let before = events.count
                let taken = try piece.withUnsafeBytes { try parser.feed($0, atMost: most) { events.append($0) } }
                #expect((1...piece.count).contains(taken))
                // A frame makes at most one event.
                #expect(events.count - before <= most)
                rest = rest.dropFirst(taken)
            }
            #expect(events == Self.events, "seed \(seed)")
        }
    }

    private static let violations: [(String, [UInt8], CloseCode)] = [
        ("no mask", ClientFrame.bytes(first: 0x81, [65], masked: false), .protocolError),
        ("reserved bit 1", ClientFrame.bytes(first: 0xc1, [65]), .protocolError),
        ("reserved bit 2", ClientFrame.bytes(first: 0xa1, [65]), .protocolError),
        ("reserved bit 3", ClientFrame.bytes(first: 0x91, [65]), .protocolError),
        ("reserved opcode 3", ClientFrame.bytes(first: 0x83, [65]), .protocolError),
        ("reserved opcode 15", ClientFrame.bytes(first: 0x8f, [65]), .protocolError),
        ("fragmented ping", ClientFrame.bytes(first: 0x09, []), .protocolError),
        ("ping of 126 bytes", ClientFrame.bytes(first: 0x89, [UInt8](repeating: 0, count: 126)), .protocolError),
        ("continuation of nothing", ClientFrame.continuation([65], isFinal: true), .protocolError),
        ("message in a message", ClientFrame.text("a", isFinal: false) + ClientFrame.text("b"), .protocolError),
        ("bad UTF-8", ClientFrame.bytes(first: 0x81, [0xff, 0xfe]), .invalidPayload),
        ("UTF-8 cut off", ClientFrame.bytes(first: 0x81, [0xf0, 0x9f, 0x91]), .invalidPayload),
        ("surrogate in UTF-8", ClientFrame.bytes(first: 0x81, [0xed, 0xa0, 0x80]), .invalidPayload),
        (
            "bad UTF-8 over fragments",
            ClientFrame.text("a", isFinal: false) + ClientFrame.continuation([0xc3], isFinal: true), .invalidPayload
        ),
        ("length with the highest bit", [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], .protocolError),
        ("length of 2^63-1", [0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4], .messageTooBig),
        ("one byte over the limit", [0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 101, 1, 2, 3, 4], .messageTooBig),
        (
            "over the limit in fragments",
            ClientFrame.bytes(first: 0x02, [UInt8](repeating: 1, count: 60))
                + ClientFrame.continuation([UInt8](repeating: 1, count: 41), isFinal: true), .messageTooBig
        ),
        (
            "too many fragments",
            ClientFrame.text("", isFinal: false)
                + (0..<4).flatMap { _ in ClientFrame.continuation([], isFinal: false) }, .messageTooBig
        ),
        ("close of one byte", ClientFrame.bytes(first: 0x88, [3]), .protocolError),
        ("close reason not UTF-8", ClientFrame.close(1_000, [0xff]), .invalidPayload),
    ]

    @Test("What a client may not do ends with the right code, in one piece and byte by byte", arguments: violations)
    func violation(name: String, bytes: [UInt8], code: CloseCode) throws {
        var limits = WorkerLimits()
        limits.messageBytes = 100
        limits.fragments = 4
        for piece in [bytes.count, 1] {
            var parser = WebSocketParser(limits: limits)
            let thrown = #expect(throws: WebSocketViolation.self) {
                for start in stride(from: 0, to: bytes.count, by: piece) {
                    _ = try parser.events(Array(bytes[start..<min(start + piece, bytes.count)]))
                }
            }
            #expect(thrown?.code == code)
            #expect(try parser.events(ClientFrame.text("later")).isEmpty)
        }
    }

    @Test func `exactly the limit is a message`() throws {
        var limits = WorkerLimits()
        limits.messageBytes = 100
        limits.fragments = 2
        var parser = WebSocketParser(limits: limits)
        let payload = [UInt8](repeating: 5, count: 100)
        #expect(try parser.events(ClientFrame.bytes(first: 0x82, payload)) == [.binary(payload)])
        let halves =
            ClientFrame.bytes(first: 0x02, Array(payload[..<50]))
            + ClientFrame.continuation(Array(payload[50...]), isFinal: true)
        #expect(try parser.events(halves + halves) == [.binary(payload), .binary(payload)])
    }

    @Test func `close codes are those a client may send`() throws {
        let allowed = Set<UInt16>(1_000...1_003).union(1_007...1_014).union(3_000...4_999)
        for code in [0, 999] + Array(UInt16(1_000)...1_020) + [1_100, 2_000, 2_999, 3_000, 4_999, 5_000, 65_535] {
            var parser = WebSocketParser(limits: WorkerLimits())
            if allowed.contains(code) {
                #expect(try parser.events(ClientFrame.close(code)) == [.close(CloseCode(rawValue: code), reason: "")])
            } else {
                #expect(throws: WebSocketViolation.self) { try parser.events(ClientFrame.close(code)) }
            }
        }
        var parser = WebSocketParser(limits: WorkerLimits())
        #expect(try parser.events(ClientFrame.bytes(first: 0x88, [])) == [.close(.noStatus, reason: "")])
    }

    @Test func `random bytes and damaged conversations never trap`() {
        var limits = WorkerLimits()
        limits.messageBytes = 4_096
        limits.fragments = 8
        for seed in UInt64(0)..<3_000 {
            var random = SplitMix64(seed: seed)
            var parser = WebSocketParser(limits: limits)
            var bytes = Array(Self.conversation.prefix(400))
            for _ in 0..<(random.next() % 6) {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            if seed % 3 == 0 { bytes = bytes.map { _ in UInt8(truncatingIfNeeded: random.next()) } }
            do {
                let events = try parser.events(bytes)
                #expect(events.count <= bytes.count)
            } catch let violation as WebSocketViolation {
                #expect(violation.code.isAllowedOnWire)
            } catch {
                Issue.record("seed \(seed): \(error)")
            }
        }
    }

    @Test func `server frames have the shortest header and no mask`() {
        for (count, header) in [
            (0, [0x82, 0]), (125, [0x82, 125]), (126, [0x82, 126, 0, 126]), (65_535, [0x82, 126, 255, 255]),
            (65_536, [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] as [(Int, [UInt8])] {
            let payload = [UInt8](repeating: 9, count: count)
            var frames: [UInt8] = [1]
            ServerFrame.append(.binary, payload, to: &frames)
            #expect(frames == [1] + header + payload)
        }
        #expect(ServerFrame.close(.normal, reason: "ok") == [0x88, 4, 0x03, 0xe8, 0x6f, 0x6b])
        #expect(ServerFrame.close(.noStatus) == [0x88, 0])
        let long = ServerFrame.close(.normal, reason: String(repeating: "ü", count: 100))
        #expect(long.count == 2 + 124)
        #expect(String(validating: long[4...], as: UTF8.self) == String(repeating: "ü", count: 61))
    }
}
