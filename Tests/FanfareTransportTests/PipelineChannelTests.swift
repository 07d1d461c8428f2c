import FanfareTransport
import Glibc
import NIOCore
import Testing

@Suite(.timeLimit(.minutes(1))) struct PipelineChannelTests {
    private let run: LoopRun

    init() throws {
        run = try LoopRun()
    }

    /// What a pipeline's only handler was told.
    private final class Journal: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        var events: [String] = []
        var bytes: [UInt8] = []
        var echoes = false

        func handlerRemoved(context: ChannelHandlerContext) { events.append("removed") }
        func channelRegistered(context: ChannelHandlerContext) { events.append("registered") }
        func channelActive(context: ChannelHandlerContext) { events.append("active") }
        func channelInactive(context: ChannelHandlerContext) { events.append("inactive") }
        func channelUnregistered(context: ChannelHandlerContext) { events.append("unregistered") }
        func channelReadComplete(context: ChannelHandlerContext) { if echoes { context.flush() } }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            bytes += unwrapInboundIn(data).readableBytesView
            if echoes { context.write(data, promise: nil) }
        }
    }

    /// A channel, what its handler was told, and the peer.
    private struct Place: Sendable {
        let run: LoopRun
        let box: NIOLoopBound<(channel: PipelineChannel, journal: Journal)>

        func onLoop<R: Sendable>(
            _ body: @escaping @Sendable (PipelineChannel, Journal) throws -> R
        ) async throws -> R {
            try await run.onLoop { _ in try body(box.value.channel, box.value.journal) }
        }

        func bytes() async throws -> [UInt8] { try await onLoop { $1.bytes } }

        /// Writes in one turn.
        func write(_ bytes: [UInt8]) async throws -> EventLoopFuture<Void> {
            try await onLoop { channel, _ in channel.writeAndFlush(ByteBuffer(bytes: bytes)) }
        }
    }

    private func open(echoes: Bool = false) async throws -> (Place, RawSocket) {
        let (ours, peer) = try RawSocket.pair()
        let box = try await run.onLoop { loop in
            let channel = PipelineChannel(ours, on: loop, remoteAddress: nil)
            let journal = Journal()
            journal.echoes = echoes
            try channel.pipeline.syncOperations.addHandler(journal)
            channel.activate()
            return NIOLoopBound((channel: channel, journal: journal), eventLoop: loop)
        }
        return (Place(run: run, box: box), peer)
    }

    /// More than the kernel takes for a peer that does not read.
    private static let large = (0..<2_000_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }

    // MARK: Life

    @Test func `handlers are told of a connection's life in NIO's order, and bytes go both ways`() async throws {
        let (place, peer) = try await open(echoes: true)
        for chunk in [1, 100, 70_000] {
            try await peer.write(Self.large.prefix(chunk))
            #expect(try await peer.read(exactly: chunk) == Array(Self.large.prefix(chunk)))
        }
        #expect(try await place.onLoop { channel, _ in channel.isActive })
        let closed = try await place.onLoop { channel, _ in channel.closeFuture }
        peer.close()
        try await closed.get()
        let events = ["registered", "active", "inactive", "unregistered", "removed"]
        #expect(try await place.onLoop { $1.events } == events)
        #expect(try await place.onLoop { channel, _ in !channel.isActive })
    }

    @Test func `with autoRead off bytes wait, on again they come`() async throws {
        let (place, peer) = try await open()
        try await place.onLoop { channel, _ in try channel.syncOptions!.setOption(.autoRead, value: false) }
        #expect(try await place.onLoop { channel, _ in try channel.syncOptions!.getOption(.autoRead) } == false)
        try await peer.write([1, 2])
        for _ in 0..<20 { _ = try await place.bytes() }
        #expect(try await place.bytes().isEmpty)
        try await place.box.eventLoop.flatSubmit { place.box.value.channel.setOption(.autoRead, value: true) }.get()
        try await poll("what waited") { try await place.bytes() == [1, 2] }
    }

    // MARK: Writes

    @Test func `the promise of a write that has to wait succeeds when the peer has read it`() async throws {
        let (place, peer) = try await open()
        let first = try await place.write(Self.large)
        let second = try await place.write([7])
        #expect(try await place.onLoop { channel, _ in !channel.isWritable })
        #expect(try await peer.read(exactly: Self.large.count + 1) == Self.large + [7])
        try await first.get()
        try await second.get()
        #expect(try await place.onLoop { channel, _ in channel.isWritable })
    }

    @Test func `promises of writes that never left fail with the connection`() async throws {
        let (place, peer) = try await open()
        let waiting = try await place.write(Self.large)
        let unflushed = try await place.onLoop { channel, _ in channel.write(ByteBuffer(bytes: [1])) }
        peer.close()
        await #expect(throws: ChannelError.self) { try await waiting.get() }
        await #expect(throws: ChannelError.self) { try await unflushed.get() }
        let late = try await place.write([1])
        await #expect(throws: ChannelError.self) { try await late.get() }
    }

    // MARK: The end

    @Test func `closing closes at once, a second time is an error`() async throws {
        let (place, peer) = try await open()
        try await place.onLoop { channel, _ in channel.close() }.get()
        #expect(try await peer.readToEnd().isEmpty)
        let again = try await place.onLoop { channel, _ in channel.close() }
        await #expect(throws: ChannelError.alreadyClosed) { try await again.get() }
        #expect(try await place.onLoop { $1.events }.last == "removed")
    }

    @Test func `closing the output lets what was written leave, and the peer be read`() async throws {
        let (place, peer) = try await open()
        let written = try await place.write(Self.large)
        try await place.onLoop { channel, _ in channel.close(mode: .output) }.get()
        // What comes too late fails and closes nothing.
        let late = try await place.write([1])
        await #expect(throws: ChannelError.self) { try await late.get() }
        #expect(try await peer.readToEnd() == Self.large)
        try await written.get()
        try await peer.write([3])
        try await poll("the peer's byte") { try await place.bytes() == [3] }
        peer.close()
        try await place.onLoop { channel, _ in channel.closeFuture }.get()
    }

    @Test func `closing the input is not offered`() async throws {
        let (place, peer) = try await open()
        let closed = try await place.onLoop { channel, _ in channel.close(mode: .input) }
        await #expect(throws: ChannelError.operationUnsupported) { try await closed.get() }
        try await peer.write([1])
        try await poll("what goes on") { try await place.bytes() == [1] }
    }

    @Test func `a handler that closes in the middle of a read is told so once`() async throws {
        let (ours, peer) = try RawSocket.pair()
        let events = try await run.onLoop { loop in
            let channel = PipelineChannel(ours, on: loop, remoteAddress: nil)
            let journal = Journal()
            try channel.pipeline.syncOperations.addHandler(ClosesWhenRead())
            try channel.pipeline.syncOperations.addHandler(journal)
            channel.activate()
            return NIOLoopBound(journal, eventLoop: loop)
        }
        try await peer.write([1])
        #expect(try await peer.readToEnd().isEmpty)
        try await poll("the removal") { try await run.onLoop { _ in events.value.events.last == "removed" } }
        let seen = try await run.onLoop { _ in events.value.events }
        #expect(seen == ["registered", "active", "inactive", "unregistered", "removed"])
    }

    private final class ClosesWhenRead: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            context.close(promise: nil)
            context.fireChannelRead(data)
        }
    }

    // MARK: Release

    @Test func `a released connection goes on without the channel, of which nothing is left`() async throws {
        let (ours, peer) = try RawSocket.pair()
        let kept = Kept()
        let box = NIOLoopBoundBox.makeBoxSendingValue(kept, eventLoop: run.loop)
        let inbox = try await run.onLoop { loop in
            let channel = PipelineChannel(ours, on: loop, remoteAddress: nil)
            let journal = Journal()
            try channel.pipeline.syncOperations.addHandler(journal)
            channel.activate()
            (box.value.channel, box.value.journal) = (channel, journal)
            return NIOLoopBound(Inbox(), eventLoop: loop)
        }
        try await peer.write([1])
        try await poll("the first byte") { try await run.onLoop { _ in box.value.journal?.bytes == [1] } }
        let writer = try await run.onLoop { loop in
            let channel = try #require(box.value.channel)
            let writer = try #require(channel.takeWriter())
            channel.release(to: inbox.value)
            // Twice is once.
            channel.release(to: Inbox())
            #expect(box.value.journal?.events == ["registered", "active"])
            return NIOLoopBound(writer, eventLoop: loop)
        }
        try await peer.write([2])
        try await poll("the second byte") { try await run.onLoop { _ in inbox.value.bytes == [2] } }
        #expect(try await run.onLoop { _ in box.value.channel == nil && box.value.journal == nil })
        // More than fits: the writer's room is not the channel's business any more.
        try await run.onLoop { _ in
            #expect(Self.large.withUnsafeBytes { writer.value.write($0) } == .pending)
            writer.value.closeWhenDrained()
        }
        #expect(try await peer.readToEnd() == Self.large)
        let disconnects = try await run.onLoop { _ in inbox.value.disconnects }
        try await poll("the end") { disconnects.value == 1 }
    }

    @Test func `nothing is left of a channel that is closed`() async throws {
        let (ours, peer) = try RawSocket.pair()
        let kept = NIOLoopBoundBox.makeBoxSendingValue(Kept(), eventLoop: run.loop)
        try await run.onLoop { loop in
            let channel = PipelineChannel(ours, on: loop, remoteAddress: nil)
            let journal = Journal()
            try channel.pipeline.syncOperations.addHandler(journal)
            channel.activate()
            (kept.value.channel, kept.value.journal) = (channel, journal)
        }
        peer.close()
        try await poll("the end of both") {
            try await run.onLoop { _ in kept.value.channel == nil && kept.value.journal == nil }
        }
    }

    /// What should be gone, not kept.
    private final class Kept {
        weak var channel: PipelineChannel?
        weak var journal: Journal?
    }
}
