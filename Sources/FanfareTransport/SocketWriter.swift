package import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Writes the bytes of one connection straight to its descriptor with `send(2)`; what the kernel does not take goes
/// through NIO, order kept.
///
/// Whoever owns the connection sends everything through one writer and nothing past it. None of its functions calls
/// into NIO before it returns: a NIO write can close the channel and run `channelInactive` in the middle of the
/// caller's loop. Not Sendable; it lives on its channel's loop.
package final class SocketWriter {
    /// What became of the bytes of one ``write(_:)``.
    package enum Outcome {
        /// The kernel has them.
        case written
        /// Some or all wait here, in order; ``onDrained`` tells when they have gone.
        case pending
        /// The peer is gone, or the channel is closed; the caller closes when its own loop is done.
        case failed
    }

    /// The descriptor a fan-out loop may `send` to right now; −1 while bytes wait here or in NIO, once the connection
    /// is gone, and always for a channel without a descriptor of its own.
    package private(set) var directDescriptor: CInt
    /// Bytes the kernel has not taken yet.
    package private(set) var pendingBytes = 0
    /// Called when the last pending byte has gone to the kernel, never from inside ``write(_:)``.
    package var onDrained: (() -> Void)?

    private let channel: any Channel
    private let descriptor: CInt
    /// Bytes that wait for their turn; NIO holds at most one buffer of ours at a time.
    private var waiting: ByteBuffer?
    private var isHandingOver = false
    private var isOpen = true
    private var endWhenDrained: CloseMode?

    /// What a waiting buffer starts with: less would be grown at the next frame.
    private static let waitingCapacityMinimum = 4_096

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
        let found: CInt? =
            isTransformed
            ? nil
            : try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { $0 }
        descriptor = found ?? -1
        directDescriptor = descriptor
    }

    /// Sends `bytes` behind everything written before.
    ///
    /// - Parameter bytes: Not kept; what the kernel does not take is copied.
    package func write(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        guard isOpen, endWhenDrained == nil else { return .failed }
        guard !bytes.isEmpty else { return pendingBytes == 0 ? .written : .pending }
        guard directDescriptor >= 0 else {
            enqueue(bytes)
            return .pending
        }
        let taken = Self.send(bytes, to: directDescriptor)
        guard taken >= 0 else { return .failed }
        guard taken < bytes.count else { return .written }
        enqueue(UnsafeRawBufferPointer(rebasing: bytes[taken...]))
        return .pending
    }

    /// Takes over what a ``send(_:to:)`` of the caller on ``directDescriptor`` left.
    ///
    /// - Parameter rest: The bytes after those the kernel took; copied. Dropped when the connection is gone.
    package func shortWrite(_ rest: UnsafeRawBufferPointer) {
        guard isOpen, !rest.isEmpty else { return }
        enqueue(rest)
    }

    /// One `send(2)` that neither blocks nor raises a signal.
    ///
    /// - Returns: The bytes the kernel took, 0 when it has no room; −1 when the peer is gone or `descriptor` is −1.
    package static func send(_ bytes: UnsafeRawBufferPointer, to descriptor: CInt) -> Int {
        while true {
            #if canImport(Glibc)
                let taken = Glibc.send(descriptor, bytes.baseAddress, bytes.count, sendFlags)
            #elseif canImport(Musl)
                let taken = Musl.send(descriptor, bytes.baseAddress, bytes.count, sendFlags)
            #else
                let taken = Darwin.send(descriptor, bytes.baseAddress, bytes.count, sendFlags)
            #endif
            if taken >= 0 { return taken }
            switch errno {
            case EINTR: continue
            case EAGAIN, EWOULDBLOCK, ENOBUFS, ENOMEM: return 0
            default: return -1
            }
        }
    }

    /// Closes the connection when everything written so far has gone. What is written afterwards fails.
    package func closeWhenDrained() {
        guard isOpen, endWhenDrained != .all else { return }
        endWhenDrained = .all
        if pendingBytes == 0 { close() }
    }

    /// Ends our half of the connection when everything written so far has gone; the peer's half is still read, so that
    /// bytes on their way do not reset the connection. What is written afterwards fails.
    package func closeOutputWhenDrained() {
        guard isOpen, endWhenDrained == nil else { return }
        endWhenDrained = .output
        directDescriptor = -1
        if pendingBytes == 0 { closeOutput() }
    }

    /// Closes the connection without waiting for pending bytes, after the caller has returned.
    package func close() {
        channelClosed()
        channel.eventLoop.assumeIsolated().execute { [channel] in channel.close(promise: nil) }
    }

    /// Goes on reading the peer, or lets the kernel hold it back.
    package func setReading(_ isReading: Bool) {
        channel.eventLoop.assumeIsolated().execute { [channel] in
            channel.setOption(.autoRead, value: isReading).whenComplete { _ in }
        }
    }

    private func closeOutput() {
        channel.eventLoop.assumeIsolated().execute { [channel] in channel.close(mode: .output, promise: nil) }
    }

    /// Must be called from `channelInactive`: the kernel gives the descriptor's number to the next connection.
    package func channelClosed() {
        isOpen = false
        directDescriptor = -1
        pendingBytes = 0
        waiting = nil
        onDrained = nil
    }

    private func enqueue(_ bytes: UnsafeRawBufferPointer) {
        directDescriptor = -1
        pendingBytes += bytes.count
        if waiting == nil {
            waiting = channel.allocator.buffer(capacity: max(bytes.count, Self.waitingCapacityMinimum))
        }
        waiting?.writeBytes(bytes)
        guard !isHandingOver else { return }
        isHandingOver = true
        channel.eventLoop.assumeIsolated().execute { self.handOver() }
    }

    /// Gives NIO what waits; the next buffer follows when NIO has written this one.
    private func handOver() {
        guard isOpen, let buffer = waiting else {
            isHandingOver = false
            return
        }
        waiting = nil
        let count = buffer.readableBytes
        let written = channel.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { self.handedOver(count, $0) }
        channel.writeAndFlush(buffer, promise: written)
    }

    private func handedOver(_ count: Int, _ result: Result<Void, any Error>) {
        isHandingOver = false
        guard isOpen else { return }
        guard case .success = result else { return channelClosed() }
        pendingBytes -= count
        if waiting != nil {
            isHandingOver = true
            channel.eventLoop.assumeIsolated().execute { self.handOver() }
        } else {
            drained()
        }
    }

    private func drained() {
        switch endWhenDrained {
        case .all: close()
        case .output: closeOutput()
        default:
            directDescriptor = descriptor
            onDrained?()
        }
    }
}

#if canImport(Darwin)
    private let sendFlags = CInt(MSG_DONTWAIT)
#else
    private let sendFlags = CInt(MSG_DONTWAIT) | CInt(MSG_NOSIGNAL)
#endif
