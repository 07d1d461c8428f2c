import Glibc
import NIOCore

/// Who hears of what a connection reads. Always called on the loop.
package protocol ByteReceiver: AnyObject {
    /// What one read brought. The pointer is valid during the call only.
    func received(_ bytes: UnsafeRawBufferPointer)
    /// Takes what one read brought, or as much of it as is one connection's due in one turn of the loop.
    ///
    /// - Returns: The bytes taken, at least one. The rest comes again in the next turn, behind the other connections.
    func take(_ bytes: UnsafeRawBufferPointer) -> Int
    /// Everything one read brought, or one turn's part of it, has been passed on.
    func finishedBurst()
    /// The connection is gone. The last call.
    func disconnected()
}

extension ByteReceiver {
    package func finishedBurst() {}

    package func take(_ bytes: UnsafeRawBufferPointer) -> Int {
        received(bytes)
        return bytes.count
    }
}

/// An established connection on an ``EpollLoop``: its descriptor, who reads it, and a ``SocketWriter`` over it.
///
/// One read a turn, of at most ``EpollLoop/readBytes``, into the loop's buffer; what the receiver leaves of it for the
/// next turns is kept, and nothing else is read before that is gone. What the kernel does not take waits in the writer.
/// Lives as long as its descriptor is open; not Sendable.
package final class DescriptorConnection: DescriptorHandler {
    let descriptor: CInt
    let loop: EpollLoop
    /// Kept until the connection is gone. Another one can take over at any time.
    package var receiver: (any ByteReceiver)?
    private(set) package var writer: SocketWriter!
    private var isOpen = true
    private var isReading = true
    private var awaitsRoom = false
    /// What has been read and is for the next turns; only a peer that floods has any.
    private var rest = ByteBuffer()
    private var isPostponed = false
    /// The peer sends nothing more: nobody has to be held back any longer.
    private var hasEnded = false

    /// Takes over `descriptor`, which must be a connected stream socket that does not block; it is closed with the
    /// connection. On the loop. Nothing is read before this turn of the loop has ended.
    package init(_ descriptor: CInt, on loop: EpollLoop, receiver: (any ByteReceiver)?) {
        self.descriptor = descriptor
        self.loop = loop
        self.receiver = receiver
        writer = SocketWriter(connection: self)
        loop.watch(descriptor, for: watched, self)
    }

    private var watched: Readiness {
        var watched = Readiness.inputEnded
        if isReading { watched.insert(.readable) }
        if awaitsRoom { watched.insert(.writable) }
        return watched
    }

    package func ready(_ readiness: Readiness) {
        if readiness.contains(.writable), awaitsRoom { writer.drain() }
        guard isOpen, !readiness.isDisjoint(with: [.readable, .inputEnded, .broken]) else { return }
        // Who does not read at the moment hears of a peer that has gone all the same, after what it sent last: the
        // descriptor is reported in every turn until its end has been read.
        if !readiness.isDisjoint(with: [.inputEnded, .broken]) { hasEnded = true }
        guard isReading || hasEnded else { return }
        if rest.readableBytes > 0 { postponeRest() } else { readOnce() }
    }

    private func readOnce() {
        let count = recv(descriptor, loop.readBuffer.baseAddress, loop.readBuffer.count, 0)
        guard count > 0 else {
            guard count < 0, errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR else { return end() }
            return
        }
        let bytes = UnsafeRawBufferPointer(rebasing: loop.readBuffer[..<count])
        let taken = receiver?.take(bytes) ?? count
        receiver?.finishedBurst()
        guard taken < count, isOpen else { return }
        rest = ByteBuffer(bytes: bytes[taken...])
        postponeRest()
    }

    // MARK: Turns

    private var isRestDue: Bool { rest.readableBytes > 0 && (isReading || hasEnded) }

    private func postponeRest() {
        guard isRestDue, !isPostponed else { return }
        isPostponed = true
        loop.afterOthers { [self] in
            isPostponed = false
            if isRestDue { passRest() }
        }
    }

    private func passRest() {
        let bytes = rest
        let taken = bytes.withUnsafeReadableBytes { receiver?.take($0) ?? $0.count }
        receiver?.finishedBurst()
        guard isOpen else { return }
        rest.moveReaderIndex(forwardBy: taken)
        if rest.readableBytes > 0 { postponeRest() } else { rest = ByteBuffer() }
    }

    /// Tells when the kernel has room again; ``SocketWriter/drain()`` follows.
    func awaitRoom(_ awaits: Bool) {
        guard isOpen, awaits != awaitsRoom else { return }
        awaitsRoom = awaits
        loop.rewatch(descriptor, for: watched)
    }

    /// Goes on reading, or lets the kernel hold the peer back.
    package func setReading(_ isReading: Bool) {
        guard isOpen, isReading != self.isReading else { return }
        self.isReading = isReading
        loop.rewatch(descriptor, for: watched)
        postponeRest()
    }

    /// Ends our half.
    func closeOutput() {
        guard isOpen else { return }
        shutdown(descriptor, CInt(SHUT_WR))
    }

    package func loopEnded() { end() }

    /// Closes at once; the receiver is told before the kernel gives the descriptor's number to another connection.
    package func end() {
        guard isOpen else { return }
        isOpen = false
        rest = ByteBuffer()
        loop.unwatch(descriptor)
        writer.channelClosed()
        let receiver = receiver
        self.receiver = nil
        receiver?.disconnected()
        close(descriptor)
    }
}
