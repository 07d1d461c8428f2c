import FanfareTransport
import Glibc
import NIOCore
import Testing

@Suite(.timeLimit(.minutes(1))) struct DescriptorConnectionTests {
    private let run: LoopRun

    init() throws {
        run = try LoopRun()
    }

    /// A connection whose bytes go to an inbox, and its peer.
    private func connect() async throws -> (NIOLoopBound<Inbox>, RawSocket) {
        let (ours, peer) = try RawSocket.pair()
        return (try await open(ours), peer)
    }

    private func open(_ descriptor: CInt) async throws -> NIOLoopBound<Inbox> {
        try await run.onLoop { loop in
            let inbox = Inbox()
            let connection = DescriptorConnection(descriptor, on: loop, receiver: inbox)
            inbox.connection = connection
            return NIOLoopBound(inbox, eventLoop: loop)
        }
    }

    private func bytes(_ inbox: NIOLoopBound<Inbox>) async throws -> [UInt8] {
        try await run.onLoop { _ in inbox.value.bytes }
    }

    private func disconnected(_ inbox: NIOLoopBound<Inbox>) async throws {
        let disconnects = try await run.onLoop { _ in inbox.value.disconnects }
        try await poll("the end") { disconnects.value > 0 }
        #expect(try await run.onLoop { _ in inbox.value.connection == nil })
        #expect(disconnects.value == 1)
    }

    // MARK: Reading

    @Test("bytes arrive in order however they are cut", arguments: [1, 7, 1_000, 65_536, 70_000, 300_000])
    func order(cut: Int) async throws {
        let (inbox, peer) = try await connect()
        let stream = (0..<min(1_000_000, cut * 1_000)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        for start in stride(from: 0, to: stream.count, by: cut) {
            try await peer.write(stream[start..<min(start + cut, stream.count)])
        }
        try await poll("all bytes") { try await bytes(inbox).count == stream.count }
        #expect(try await bytes(inbox) == stream)
        #expect(try await run.onLoop { _ in inbox.value.bursts } >= (stream.count - 1) / EpollLoop.readBytes + 1)
        peer.close()
        try await disconnected(inbox)
    }

    @Test func `a connection that always has something to read does not keep others waiting`() async throws {
        let (busy, flooding) = try await connect()
        let (other, peer) = try await connect()
        let descriptor = flooding.descriptor
        try await run.onLoop { _ in
            let flood = [UInt8](repeating: 1, count: 100_000)
            // Whatever is read, more is there at once.
            busy.value.onReceived = { _ in _ = send(descriptor, flood, flood.count, CInt(MSG_DONTWAIT)) }
        }
        try await flooding.write([1])
        try await peer.write([2])
        try await poll("the other's byte") { try await bytes(other) == [2] }
        flooding.close()
        try await disconnected(busy)
    }

    @Test func `who pauses reads nothing, and everything afterwards`() async throws {
        let (inbox, peer) = try await connect()
        try await run.onLoop { _ in inbox.value.connection?.setReading(false) }
        try await peer.write([1, 2, 3])
        for _ in 0..<20 { try await run.onLoop { _ in } }
        #expect(try await bytes(inbox).isEmpty)
        try await run.onLoop { _ in inbox.value.connection?.setReading(true) }
        try await poll("what waited") { try await bytes(inbox) == [1, 2, 3] }
        peer.close()
        try await disconnected(inbox)
    }

    @Test func `who is paused by another handler of the same batch reads nothing`() async throws {
        let (first, firstPeer) = try await connect()
        let (second, secondPeer) = try await connect()
        try await run.onLoop { _ in
            first.value.onReceived = { _ in second.value.connection?.setReading(false) }
            second.value.onReceived = { _ in first.value.connection?.setReading(false) }
        }
        let peers = [firstPeer.descriptor, secondPeer.descriptor]
        try await run.onLoop { _ in
            for peer in peers { send(peer, "x", 1, 0) }
        }
        for _ in 0..<20 { try await run.onLoop { _ in } }
        #expect(try await bytes(first).count + bytes(second).count == 1)
    }

    // MARK: The end

    @Test("a peer that leaves while nobody reads is heard of, after what it sent last", arguments: [true, false])
    func leavesWhilePaused(halfCloses: Bool) async throws {
        let (inbox, peer) = try await connect()
        try await run.onLoop { _ in inbox.value.connection?.setReading(false) }
        let stream = (0..<150_000).map { UInt8(truncatingIfNeeded: $0) }
        try await peer.write(stream)
        if halfCloses { shutdown(peer.descriptor, CInt(SHUT_WR)) } else { peer.close() }
        try await disconnected(inbox)
        #expect(try await bytes(inbox) == stream)
    }

    @Test("a peer that resets the connection is gone", arguments: [true, false])
    func reset(isPaused: Bool) async throws {
        let wanted = try SocketAddress(ipAddress: "127.0.0.1", port: 0)
        let listener = try DescriptorListener.listen(on: wanted, backlog: 1)
        let port = try #require(DescriptorListener.port(of: listener))
        let peer = RawSocket(descriptor: socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0))
        try #require(
            try SocketAddress(ipAddress: "127.0.0.1", port: port)
                .withSockAddr { Glibc.connect(peer.descriptor, $0, socklen_t($1)) } == 0
        )
        let ours = accept(listener, nil, nil)
        try #require(fcntl(ours, F_SETFL, O_NONBLOCK) == 0)
        let inbox = try await open(ours)
        close(listener)
        if isPaused { try await run.onLoop { _ in inbox.value.connection?.setReading(false) } }
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(peer.descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
        peer.close()
        try await disconnected(inbox)
    }

    @Test func `bytes for a peer that has reset are no crash, and the owner hears of it`() async throws {
        let (inbox, peer) = try await connect()
        peer.close()
        let outcome = try await run.onLoop { _ in
            inbox.value.connection.map { connection in [UInt8(1)].withUnsafeBytes { connection.writer.write($0) } }
        }
        #expect(outcome == .failed || outcome == nil)
        try await disconnected(inbox)
    }

    enum Ending: CaseIterable, Sendable {
        case end
        case close
        case closeWhenDrained
        case closeOutputWhenDrained
    }

    @Test("closing from inside received ends what that call was part of, once", arguments: Ending.allCases)
    func closeInside(ending: Ending) async throws {
        let (inbox, peer) = try await connect()
        try await run.onLoop { _ in
            inbox.value.onReceived = { _ in
                guard let connection = inbox.value.connection else { return }
                _ = [UInt8(9)].withUnsafeBytes { connection.writer.write($0) }
                switch ending {
                case .end: connection.end()
                case .close: connection.writer.close()
                case .closeWhenDrained: connection.writer.closeWhenDrained()
                case .closeOutputWhenDrained: connection.writer.closeOutputWhenDrained()
                }
            }
        }
        try await peer.write([1])
        #expect(try await peer.readToEnd() == [9])
        // Who has closed only its half goes on reading.
        if ending == .closeOutputWhenDrained {
            try await run.onLoop { _ in inbox.value.onReceived = nil }
            try await peer.write([2])
            try await poll("the rest") { try await bytes(inbox) == [1, 2] }
            peer.close()
        }
        try await disconnected(inbox)
    }

    @Test func `a handler that ends another connection of the same batch ends it before it is read`() async throws {
        for _ in 0..<20 {
            let (first, firstPeer) = try await connect()
            let (second, secondPeer) = try await connect()
            try await run.onLoop { _ in
                first.value.onReceived = { _ in second.value.connection?.end() }
                second.value.onReceived = { _ in first.value.connection?.end() }
            }
            let peers = [firstPeer.descriptor, secondPeer.descriptor]
            try await run.onLoop { _ in
                for peer in peers { send(peer, "x", 1, 0) }
            }
            try await poll("one byte") { try await bytes(first).count + bytes(second).count == 1 }
            let survivor = try await bytes(first).isEmpty ? second : first
            let other = try await bytes(first).isEmpty ? first : second
            try await disconnected(other)
            #expect(try await run.onLoop { _ in survivor.value.disconnects.value == 0 })
            try await run.onLoop { _ in survivor.value.connection?.end() }
        }
    }

    @Test("a writer outlives its connection and does nothing more", arguments: [true, false])
    func writerOutlives(peerLeaves: Bool) async throws {
        let (inbox, peer) = try await connect()
        let writer = try await run.onLoop { loop in
            NIOLoopBound(try #require(inbox.value.connection).writer!, eventLoop: loop)
        }
        if peerLeaves { peer.close() } else { try await run.onLoop { _ in inbox.value.connection?.end() } }
        try await disconnected(inbox)
        try await run.onLoop { _ in
            let writer = writer.value
            #expect([UInt8(1)].withUnsafeBytes { writer.write($0) } == .failed)
            #expect(writer.directDescriptor == -1)
            writer.setReading(false)
            writer.setReading(true)
            writer.closeOutputWhenDrained()
            writer.closeWhenDrained()
            writer.close()
            writer.close()
        }
        try await run.onLoop { _ in }
    }

    @Test("nothing is kept of a connection that is over", arguments: Ending.allCases)
    func letGo(ending: Ending) async throws {
        let (ours, peer) = try RawSocket.pair()
        let kept = try await run.onLoop { loop in
            let kept = Kept()
            let inbox = Inbox()
            let connection = DescriptorConnection(ours, on: loop, receiver: inbox)
            let writer = connection.writer!
            // As an owner does, whose writer tells it of room.
            inbox.onReceived = { _ in _ = [UInt8(9)].withUnsafeBytes { writer.write($0) } }
            writer.onDrained = { inbox.bytes = [] }
            (kept.connection, kept.writer, kept.receiver) = (connection, writer, inbox)
            return NIOLoopBound(kept, eventLoop: loop)
        }
        try await peer.write([1])
        #expect(try await peer.read(exactly: 1) == [9])
        try await run.onLoop { _ in
            switch ending {
            case .end: kept.value.connection?.end()
            case .close: kept.value.writer?.close()
            case .closeWhenDrained: kept.value.writer?.closeWhenDrained()
            case .closeOutputWhenDrained: kept.value.writer?.closeOutputWhenDrained()
            }
        }
        peer.close()
        try await poll("the connection's end") { try await run.onLoop { _ in kept.value.connection == nil } }
        #expect(try await run.onLoop { _ in kept.value.writer == nil && kept.value.receiver == nil })
    }

    /// What should be gone, not kept.
    private final class Kept {
        weak var connection: DescriptorConnection?
        weak var writer: SocketWriter?
        weak var receiver: Inbox?
    }
}
