import CLinux
package import NIOCore

/// Writes the bytes of one connection straight to its descriptor with `send(2)`; what the kernel does not take waits in
/// an ``OutgoingQueue`` until there is room again, order kept.
///
/// Works over a ``DescriptorConnection``, and over a NIO channel: there what waits goes by way of NIO, a bounded part at
/// a time. Whoever owns the connection sends everything through one writer and nothing past it: frames of a broker link
/// as bytes, WebSocket frames as ``LentFrames``, never both but for a last close frame. None of its functions calls its
/// owner, or NIO, before it returns: a NIO write can close the channel and run `channelInactive` in the middle of the
/// caller's loop. Not Sendable; it lives on its connection's loop.
package final class SocketWriter {
    /// What became of the bytes of one write.
    package enum Outcome: Equatable {
        /// The kernel has them.
        case written
        /// Some or all wait here, in order; ``onDrained`` tells when they have gone.
        case pending
        /// As `pending`, but so many messages, these or older ones, were dropped by the policy.
        case dropped(Int)
        /// Nothing more may wait here, and so many messages were not taken: the caller gives up on this peer.
        case overflow(Int)
        /// The peer is gone, or the channel is closed; the caller closes when its own loop is done.
        case failed
    }

    /// What there is while bytes wait. From its making until it is gone, the kernel is asked for room, or a hand-over to
    /// NIO is scheduled or under way.
    private final class Backlog {
        var queue = OutgoingQueue()
        /// What has begun to go out: it cannot be dropped any more.
        var part: ArraySlice<UInt8> = []
        /// What NIO has of ours.
        var handedBytes = 0
        var partSince = 0

        var partBytes: Int { part.count + handedBytes }

        /// Takes the next part of the queue.
        func takePart() -> ArraySlice<UInt8> {
            partSince = queue.oldest ?? 0
            guard var part = queue.next(atMost: SocketWriter.partBytes) else { return [] }
            while part.count < SocketWriter.partBytes,
                let piece = queue.next(atMost: SocketWriter.partBytes - part.count)
            {
                part.append(contentsOf: piece)
            }
            return part
        }
    }

    /// The descriptor a fan-out loop may `send` to right now; −1 while bytes wait here or in NIO, once the connection
    /// is gone, and always for a channel without a descriptor of its own.
    package private(set) var directDescriptor: CInt
    private let descriptor: CInt
    /// What carries it: one of the two.
    private let channel: (any Channel)?
    /// Holds this writer as well, until one of them closes.
    private var connection: DescriptorConnection?
    private var backlog: Backlog?
    /// Called when the last pending byte has gone to the kernel, never from inside ``write(_:)``.
    package var onDrained: (() -> Void)?
    private var isOpen = true
    private var endWhenDrained: CloseMode?

    private static let partBytes = 65_536
    /// Of what waits, written in one turn: a peer that reads a long queue fast does not keep the loop.
    private static let drainBytes = 4 * partBytes

    /// On the connection's loop.
    init(connection: DescriptorConnection) {
        channel = nil
        self.connection = connection
        descriptor = connection.descriptor
        directDescriptor = descriptor
    }

    /// Takes the descriptor of `channel`. On its loop, when the channel is registered and nothing written through NIO
    /// is pending.
    ///
    /// - Parameters:
    ///   - channel: The connection.
    ///   - isTransformed: Whether a handler of the pipeline changes outgoing bytes, as TLS does: then everything goes
    ///     through NIO.
    package init(channel: any Channel, isTransformed: Bool = false) {
        channel.eventLoop.preconditionInEventLoop()
        self.channel = channel
        connection = nil
        let found: CInt? =
            isTransformed
            ? nil
            : try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { $0 }
        descriptor = found ?? -1
        directDescriptor = descriptor
    }

    /// Bytes the kernel has not taken yet.
    package var pendingBytes: Int { backlog.map { $0.queue.byteCount + $0.partBytes } ?? 0 }

    /// The tick since when the oldest pending byte waits, `nil` when none does.
    package var waitingSince: Int? {
        guard let backlog else { return nil }
        return backlog.partBytes > 0 ? backlog.partSince : backlog.queue.oldest
    }

    // MARK: Bytes

    /// Sends `bytes` behind everything written before; they are never dropped.
    ///
    /// - Parameter bytes: Not kept; what the kernel does not take is copied.
    package func write(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        write(bytes, at: 0)
    }

    /// The same, for an owner that asks ``waitingSince``.
    ///
    /// - Parameters:
    ///   - bytes: Not kept; what the kernel does not take is copied.
    ///   - now: The tick.
    package func write(_ bytes: UnsafeRawBufferPointer, at now: Int) -> Outcome {
        guard isOpen, endWhenDrained == nil else { return .failed }
        guard !bytes.isEmpty else { return backlog == nil ? .written : .pending }
        let taken = directDescriptor >= 0 ? Self.send(bytes, to: directDescriptor) : 0
        guard taken >= 0 else { return .failed }
        guard taken < bytes.count else { return .written }
        waiting().queue.append(opaque: UnsafeRawBufferPointer(rebasing: bytes[taken...]), at: now)
        return .pending
    }

    // MARK: WebSocket frames

    /// Sends whole messages, or one control frame, behind everything written before; a ping or pong before what waits.
    ///
    /// - Parameters:
    ///   - frames: What the kernel does not take is kept within `bounds`.
    ///   - bounds: Of what waits here and has not begun.
    ///   - now: The tick.
    package func write(_ frames: inout LentFrames, within bounds: OutgoingQueue.Bounds, at now: Int) -> Outcome {
        guard isOpen, endWhenDrained == nil else { return .failed }
        guard !frames.bytes.isEmpty else { return backlog == nil ? .written : .pending }
        let taken = directDescriptor >= 0 ? Self.send(frames.bytes, to: directDescriptor) : 0
        guard taken >= 0 else { return .failed }
        return shortWrite(&frames, taken: taken, within: bounds, at: now)
    }

    /// Takes over what a ``send(_:to:)`` of the caller on ``directDescriptor`` left, before anything else is written.
    ///
    /// - Parameters:
    ///   - frames: What was sent.
    ///   - taken: The bytes of it that the kernel took.
    ///   - bounds: Of what waits here and has not begun.
    ///   - now: The tick.
    package func shortWrite(
        _ frames: inout LentFrames,
        taken: Int,
        within bounds: OutgoingQueue.Bounds,
        at now: Int
    ) -> Outcome {
        guard isOpen else { return .failed }
        guard taken < frames.bytes.count else { return .written }
        return switch waiting().queue.append(frames.keep(), taken: taken, at: now, within: bounds) {
        case .admitted: .pending
        case .dropped(let count): .dropped(count)
        case .overflow(let count): .overflow(count)
        }
    }

    /// Drops everything that waits here, but for the message that has begun.
    ///
    /// - Returns: The messages dropped.
    package func discardWaiting() -> Int {
        backlog?.queue.discard() ?? 0
    }

    // MARK: The system call

    /// One `send(2)` that neither blocks nor raises a signal.
    ///
    /// - Returns: The bytes the kernel took, 0 when it has no room; −1 when the peer is gone or `descriptor` is −1.
    package static func send(_ bytes: UnsafeRawBufferPointer, to descriptor: CInt) -> Int {
        fanfare_send(descriptor, bytes.baseAddress, bytes.count)
    }

    /// Sends the same bytes to many descriptors, one ``send(_:to:)`` each.
    ///
    /// - Parameter fellShort: Called with the index of each that did not take all of them, and what it took.
    package static func send(
        _ bytes: UnsafeRawBufferPointer,
        toEach descriptors: UnsafeBufferPointer<CInt>,
        fellShort: (Int, Int) -> Void
    ) {
        var next = 0
        while next < descriptors.count {
            let rest = UnsafeBufferPointer(rebasing: descriptors[next...])
            var taken = 0
            next += fanfare_send_each(rest.baseAddress, rest.count, bytes.baseAddress, bytes.count, &taken)
            if next < descriptors.count { fellShort(next, taken) }
            next += 1
        }
    }

    // MARK: The end

    /// Closes the connection when everything written so far has gone. What is written afterwards fails.
    package func closeWhenDrained() {
        guard isOpen, endWhenDrained != .all else { return }
        endWhenDrained = .all
        if backlog == nil { close() }
    }

    /// Ends our half of the connection when everything written so far has gone; the peer's half is still read, so that
    /// bytes on their way do not reset the connection. What is written afterwards fails.
    package func closeOutputWhenDrained() {
        guard isOpen, endWhenDrained == nil else { return }
        endWhenDrained = .output
        directDescriptor = -1
        if backlog == nil { closeOutput() }
    }

    /// Closes the connection without waiting for pending bytes, after the caller has returned.
    package func close() {
        onNextTurn {
            $0.close(promise: nil)
        } orOn: {
            $0.end()
        }
        channelClosed()
    }

    /// Goes on reading the peer, or lets the kernel hold it back.
    package func setReading(_ isReading: Bool) {
        onNextTurn {
            $0.setOption(.autoRead, value: isReading).whenComplete { _ in }
        } orOn: {
            $0.setReading(isReading)
        }
    }

    private func closeOutput() {
        onNextTurn {
            $0.close(mode: .output, promise: nil)
        } orOn: {
            $0.closeOutput()
        }
    }

    /// Must be called when the connection is gone: the kernel gives the descriptor's number to the next one.
    package func channelClosed() {
        isOpen = false
        directDescriptor = -1
        connection = nil
        backlog = nil
        onDrained = nil
    }

    // MARK: What waits

    /// Where bytes wait from now on.
    private func waiting() -> Backlog {
        if let backlog { return backlog }
        let backlog = Backlog()
        self.backlog = backlog
        directDescriptor = -1
        if let connection { connection.awaitRoom(true) } else { scheduleHandOver() }
        return backlog
    }

    /// The kernel has room again: sends what waits.
    func drain() {
        guard let backlog, let connection else { return }
        var drained = 0
        while true {
            if backlog.part.isEmpty { backlog.part = backlog.takePart() }
            guard !backlog.part.isEmpty else { break }
            // Still watched for room: the next turn goes on.
            guard drained < Self.drainBytes else { return }
            let taken = backlog.part.withUnsafeBytes { Self.send($0, to: descriptor) }
            guard taken >= 0 else { return connection.end() }
            backlog.part = backlog.part.dropFirst(taken)
            guard backlog.part.isEmpty else { return }
            drained += taken
        }
        connection.awaitRoom(false)
        self.drained()
    }

    // MARK: By way of NIO

    private func scheduleHandOver() {
        channel?.eventLoop.assumeIsolated().execute { self.handOver() }
    }

    /// Gives NIO the first part of what waits; the next follows when NIO has written this one.
    private func handOver() {
        guard let backlog, let channel else { return }
        let part = backlog.takePart()
        guard !part.isEmpty else { return drained() }
        backlog.handedBytes = part.count
        let written = channel.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { self.handedOver($0) }
        channel.writeAndFlush(channel.allocator.buffer(bytes: part), promise: written)
    }

    private func handedOver(_ result: Result<Void, any Error>) {
        guard let backlog else { return }
        guard case .success = result else { return channelClosed() }
        backlog.handedBytes = 0
        if backlog.queue.isEmpty { drained() } else { scheduleHandOver() }
    }

    private func drained() {
        backlog = nil
        switch endWhenDrained {
        case .all: close()
        case .output:
            closeOutput()
            onDrained?()
        default:
            directDescriptor = descriptor
            onDrained?()
        }
    }

    /// Does something to what carries this writer when the caller has returned.
    private func onNextTurn(
        _ channelBody: @escaping (any Channel) -> Void,
        orOn connectionBody: @escaping (DescriptorConnection) -> Void
    ) {
        if let connection {
            connection.loop.onNextTurn { connectionBody(connection) }
        } else if let channel {
            channel.eventLoop.assumeIsolated().execute { channelBody(channel) }
        }
    }
}
