import FanfareTransport
import Glibc
import NIOCore
import NIOEmbedded
import NIOPosix
import Testing

@testable import FanfareWorker

@Suite struct SocketWriterTests {
    @Test(
        "A reader that stalls gets every byte once and in order, over a Unix socket and over TCP",
        arguments: [Carrier.descriptor(.unix), .descriptor(.tcp), .channel(.unix), .channel(.tcp)],
        [WriteKind.bytes, .frames]
    )
    func stalledReader(carrier: Carrier, kind: WriteKind) async throws {
        let total = 3 * 1_048_576
        let run = try await WriterRun(carrier)
        // Nobody reads while these are written: the kernel's buffer fills and the rest waits.
        let early = kind.encoded(Stream.chunks(0..<total, seed: 7))
        let stalledPending = try await run.write(early, kind)
        #expect(stalledPending > 0)
        #expect(try await run.onLoop { $0.directDescriptor } == -1)
        // Reading and writing overlap from here on.
        let late = Stream.parts(total..<(total * 2), count: 64).map {
            kind.encoded(Stream.chunks($0, seed: UInt64($0.lowerBound)))
        }
        let count = (early + late.flatMap { $0 }).reduce(0) { $0 + $1.count }
        async let received = run.read(count)
        for part in late { _ = try await run.write(part, kind) }
        let bytes = kind.decoded(try await received)
        #expect(Stream.firstDifference(bytes) == nil)
        #expect(bytes.count == total * 2)
        try await run.drained()
        #expect(try await run.isDirect())
        #expect(try await run.onLoop { $0.waitingSince == nil && $0.pendingBytes == 0 })
        try await run.finish()
    }

    @Test(
        "A reader that stalls gets whole messages in order, and every other one is counted",
        arguments: [OutgoingQueue.Policy.dropNewest, .dropOldest],
        Carrier.overUnix
    )
    func droppingPolicy(policy: OutgoingQueue.Policy, carrier: Carrier) async throws {
        let run = try await WriterRun(carrier)
        let bounds = OutgoingQueue.Bounds(messages: 50, bytes: 60_000, policy: policy)
        // Turn by turn: what has begun to go out by the end of one cannot be dropped.
        var dropped = 0
        let count = 2_000
        for turn in 0..<(count / 100) {
            dropped += try await run.onLoop { writer in
                var dropped = 0
                for index in (turn * 100)..<(turn * 100 + 100) {
                    switch writer.send(numbered(index), bounds) {
                    case .dropped(let messages): dropped += messages
                    case .written, .pending: break
                    case .failed, .overflow: Issue.record("message \(index)")
                    }
                }
                #expect(writer.pendingBytes < 60_000 + 65_536 + 1_100)
                return dropped
            }
        }
        try await run.onLoop { $0.closeWhenDrained() }
        let numbers = numbers(in: try await run.read(.max))
        #expect(dropped > 0)
        #expect(numbers.count + dropped == count)
        #expect(numbers == numbers.sorted())
        #expect(Set(numbers).count == numbers.count)
        switch policy {
        case .dropOldest: #expect(Array(numbers.suffix(50)) == Array((count - 50)..<count))
        default: #expect(numbers == Array(0..<numbers.count))
        }
        try await run.finish()
    }

    @Test(arguments: Carrier.overUnix)
    func `who is disconnected gets what has begun, then the close frame, and nothing else`(
        carrier: Carrier
    ) async throws {
        let run = try await WriterRun(carrier)
        let bounds = OutgoingQueue.Bounds(messages: 30, bytes: 1_048_576, policy: .disconnect)
        let written = try await run.onLoop { writer in
            var written = 0
            while writer.send(numbered(written), bounds) != .overflow { written += 1 }
            #expect(writer.waitingSince == 9)
            let discarded = writer.discardWaiting()
            #expect(discarded == 30)
            let close = ServerFrame.close(.tryAgainLater)
            #expect(close.withUnsafeBytes { writer.write($0) } == .pending)
            writer.closeWhenDrained()
            return written - discarded
        }
        let bytes = try await run.read(.max)
        #expect(Array(bytes.suffix(4)) == ServerFrame.close(.tryAgainLater))
        #expect(numbers(in: bytes.dropLast(4)) == Array(0..<written))
        try await run.finish()
    }

    @Test(arguments: Carrier.overUnix) func `pings that are not read cost one answer and come before what waits`(
        carrier: Carrier
    ) async throws {
        let run = try await WriterRun(carrier)
        let bounds = OutgoingQueue.Bounds(messages: 5_000, bytes: 8_000_000, policy: .disconnect)
        let written = try await run.onLoop { writer in
            var written = 0
            while writer.send(numbered(written), bounds) == .written { written += 1 }
            for _ in 0..<20 { _ = writer.send(numbered(written + 1), bounds) }
            let pending = writer.pendingBytes
            for byte in UInt8(0)..<200 { #expect(writer.send([0x8a, 1, byte], bounds) == .pending) }
            #expect(writer.pendingBytes == pending + 3)
            writer.closeWhenDrained()
            return written
        }
        var bytes = try await run.read(.max)
        var frames: [ReceivedFrame] = []
        while let frame = ReceivedFrame(consuming: &bytes) { frames.append(frame) }
        let pong = try #require(frames.firstIndex { $0.opcode == 10 })
        #expect(frames[pong].payload == [199])
        #expect(frames.count == written + 22)
        // Whether the message that did not fit had begun is the kernel's choice.
        #expect(pong == written || pong == written + 1)
        try await run.finish()
    }

    @Test(arguments: Carrier.overTCP) func `closing when drained loses nothing that was written before`(
        carrier: Carrier
    ) async throws {
        let total = 2 * 1_048_576
        let run = try await WriterRun(carrier)
        _ = try await run.write(Stream.chunks(0..<total, seed: 3), .bytes)
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

    @Test(arguments: Carrier.overUnix) func `a peer that is gone fails the write and does not close inside it`(
        carrier: Carrier
    ) async throws {
        let run = try await WriterRun(carrier)
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

    @Test(arguments: Carrier.overUnix)
    func `once the connection is gone nothing is sent to a descriptor that may be somebody else's`(
        carrier: Carrier
    ) async throws {
        let run = try await WriterRun(carrier)
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

/// How a run writes its chunks.
enum WriteKind: Sendable {
    /// As a broker link does it.
    case bytes
    /// As WebSocket messages, some of them by fan-outs.
    case frames

    func encoded(_ chunks: [[UInt8]]) -> [[UInt8]] {
        guard self == .frames else { return chunks }
        return chunks.map { chunk in
            var frames: [UInt8] = []
            ServerFrame.append(.binary, chunk, to: &frames)
            return frames
        }
    }

    func decoded(_ bytes: [UInt8]) -> [UInt8] {
        guard self == .frames else { return bytes }
        var messages = WebSocketMessages(bytes)
        var payload: [UInt8] = []
        while messages.count > 0 {
            let (first, rest) = messages.take(1)
            var frame = Array(first + rest)
            payload += ReceivedFrame(consuming: &frame)?.payload ?? []
        }
        return payload
    }
}

/// About a kilobyte that says which it is.
private func numbered(_ index: Int) -> [UInt8] {
    var frames: [UInt8] = []
    let payload = withUnsafeBytes(of: UInt32(index).bigEndian) { Array($0) }
    ServerFrame.append(.binary, payload + [UInt8](repeating: 7, count: 1_000), to: &frames)
    return frames
}

/// Which numbered messages `bytes` consists of.
private func numbers(in bytes: some Sequence<UInt8>) -> [Int] {
    var bytes = Array(bytes)
    var numbers: [Int] = []
    while let frame = ReceivedFrame(consuming: &bytes) {
        numbers.append(frame.payload.prefix(4).reduce(0) { $0 << 8 | Int($1) })
    }
    #expect(bytes.isEmpty)
    return numbers
}

extension SocketWriter {
    /// Sends frames at the tick 9.
    fileprivate func send(_ frames: [UInt8], _ bounds: OutgoingQueue.Bounds) -> Outcome {
        frames.withUnsafeBytes { bytes in
            var lent = LentFrames(bytes)
            return write(&lent, within: bounds, at: 9)
        }
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

/// What carries the bytes of a writer, and over which kind of socket.
enum Carrier: Sendable {
    enum Kind: Sendable {
        case unix
        case tcp
    }

    /// A descriptor on an ``EpollLoop``.
    case descriptor(Kind)
    /// A NIO channel.
    case channel(Kind)

    static let overUnix = [Carrier.descriptor(.unix), .channel(.unix)]
    static let overTCP = [Carrier.descriptor(.tcp), .channel(.tcp)]
}

/// What every owner of a writer does.
private final class WriterOwner: ChannelInboundHandler, ByteReceiver {
    typealias InboundIn = ByteBuffer
    private let writer: () -> SocketWriter

    init(_ writer: @escaping () -> SocketWriter) { self.writer = writer }

    func channelInactive(context: ChannelHandlerContext) { writer().channelClosed() }

    func received(_ bytes: UnsafeRawBufferPointer) {}

    func disconnected() { writer().channelClosed() }
}

/// One writer on a loop of its own, and the peer's descriptor in the test's hands.
private final class WriterRun: Sendable {
    private let loop: any EventLoop
    private let peer: CInt
    private let writer: NIOLoopBound<SocketWriter>
    /// Ends the connection and the loop.
    private let end: @Sendable () async throws -> Void

    init(_ carrier: Carrier) async throws {
        switch carrier {
        case .descriptor(let kind):
            let (ours, theirs) = try Self.pair(kind)
            let loop = try EpollLoop(name: "fanfare-test")
            let connection = try await loop.submit {
                let connection = DescriptorConnection(ours, on: loop, receiver: nil)
                connection.receiver = WriterOwner { [unowned connection] in connection.writer }
                return NIOLoopBound(connection, eventLoop: loop)
            }.get()
            writer = try await loop.submit { NIOLoopBound(connection.value.writer, eventLoop: loop) }.get()
            (self.loop, peer) = (loop, theirs)
            end = {
                try await loop.submit { connection.value.end() }.get()
                try await loop.shutdownGracefully()
            }
        case .channel(let kind):
            let (ours, theirs) = try Self.pair(kind)
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let channel = try await ClientBootstrap(group: group).withConnectedSocket(ours).get()
            writer = try await channel.eventLoop.submit {
                let writer = SocketWriter(channel: channel)
                try channel.pipeline.syncOperations.addHandler(WriterOwner { writer })
                return NIOLoopBound(writer, eventLoop: channel.eventLoop)
            }.get()
            (self.loop, peer) = (channel.eventLoop, theirs)
            end = {
                try? await channel.close()
                try await group.shutdownGracefully()
            }
        }
    }

    func onLoop<Value: Sendable>(_ body: @escaping @Sendable (SocketWriter) throws -> Value) async throws -> Value {
        try await loop.submit { [writer] in try body(writer.value) }.get()
    }

    /// Writes the chunks in one loop turn and returns the bytes left pending.
    func write(_ chunks: [[UInt8]], _ kind: WriteKind) async throws -> Int {
        let bounds = OutgoingQueue.Bounds(messages: .max, bytes: .max, policy: .disconnect)
        return try await onLoop { writer in
            for (index, chunk) in chunks.enumerated() {
                chunk.withUnsafeBytes { bytes in
                    guard kind == .frames else {
                        #expect(writer.write(bytes) != .failed)
                        return
                    }
                    var lent = LentFrames(bytes)
                    // Every third chunk as a fan-out loop does it.
                    guard index % 3 == 2, writer.directDescriptor >= 0 else {
                        #expect([.written, .pending].contains(writer.write(&lent, within: bounds, at: 0)))
                        return
                    }
                    let taken = SocketWriter.send(bytes, to: writer.directDescriptor)
                    #expect(taken >= 0)
                    #expect(
                        writer.shortWrite(&lent, taken: taken, within: bounds, at: 0)
                            == (taken == bytes.count ? .written : .pending)
                    )
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
        let promise = loop.makePromise(of: Void.self)
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
        try await end()
        close(peer)
    }

    /// A connection: our end does not block, the peer's does.
    private static func pair(_ kind: Carrier.Kind) throws -> (CInt, CInt) {
        var pair: [CInt] = [-1, -1]
        switch kind {
        case .unix: try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair) == 0)
        case .tcp: pair = try tcpConnection()
        }
        try #require(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0)
        return (pair[0], pair[1])
    }

    /// A connection over loopback, its buffers small, so that the kernel cannot swallow what the test wants to see
    /// pending.
    private static func tcpConnection() throws -> [CInt] {
        let wanted = try SocketAddress(ipAddress: "127.0.0.1", port: 0)
        let listener = try DescriptorListener.listen(on: wanted, backlog: 1)
        defer { close(listener) }
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: #require(DescriptorListener.port(of: listener)))
        let peer = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        var bytes: CInt = 65_536
        setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<CInt>.size))
        try #require(address.withSockAddr { connect(peer, $0, socklen_t($1)) } == 0)
        let ours = accept(listener, nil, nil)
        try #require(ours >= 0)
        setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &bytes, socklen_t(MemoryLayout<CInt>.size))
        return [ours, peer]
    }
}
