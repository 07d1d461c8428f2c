import FanfareModel
import FanfareProtocol
import FanfareTransport
import NIOCore
import Testing

struct FrameConnectionTests {
    private func frame(_ payload: [UInt8]) -> [UInt8] {
        withUnsafeBytes(of: UInt32(payload.count).bigEndian) { Array($0) } + payload
    }

    private func encoded(_ replies: [Reply]) -> [UInt8] {
        let buffer = FrameBuffer()
        for reply in replies { buffer.append(reply) }
        return buffer.withUnsafeBytes { Array($0) }
    }

    @Test(
        "frames arrive whole and in order however the stream is cut",
        arguments: [1, 2, 3, 4, 5, 7, 64, 1_000, 40_000],
        Carrier.allCases
    )
    func cutAnywhere(cut: Int, carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier)
        let payloads = [1, 2, 3, 4, 5, 100, 1, 4_095, 4_096, 4_097, 1].map { count in
            (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ count) }
        }
        let stream = payloads.flatMap(frame)
        for start in stride(from: 0, to: stream.count, by: cut) {
            try await peer.write(stream[start..<min(start + cut, stream.count)])
            // Now and then the loop reads what there is, so that the cuts reach the decoder.
            if start / cut % 5 == 0 { _ = try await connection.events() }
        }
        try await poll("all frames") { try await connection.frames().count == payloads.count }
        #expect(try await connection.frames() == payloads)
        peer.close()
        try await connection.closed()
        let events = try await connection.events()
        #expect(events.first == .opened)
        #expect(events.last == .closed)
        #expect(events.count { $0 == .closed } == 1)
    }

    @Test("what one read brings is passed on as one burst", arguments: Carrier.allCases)
    func bursts(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier, packets: true)
        let payloads: [[UInt8]] = (1...10).map { [0x91, $0] }
        try await peer.write(payloads.flatMap(frame))
        try await poll("a burst") { try await connection.events().contains(.burst) }
        #expect(try await connection.events() == [.opened] + payloads.map { .frame($0) } + [.burst])
        // Half a frame is a burst without frames; its other half brings it.
        let half = frame([0x91, 11])
        try await peer.write(half.prefix(3))
        try await poll("a second burst") { try await connection.events().count { $0 == .burst } == 2 }
        try await peer.write(half.dropFirst(3))
        try await poll("a third burst") { try await connection.events().count { $0 == .burst } == 3 }
        #expect(try await connection.events().suffix(3) == [.burst, .frame([0x91, 11]), .burst])
        try await connection.close()
    }

    @Test("everything written in one turn leaves in one write, byte for byte", arguments: Carrier.allCases)
    func gathered(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier, packets: true)
        let replies: [Reply] = [
            .ack(1), .pong(2), .error(3, Failure(.badName, "no")),
            .deliver(channel: "n!1", body: [1, 2], remaining: Milliseconds(9)),
        ]
        let expected = encoded(replies + [.ack(4), .ack(5)])
        try await connection.write { connection in
            for reply in replies { connection.write(reply) }
            let frame = FrameBuffer()
            frame.append(Reply.ack(4))
            frame.append(Reply.ack(5))
            frame.withUnsafeBytes { connection.write(encoded: $0) }
        }
        #expect(try await peer.read() == expected)
        // Requests are gathered the same way; a turn later is a write later.
        try await connection.write { $0.write(Request.ping(1)) }
        let request = FrameBuffer()
        request.append(Request.ping(1))
        #expect(try await peer.read() == request.withUnsafeBytes { Array($0) })
        #expect(try await connection.onLoop { $0.connection?.traffic.framesOut } == 6)
        try await connection.close()
    }

    @Test("answers to all frames of one read leave in one write", arguments: Carrier.allCases)
    func answersGathered(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier, packets: true)
        try await connection.onLoop {
            $0.onFrame = { connection, payload in connection.write(Reply.ack(UInt64(payload[1]))) }
        }
        try await peer.write((1...20).flatMap { frame([0x91, $0]) })
        #expect(try await peer.read() == encoded((1...20).map { .ack($0) }))
        try await connection.close()
    }

    @Test("closing when written delivers everything to a peer that reads late", arguments: Carrier.allCases)
    func closeWhenWritten(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier)
        let body = Body((0..<100_000).map { UInt8(truncatingIfNeeded: $0) })
        try await connection.write { connection in
            for _ in 0..<80 { connection.write(Reply.deliver(channel: "n!1", body: body, remaining: Milliseconds(1))) }
            connection.closeWhenWritten()
            connection.write(Reply.ack(1))
        }
        let expected = encoded((0..<80).map { _ in .deliver(channel: "n!1", body: body, remaining: Milliseconds(1)) })
        #expect(try await connection.onLoop { ($0.connection?.pendingBytes ?? 0) > 0 }, "the kernel took all of it")
        #expect(try await peer.readToEnd() == expected)
        try await connection.closed()
        #expect(try await connection.events() == [.opened, .closed])
    }

    @Test("text before any frame is delivered, then the connection closes", arguments: Carrier.allCases)
    func closeWithText(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier)
        try await connection.write { $0.closeWhenWritten(text: "wrong port\n") }
        #expect(String(decoding: try await peer.readToEnd(), as: UTF8.self) == "wrong port\n")
        try await connection.closed()
    }

    @Test("bytes that wait leave in order, also when more is written in between", arguments: Carrier.allCases)
    func pendingInOrder(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier)
        var expected: [UInt8] = []
        for number in 0..<40 {
            let body = Body(repeating: UInt8(number), count: 60_000)
            try await connection.write {
                $0.write(Reply.deliver(channel: "n!1", body: body, remaining: Milliseconds(1)))
            }
            expected += encoded([.deliver(channel: "n!1", body: body, remaining: Milliseconds(1))])
        }
        #expect(try await connection.onLoop { ($0.connection?.pendingBytes ?? 0) > 0 })
        #expect(try await peer.read(exactly: expected.count) == expected)
        try await poll("nothing waits") { try await connection.onLoop { $0.connection?.pendingBytes == 0 } }
        try await connection.write { $0.write(Reply.ack(7)) }
        #expect(try await peer.read(exactly: encoded([.ack(7)]).count) == encoded([.ack(7)]))
        #expect(
            try await connection.onLoop { $0.connection?.traffic.bytesOut }
                == UInt64(expected.count + encoded([.ack(7)]).count)
        )
        try await connection.close()
    }

    @Test("HTTP is recognised by its first bytes, however they are cut", arguments: [1, 2, 3, 4, 18], Carrier.allCases)
    func http(cut: Int, carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier)
        let request = Array("GET / HTTP/1.1\r\n\r\n".utf8)
        for start in stride(from: 0, to: request.count, by: cut) {
            guard try await peer.write(request[start..<min(start + cut, request.count)]) else { break }
            _ = try await connection.events()
        }
        try await connection.closed()
        #expect(try await connection.events().filter { $0 != .burst } == [.opened, .failed(.http), .closed])
    }

    @Test("HTTP after a frame is a stream that cannot be read", arguments: Carrier.allCases)
    func httpLater(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier)
        try await peer.write(frame([0x91, 2]) + Array("GET / HTTP/1.1\r\n\r\n".utf8))
        try await connection.closed()
        let events = try await connection.events()
        #expect(events.prefix(2) == [.opened, .frame([0x91, 2])])
        guard events.count > 2, case .failed(.frame(let failure)) = events[2] else {
            Issue.record("no failure: \(events)")
            return
        }
        #expect(failure.code == .frameTooLarge)
    }

    @Test("after a failure nothing more is passed on, and it is told once", arguments: Carrier.allCases)
    func nothingAfterFailure(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier, frameBytes: 8)
        try await peer.write(frame([1]) + [0, 0, 0, 9] + frame([2]) + frame([3]))
        try await connection.closed()
        #expect(try await connection.frames() == [[1]])
        #expect(try await connection.events().count { if case .failed = $0 { true } else { false } } == 1)
        #expect(try await peer.readToEnd().isEmpty)
    }

    @Test("a raised limit counts from the next frame of the same read", arguments: Carrier.allCases)
    func raise(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier, packets: true, frameBytes: 8)
        try await connection.onLoop { $0.onFrame = { connection, _ in connection.raise(frameBytes: 1_000) } }
        let large = [UInt8](repeating: 5, count: 1_000)
        try await peer.write(frame([1]) + frame(large))
        try await poll("both frames") { try await connection.frames().count == 2 }
        #expect(try await connection.frames() == [[1], large])
        try await connection.close()
    }

    @Test("closing inside a frame's call leaves the rest of the read unread", arguments: Carrier.allCases)
    func closeInsideFrame(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier, packets: true)
        try await connection.onLoop {
            $0.onFrame = { connection, _ in
                connection.write(Reply.ack(1))
                connection.closeWhenWritten()
            }
        }
        try await peer.write(frame([1]) + frame([2]) + frame([3]))
        #expect(try await peer.readToEnd() == encoded([.ack(1)]))
        try await connection.closed()
        #expect(try await connection.frames() == [[1]])
    }

    @Test("traffic is counted in frames and bytes, and hearing is reading", arguments: Carrier.allCases)
    func traffic(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier)
        let opened = try await connection.onLoop { $0.connection?.lastHeard }
        let bytes = frame([1, 2, 3]) + frame([4])
        try await peer.write(bytes)
        try await poll("both frames") { try await connection.frames().count == 2 }
        let traffic = try #require(try await connection.onLoop { $0.connection?.traffic })
        #expect(traffic.framesIn == 2)
        #expect(traffic.bytesIn == UInt64(bytes.count))
        #expect(traffic.framesOut == 0)
        let heard = try await connection.onLoop { $0.connection?.lastHeard }
        #expect(try #require(heard) >= #require(opened))
        try await connection.close()
    }

    @Test("writing to a peer that is gone closes, and what is written then is dropped", arguments: Carrier.allCases)
    func peerGone(carrier: Carrier) async throws {
        let (connection, peer) = try await ConnectionUnderTest.make(carrier)
        peer.close()
        try await connection.write { connection in
            for id in 1..<100 { connection.write(Reply.ack(UInt64(id))) }
        }
        try await connection.closed()
        #expect(try await connection.events().last == .closed)
        #expect(try await connection.onLoop { $0.connection == nil })
    }
}
