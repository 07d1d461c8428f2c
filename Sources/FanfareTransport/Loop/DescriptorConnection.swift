import Glibc

/// Who hears of what a connection reads. Always called on the loop.
package protocol ByteReceiver: AnyObject {
    /// What one read brought. The pointer is valid during the call only.
    func received(_ bytes: UnsafeRawBufferPointer)
    /// Everything one read brought has been passed on.
    func finishedBurst()
    /// The connection is gone. The last call.
    func disconnected()
}

extension ByteReceiver {
    package func finishedBurst() {}
}

/// An established connection on an ``EpollLoop``: its descriptor, who reads it, and a ``SocketWriter`` over it.
///
/// Keeps no buffer of its own: reads go to the loop's, and what the kernel does not take waits in the writer. Lives as
/// long as its descriptor is open; not Sendable.
package final class DescriptorConnection: DescriptorHandler {
    let descriptor: CInt
    let loop: EpollLoop
    /// Kept until the connection is gone. Another one can take over at any time.
    package var receiver: (any ByteReceiver)?
    private(set) package var writer: SocketWriter!
    private var isOpen = true
    private var isReading = true
    private var awaitsRoom = false

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
        // Who does not read at the moment hears of a peer that has gone all the same, after what it sent last.
        if isReading {
            readOnce()
        } else if !readiness.isDisjoint(with: [.inputEnded, .broken]) {
            while isOpen, !isReading, readOnce() {}
        }
    }

    /// - Returns: Whether there may be more.
    @discardableResult
    private func readOnce() -> Bool {
        let count = recv(descriptor, loop.readBuffer.baseAddress, loop.readBuffer.count, 0)
        guard count > 0 else {
            if count < 0, errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR { return false }
            end()
            return false
        }
        receiver?.received(UnsafeRawBufferPointer(rebasing: loop.readBuffer[..<count]))
        receiver?.finishedBurst()
        return true
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
        loop.unwatch(descriptor)
        writer.channelClosed()
        let receiver = receiver
        self.receiver = nil
        receiver?.disconnected()
        close(descriptor)
    }
}
