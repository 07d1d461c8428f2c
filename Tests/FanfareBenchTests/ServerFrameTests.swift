import Testing

@testable import fanfare_bench

@Suite struct ServerFrameTests {
    private func scan(_ bytes: [UInt8], at offset: Int = 0) -> ServerFrame.Scan {
        bytes.withUnsafeBytes { ServerFrame.scan($0, at: offset) }
    }

    /// A frame as a server sends it.
    private func frame(_ opcode: UInt8, payloadBytes: Int) -> [UInt8] {
        var head: [UInt8] = [0x80 | opcode]
        switch payloadBytes {
        case ..<126: head.append(UInt8(payloadBytes))
        case ..<65_536: head += [126, UInt8(payloadBytes >> 8), UInt8(payloadBytes & 0xFF)]
        default:
            head.append(127)
            for shift in stride(from: 56, through: 0, by: -8) { head.append(UInt8(payloadBytes >> shift & 0xFF)) }
        }
        return head + [UInt8](repeating: 7, count: payloadBytes)
    }

    @Test(arguments: [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
    func `every length is read, and every part of it is incomplete`(payloadBytes: Int) {
        let whole = frame(1, payloadBytes: payloadBytes)
        let head = whole.count - payloadBytes
        let expected = ServerFrame(opcode: 1, headBytes: head, payloadBytes: payloadBytes)
        #expect(scan(whole) == .frame(expected))
        #expect(scan([1, 2, 3] + whole + [9], at: 3) == .frame(expected))
        for count in Array(0..<min(whole.count, 300)) + [whole.count - 1] {
            #expect(scan(Array(whole.prefix(count))) == .incomplete)
        }
    }

    @Test func `what a load does not understand is malformed`() {
        #expect(scan([0x01, 0]) == .malformed, "a fragment")
        #expect(scan([0xC1, 0]) == .malformed, "a reserved bit")
        #expect(scan([0x81, 0x80, 0, 0, 0, 0]) == .malformed, "masked")
        #expect(scan([0x89, 126, 0, 126]) == .malformed, "a long control frame")
        #expect(scan([0x82, 127] + [UInt8](repeating: 0xFF, count: 8)) == .malformed, "an impossible length")
        #expect(scan([0x82, 127, 0, 0, 0, 0, 1, 0, 0, 1]) == .malformed, "more than the most")
    }

    @Test func `no bytes are too odd to be scanned`() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...16, using: &random)).map { _ in UInt8.random(in: 0...255) }
            if case .frame(let frame) = scan(bytes) { #expect(frame.headBytes + frame.payloadBytes <= bytes.count) }
        }
    }

    @Test(arguments: [0, 125, 126, 65_535, 65_536])
    func `a client's frame is a server's with a mask of zeros`(payloadBytes: Int) {
        let payload = [UInt8](repeating: 7, count: payloadBytes)
        var sent = ServerFrame.fromClient(opcode: 2, payload)
        #expect(sent[1] & 0x80 != 0)
        sent[1] &= 0x7F
        sent.removeSubrange(sent.count - payloadBytes - 4..<sent.count - payloadBytes)
        #expect(sent == frame(2, payloadBytes: payloadBytes))
    }
}

@Suite struct HandshakeTests {
    private static let answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

    private func read(_ text: String) -> Handshake.Answer {
        Array(text.utf8).withUnsafeBytes { Handshake.read($0) }
    }

    @Test func `an answer is accepted when it is whole, frames behind it or not`() {
        let bytes = Self.answer.utf8.count
        for count in 0..<bytes {
            #expect(read(String(decoding: Array(Self.answer.utf8)[..<count], as: UTF8.self)) == .incomplete)
        }
        #expect(read(Self.answer) == .accepted(headBytes: bytes))
        #expect(read(Self.answer + "frames") == .accepted(headBytes: bytes))
    }

    @Test func `another status, a wrong accept and an endless head are refused`() {
        #expect(read("HTTP/1.1 503 Full\r\nA: b\r\n\r\n") == .refused("HTTP/1.1 503 Full"))
        #expect(read("HTTP/1.1 101 S\r\nSec-WebSocket-Accept: x\r\n\r\n") == .refused("a wrong Sec-WebSocket-Accept"))
        #expect(read(String(repeating: "a", count: 20_000)) == .refused("an endless answer"))
    }
}
