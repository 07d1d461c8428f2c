import FanfareTransport
import NIOCore
import NIOEmbedded
import NIOPosix
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

@Suite struct SocketWriterTests {
    @Test(
        "A reader that stalls gets every byte once and in order, over a Unix socket and over TCP",
        arguments: [true, false]
    )
    func stalledReader(overTCP: Bool) async throws {
        let total = 3 * 1_048_576
        let run = try await WriterRun(overTCP: overTCP)
        // Nobody reads while these are written: the kernel's buffer fills and the rest waits.
        let stalledPending = try await run.write(Stream.chunks(0..<total, seed: 7))
        #expect(stalledPending > 0)
        // Reading and writing overlap from here on.
        async let received = run.read(total * 2)
        for part in Stream.parts(total..<(total * 2), count: 64) {
            _ = try await run.write(Stream.chunks(part, seed: UInt64(part.lowerBound)))
        }
        let bytes = try await received
        #expect(Stream.firstDifference(bytes) == nil)
        #expect(bytes.count == total * 2)
        try await run.drained()
        #expect(try await run.isDirect())
        try await run.finish()
    }

    @Test func `closing when drained loses nothing that was written before`() async throws {
        let total = 2 * 1_048_576
        let run = try await WriterRun(overTCP: true)
        _ = try await run.write(Stream.chunks(0..<total, seed: 3))
        try await run.onLoop { $0.closeWhenDrained() }
        let late = try await run.onLoop { writer in
            [UInt8](repeating: 0, count: 10).withUnsafeBytes { writer.write($0) == .failed }
        }
        #expect(late)
        let bytes = try await run.read(total + 1)
        #expect(bytes.count == total)
        #expect(Stream.firstDifference(bytes) == nil)
        try await run.finish()
    }

    @Test func `a peer that is gone fails the write and does not close inside it`() async throws {
        let run = try await WriterRun(overTCP: false)
        run.closePeer()
        let failed = try await run.onLoop { writer in
            let outcome = [UInt8](repeating: 1, count: 100).withUnsafeBytes { writer.write($0) }
            return outcome == .failed && writer.pendingBytes == 0
        }
        #expect(failed)
        try await run.finish()
    }

    @Test func `a channel without a descriptor writes through NIO, in order`() throws {
        let channel = EmbeddedChannel()
        try channel.connect(to: SocketAddress(unixDomainSocketPath: "/nowhere")).wait()
        let writer = SocketWriter(channel: channel)
        #expect(writer.directDescriptor == -1)
        for byte in UInt8(0)..<10 {
            #expect([byte, byte].withUnsafeBytes { writer.write($0) } == .pending)
        }
        #expect(try channel.readOutbound(as: ByteBuffer.self) == nil)
        #expect(writer.pendingBytes == 20)
        channel.embeddedEventLoop.run()
        var written: [UInt8] = []
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) { written += Array(buffer.readableBytesView) }
        #expect(written == (UInt8(0)..<10).flatMap { [$0, $0] })
        #expect(writer.pendingBytes == 0)
    }

    @Test func `after channelInactive nothing is sent to a descriptor that may be somebody else's`() async throws {
        let run = try await WriterRun(overTCP: false)
        let outcome = try await run.onLoop { writer in
            writer.channelClosed()
            return (
                writer.directDescriptor, [UInt8](repeating: 1, count: 5).withUnsafeBytes { writer.write($0) } == .failed
            )
        }
        #expect(outcome.0 == -1)
        #expect(outcome.1)
        try await run.finish()
    }
}

/// A byte stream in which every position has its own expected value.
enum Stream {
    static func byte(_ position: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: position &* 2_654_435_761 >> 13)
    }

    /// `range` cut into chunks of 1 to 40 000 bytes.
    static func chunks(_ range: Range<Int>, seed: UInt64) -> [[UInt8]] {
        var random = SplitMix64(seed: seed)
        var chunks: [[UInt8]] = []
        var position = range.lowerBound
        while position < range.upperBound {
            let count = min(Int(random.next() % 40_000) + 1, range.upperBound - position)
            chunks.append((position..<(position + count)).map(byte))
            position += count
        }
        return chunks
    }

    static func parts(_ range: Range<Int>, count: Int) -> [Range<Int>] {
        let step = (range.count + count - 1) / count
        return stride(from: range.lowerBound, to: range.upperBound, by: step).map {
            $0..<min($0 + step, range.upperBound)
        }
    }

    static func firstDifference(_ bytes: [UInt8]) -> Int? {
        bytes.indices.first { bytes[$0] != byte($0) }
    }
}

/// A seeded source of random numbers, so that a failure can be repeated.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// What every owner of a writer does.
private final class WriterOwner: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let writer: SocketWriter

    init(_ writer: SocketWriter) { self.writer = writer }

    func channelInactive(context: ChannelHandlerContext) { writer.channelClosed() }
}

/// One writer on a loop of its own, and the peer's descriptor in the test's hands.
private final class WriterRun: Sendable {
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let peer: CInt
    private let channel: any Channel
    private let writer: NIOLoopBound<SocketWriter>

    init(overTCP: Bool) async throws {
        if overTCP {
            (channel, peer) = try await Self.tcpConnection(group)
        } else {
            let (ours, theirs) = try Self.unixPair()
            peer = theirs
            channel = try await ClientBootstrap(group: group).withConnectedSocket(ours).get()
        }
        writer = try await channel.eventLoop.submit { [channel] in
            let writer = SocketWriter(channel: channel)
            try channel.pipeline.syncOperations.addHandler(WriterOwner(writer))
            return NIOLoopBound(writer, eventLoop: channel.eventLoop)
        }.get()
    }

    func onLoop<Value: Sendable>(_ body: @escaping @Sendable (SocketWriter) throws -> Value) async throws -> Value {
        try await channel.eventLoop.submit { [writer] in try body(writer.value) }.get()
    }

    /// Writes the chunks in one loop turn and returns the bytes left pending.
    func write(_ chunks: [[UInt8]]) async throws -> Int {
        try await onLoop { writer in
            for (index, chunk) in chunks.enumerated() {
                chunk.withUnsafeBytes { bytes in
                    // Every third chunk as a fan-out loop does it.
                    guard index % 3 == 2, writer.directDescriptor >= 0 else {
                        #expect(writer.write(bytes) != .failed)
                        return
                    }
                    let taken = SocketWriter.send(bytes, to: writer.directDescriptor)
                    #expect(taken >= 0)
                    writer.shortWrite(UnsafeRawBufferPointer(rebasing: bytes[taken...]))
                }
            }
            return writer.pendingBytes
        }
    }

    /// Reads up to `count` bytes, fewer at the end of the stream.
    func read(_ count: Int) async throws -> [UInt8] {
        let peer = peer
        return try await NIOThreadPool.singleton.runIfActive {
            var bytes: [UInt8] = []
            var part = [UInt8](repeating: 0, count: 30_000)
            while bytes.count < count {
                let got = recv(peer, &part, min(part.count, count - bytes.count), 0)
                guard got > 0 else { break }
                bytes += part[..<got]
            }
            return bytes
        }
    }

    func drained() async throws {
        let promise = channel.eventLoop.makePromise(of: Void.self)
        try await onLoop { writer in
            guard writer.pendingBytes > 0 else { return promise.succeed() }
            writer.onDrained = { promise.succeed() }
        }
        try await promise.futureResult.get()
    }

    func isDirect() async throws -> Bool { try await onLoop { $0.directDescriptor >= 0 } }

    /// The descriptor itself stays, so that its number is not given to another test's.
    func closePeer() { shutdown(peer, CInt(SHUT_RDWR)) }

    func finish() async throws {
        try? await channel.close()
        close(peer)
        try await group.shutdownGracefully()
    }

    private static func unixPair() throws -> (CInt, CInt) {
        var pair: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair) == 0)
        return (pair[0], pair[1])
    }

    /// A TCP connection over loopback: our side accepted by NIO, the peer's a plain descriptor.
    private static func tcpConnection(_ group: MultiThreadedEventLoopGroup) async throws -> (any Channel, CInt) {
        let accepted = group.next().makePromise(of: (any Channel).self)
        let listener = try await ServerBootstrap(group: group)
            .childChannelOption(.socketOption(.so_sndbuf), value: 65_536)
            .childChannelInitializer { child in
                // After the registration that follows this initializer.
                child.eventLoop.execute { accepted.succeed(child) }
                return child.eventLoop.makeSucceededVoidFuture()
            }.bind(host: "127.0.0.1", port: 0).get()
        let peer = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        // Small, so that the kernel cannot swallow what the test wants to see pending.
        var bytes: CInt = 65_536
        setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<CInt>.size))
        let address = try #require(listener.localAddress)
        try #require(address.withSockAddr { connect(peer, $0, socklen_t($1)) } == 0)
        let channel = try await accepted.futureResult.get()
        try await listener.close()
        return (channel, peer)
    }
}
