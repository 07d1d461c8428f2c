import FanfareTransport
import NIOCore
import NIOEmbedded
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
            while writer.send(numbered(written), bounds) != .overflow(1) { written += 1 }
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
