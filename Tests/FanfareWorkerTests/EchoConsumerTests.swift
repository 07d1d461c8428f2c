import Testing

@testable import FanfareWorker

@Suite struct EchoConsumerTests {
    @Test func `text comes back as text and bytes as bytes, empty ones too`() throws {
        let place = ServiceWorker(EchoConsumer())
        let socket = try place.socket()
        for payload in [[], Array("ü".utf8), [UInt8](repeating: 0x41, count: 70_000)] {
            for opcode in [UInt8(1), 2] {
                try socket.receive(ClientFrame.bytes(first: 0x80 | opcode, payload))
                let frames = try socket.frames()
                #expect(frames.map(\.opcode) == [opcode])
                #expect(frames.map(\.payload) == [payload])
            }
        }
        #expect(try place.published().isEmpty)
    }
}
