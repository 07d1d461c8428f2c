import FanfareTransport
import Glibc
import NIOCore
import Testing

/// Many echoing connections with random cuts, pauses and ends, against what each peer may see.
@Suite(.timeLimit(.minutes(2))) struct ConnectionFuzzTests {
    @Test("every peer reads back what it sent, in order, up to the end that was chosen", arguments: UInt64(0)..<6)
    func echo(seed: UInt64) async throws {
        let run = try LoopRun()
        var random = SplitMix64(seed: seed)
        var echoes: [EchoPeer] = []
        for _ in 0..<20 { echoes.append(try await EchoPeer.connect(run)) }
        for _ in 0..<1_000 {
            let index = Int.random(in: 0..<echoes.count, using: &random)
            try await echoes[index].step(run, &random)
        }
        for echo in echoes { try await echo.finish(run) }
    }
}

/// One connection's both ends and what is known of it.
private final class EchoPeer {
    private let inbox: NIOLoopBound<Inbox>
    private let peer: RawSocket
    private var sent: [UInt8] = []
    private var read: [UInt8] = []
    private var state = State.open

    /// What is sent, again and again.
    private static let period = 50_021
    private static let stream = (0..<(period + 30_000)).map {
        UInt8(truncatingIfNeeded: ($0 % period) &* 2_654_435_761 >> 13)
    }

    private enum State {
        case open
        /// Our side has closed; what it echoed before may be lost.
        case cut
        /// Our side closes when it has written everything.
        case closing
        /// The peer sends nothing more.
        case halfClosed
        case left
    }

    private init(_ inbox: NIOLoopBound<Inbox>, _ peer: RawSocket) {
        self.inbox = inbox
        self.peer = peer
    }

    static func connect(_ run: LoopRun) async throws -> EchoPeer {
        let (ours, peer) = try RawSocket.pair()
        // Small, so that both sides run out of room.
        var bytes: CInt = 8_192
        for end in [ours, peer.descriptor] {
            setsockopt(end, SOL_SOCKET, SO_SNDBUF, &bytes, socklen_t(MemoryLayout<CInt>.size))
        }
        let inbox = try await run.onLoop { loop in
            let inbox = Inbox()
            let connection = DescriptorConnection(ours, on: loop, receiver: inbox)
            inbox.connection = connection
            inbox.onReceived = { [unowned inbox] bytes in
                guard let writer = inbox.connection?.writer else { return }
                _ = bytes.withUnsafeBytes { writer.write($0) }
            }
            return NIOLoopBound(inbox, eventLoop: loop)
        }
        return EchoPeer(inbox, peer)
    }

    func step(_ run: LoopRun, _ random: inout SplitMix64) async throws {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<45: write(Int.random(in: 1...(random.next() % 8 == 0 ? 30_000 : 300), using: &random))
        case 45..<80: readSome(Int.random(in: 1...10_000, using: &random))
        case 80..<88: try await onConnection(run) { $0.writer.setReading(false) }
        case 88..<97: try await onConnection(run) { $0.writer.setReading(true) }
        default: try await end(run, &random)
        }
    }

    private func end(_ run: LoopRun, _ random: inout SplitMix64) async throws {
        guard state == .open else { return }
        switch random.next() % 5 {
        case 0:
            state = .cut
            try await onConnection(run) { $0.end() }
        case 1:
            state = .cut
            try await onConnection(run) { $0.writer.close() }
        case 2:
            state = .closing
            try await onConnection(run) { $0.writer.closeWhenDrained() }
        case 3:
            state = .halfClosed
            shutdown(peer.descriptor, CInt(SHUT_WR))
        default:
            state = .left
            peer.close()
        }
    }

    private func onConnection(_ run: LoopRun, _ body: @escaping @Sendable (DescriptorConnection) -> Void) async throws {
        try await run.onLoop { [inbox] _ in
            if let connection = inbox.value.connection { body(connection) }
        }
    }

    private func write(_ count: Int) {
        guard state == .open || state == .closing else { return }
        let start = sent.count % Self.period
        let chunk = Array(Self.stream[start..<(start + count)])
        let taken = send(peer.descriptor, chunk, count, CInt(MSG_DONTWAIT) | CInt(MSG_NOSIGNAL))
        if taken > 0 { sent += chunk[..<taken] }
    }

    private func readSome(_ count: Int) {
        guard state != .left else { return }
        var part = [UInt8](repeating: 0, count: count)
        let got = recv(peer.descriptor, &part, count, CInt(MSG_DONTWAIT))
        if got > 0 { read += part[..<got] }
    }

    /// Reads to the end and compares.
    func finish(_ run: LoopRun) async throws {
        try await onConnection(run) { $0.writer.setReading(true) }
        if state == .open {
            // Everything comes back before anybody leaves.
            read += try await peer.read(exactly: sent.count - read.count)
            #expect(read == sent)
            peer.close()
        } else if state != .left {
            read += try await peer.readToEnd()
        }
        let disconnects = try await run.onLoop { [inbox] _ in inbox.value.disconnects }
        try await poll("the end in state \(state)") { disconnects.value > 0 }
        let heard = try await run.onLoop { [inbox] _ in
            #expect(inbox.value.connection == nil)
            #expect(inbox.value.disconnects.value == 1)
            return inbox.value.bytes
        }
        #expect(sent.begins(with: heard))
        #expect(heard.begins(with: read))
        // Who leaves in order is read to its last byte.
        if state == .halfClosed { #expect(heard == sent) }
    }
}

extension [UInt8] {
    /// As `starts(with:)`, and fast without optimisation.
    fileprivate func begins(with other: [UInt8]) -> Bool {
        other.count <= count && memcmp(self, other, other.count) == 0
    }
}
