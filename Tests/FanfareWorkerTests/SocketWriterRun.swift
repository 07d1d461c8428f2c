import FanfareTransport
import Glibc
import NIOCore
import NIOPosix
import Testing

@testable import FanfareWorker

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
final class WriterRun: Sendable {
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
