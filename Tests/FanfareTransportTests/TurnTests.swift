import FanfareModel
import FanfareProtocol
import FanfareTransport
import Glibc
import NIOCore
import Testing

/// Who has much to say and who has little, on one loop: the order they are served in.
@Suite(.timeLimit(.minutes(1))) struct TurnTests {
    private let run: LoopRun

    init() throws {
        run = try LoopRun()
    }

    /// Takes a few bytes a turn.
    private final class SlowTaker: ByteReceiver {
        var bytes: [UInt8] = []
        var onTaken: (([UInt8]) -> Void)?
        weak var connection: DescriptorConnection?
        let perTurn: Int
        let disconnects = Count()

        init(perTurn: Int) {
            self.perTurn = perTurn
        }

        func received(_ bytes: UnsafeRawBufferPointer) {}

        func take(_ bytes: UnsafeRawBufferPointer) -> Int {
            let part = Array(bytes.prefix(perTurn))
            self.bytes += part
            onTaken?(part)
            return part.count
        }

        func disconnected() { disconnects.increment() }
    }

    private func open(perTurn: Int) async throws -> (NIOLoopBound<SlowTaker>, RawSocket) {
        let (ours, peer) = try RawSocket.pair()
        let taker = try await run.onLoop { loop in
            let taker = SlowTaker(perTurn: perTurn)
            let connection = DescriptorConnection(ours, on: loop, receiver: taker)
            taker.connection = connection
            return NIOLoopBound(taker, eventLoop: loop)
        }
        return (taker, peer)
    }

    @Test(arguments: [false, true])
    func `a quiet connection is served between two parts of a flood`(isBehindPipeline: Bool) async throws {
        let (flooded, flood) = try await isBehindPipeline ? openPipeline(perTurn: 10) : open(perTurn: 10)
        let (quiet, peer) = try await open(perTurn: 10)
        let order = NIOLoopBoundBox.makeBoxSendingValue([String](), eventLoop: run.loop)
        let quietPeer = peer.descriptor
        try await run.onLoop { _ in
            flooded.value.onTaken = { _ in
                order.value.append("flood")
                // Ready while the flood is being handled: it is its turn next.
                if order.value.count == 1 { _ = send(quietPeer, "x", 1, 0) }
            }
            quiet.value.onTaken = { _ in order.value.append("quiet") }
        }
        let sent = (0..<1_000).map { UInt8($0 % 251) }
        try await flood.write(sent)
        try await poll("the flood's end") { try await run.onLoop { _ in flooded.value.bytes.count == 1_000 } }
        #expect(try await run.onLoop { _ in flooded.value.bytes } == sent)
        let seen = try await run.onLoop { _ in order.value }
        #expect(seen.count == 101)
        #expect(seen.prefix(3) == ["flood", "quiet", "flood"])
        flood.close()
        peer.close()
        try await ended(flooded)
        try await ended(quiet)
    }

    @Test("what is left keeps its order and comes before the end", arguments: [1, 7, 65_535, 65_536])
    func order(perTurn: Int) async throws {
        let (taker, peer) = try await open(perTurn: perTurn)
        let stream = (0..<min(200_000, perTurn * 3_000)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        try await peer.write(stream)
        peer.close()
        try await ended(taker)
        #expect(try await run.onLoop { _ in taker.value.bytes } == stream)
    }

    @Test func `who pauses gets nothing of what is left, and all of it afterwards`() async throws {
        let (taker, peer) = try await open(perTurn: 10)
        try await run.onLoop { _ in
            taker.value.onTaken = { _ in
                taker.value.onTaken = nil
                taker.value.connection?.setReading(false)
            }
        }
        try await peer.write(Array(0..<100))
        try await poll("the first part") { try await run.onLoop { _ in taker.value.bytes.count >= 10 } }
        for _ in 0..<20 { try await run.onLoop { _ in } }
        #expect(try await run.onLoop { _ in taker.value.bytes } == Array(0..<10))
        try await run.onLoop { _ in taker.value.connection?.setReading(true) }
        try await poll("the rest") { try await run.onLoop { _ in taker.value.bytes == Array(0..<100) } }
        peer.close()
        try await ended(taker)
    }

    @Test func `who pauses gets what is left when the peer has gone`() async throws {
        let (taker, peer) = try await open(perTurn: 10)
        try await run.onLoop { _ in
            taker.value.onTaken = { _ in taker.value.connection?.setReading(false) }
        }
        try await peer.write(Array(0..<100))
        try await poll("the first part") { try await run.onLoop { _ in taker.value.bytes.count >= 10 } }
        peer.close()
        try await ended(taker)
        #expect(try await run.onLoop { _ in taker.value.bytes } == Array(0..<100))
    }

    @Test func `frames of a flood are handled a part at a time, each once and in order`() async throws {
        let (ours, peer) = try RawSocket.pair()
        let recorder = try await run.onLoop { loop in
            let recorder = Recorder(on: loop)
            let connection = FrameConnection(
                receiver: recorder,
                turn: WriteTurn(loop: loop),
                frameBytes: 100,
                framesPerTurn: 4
            )
            let carrier = DescriptorConnection(ours, on: loop, receiver: connection)
            connection.open(carrier.writer, remote: "")
            return NIOLoopBound(recorder, eventLoop: loop)
        }
        let frames = (0..<50).map { [0, 0, 0, 1, UInt8($0)] as [UInt8] }
        try await peer.write(frames.joined())
        peer.close()
        try await run.onLoop { _ in recorder.value.closed.futureResult }.get()
        let events = try await run.onLoop { _ in recorder.value.events }
        let payloads = events.compactMap { if case .frame(let payload) = $0 { payload } else { nil } }
        #expect(payloads == frames.map { [$0[4]] })
        let parts = events.split(separator: .burst).map { $0.count { if case .frame = $0 { true } else { false } } }
        #expect(parts.allSatisfy { $0 <= 4 })
    }

    private func ended(_ taker: NIOLoopBound<SlowTaker>) async throws {
        let disconnects = try await run.onLoop { _ in taker.value.disconnects }
        try await poll("the end") { disconnects.value > 0 }
        #expect(try await run.onLoop { _ in taker.value.connection == nil })
        #expect(disconnects.value == 1)
    }

    // MARK: Behind a pipeline

    /// The last handler of a pipeline.
    private final class Tail: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        let reader: PipelineReader
        let taker: SlowTaker

        init(_ reader: PipelineReader, _ taker: SlowTaker) { (self.reader, self.taker) = (reader, taker) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { reader.received(unwrapInboundIn(data)) }

        func channelInactive(context: ChannelHandlerContext) {
            reader.finish()
            taker.disconnected()
        }
    }

    /// Like ``open(perTurn:)``, with NIO's handlers in between.
    private func openPipeline(perTurn: Int) async throws -> (NIOLoopBound<SlowTaker>, RawSocket) {
        let (ours, peer) = try RawSocket.pair()
        let taker = try await run.onLoop { loop in
            let taker = SlowTaker(perTurn: perTurn)
            let channel = PipelineChannel(ours, on: loop, remoteAddress: nil)
            let reader = PipelineReader(on: loop, taker) {
                try? channel.syncOptions?.setOption(.autoRead, value: !$0)
            }
            try channel.pipeline.syncOperations.addHandler(Tail(reader, taker))
            channel.activate()
            return NIOLoopBound(taker, eventLoop: loop)
        }
        return (taker, peer)
    }

    @Test func `a pipeline whose peer has gone passes on all it was sent, in order`() async throws {
        let (taker, peer) = try await openPipeline(perTurn: 7)
        let sent = (0..<150_000).map { UInt8($0 % 251) }
        try await peer.write(sent)
        peer.close()
        try await poll("the end of all that was sent") {
            try await run.onLoop { _ in taker.value.bytes.count == sent.count }
        }
        #expect(try await run.onLoop { _ in taker.value.bytes } == sent)
    }

    @Test func `what a pipeline holds back is bounded, and nothing comes after its end`() async throws {
        try await run.onLoop { loop in
            let taker = SlowTaker(perTurn: 1)
            var heldBack: [Bool] = []
            let reader = PipelineReader(on: loop, taker) { heldBack.append($0) }
            // More than one read brings, in one turn: as when a peer has gone.
            for piece in 1...40 {
                reader.received(ByteBuffer(repeating: 1, count: 10_000))
                #expect(piece * 10_000 - taker.bytes.count <= 2 * EpollLoop.readBytes)
            }
            #expect(heldBack.first == true)
            reader.finish()
            #expect(taker.bytes.count == 400_000)
            reader.received(ByteBuffer(repeating: 1, count: 10))
            #expect(taker.bytes.count == 400_000)
        }
    }

    @Test func `a receiver that ends its connection is passed nothing more`() async throws {
        try await run.onLoop { loop in
            let taker = SlowTaker(perTurn: 1)
            let reader = PipelineReader(on: loop, taker) { _ in }
            taker.onTaken = { _ in reader.finish() }
            reader.received(ByteBuffer(repeating: 1, count: 10))
            #expect(taker.bytes.count == 1)
        }
    }
}
