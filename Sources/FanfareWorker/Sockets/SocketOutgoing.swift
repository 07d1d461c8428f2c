import FanfareModel
package import FanfareTransport

/// What a socket sends, and what becomes of it when the peer does not read: ``WorkerLimits`` says how much may wait and
/// what happens then.
extension Socket {
    /// The descriptor a fan-out may use now, or −1.
    var directDescriptor: CInt { writer?.directDescriptor ?? -1 }

    /// The tick since when the oldest byte waits for the peer to read, `nil` when none does.
    var waitingSince: Int? { writer?.waitingSince }

    /// Sends frames that are encoded already: whole messages, or one control frame.
    func send(frames: UnsafeRawBufferPointer) {
        var lent = LentFrames(frames)
        send(&lent)
    }

    /// Sends frames that go to other sockets too: those that have to keep them share one copy.
    func send(_ frames: inout LentFrames) {
        guard takesFrames else { return }
        guard let writer else { return hold(frames.bytes) }
        worker.fanOut.countSent(bytes: frames.bytes.count)
        settle(note(writer.write(&frames, within: worker.limits.outgoing, at: worker.ticks)))
    }

    /// Keeps what a fan-out's `send` left. Calls nobody: other sockets may still have to keep theirs.
    ///
    /// - Parameter taken: Bytes of `frames` the kernel took; −1 when it was not asked or the peer is gone.
    /// - Returns: For ``settle(_:)``.
    func fanOutFellShort(_ frames: inout LentFrames, taken: Int) -> SocketWriter.Outcome {
        guard takesFrames else { return .written }
        guard let writer else {
            hold(frames.bytes)
            return .written
        }
        let bounds = worker.limits.outgoing
        guard taken >= 0 else { return note(writer.write(&frames, within: bounds, at: worker.ticks)) }
        return note(writer.shortWrite(&frames, taken: taken, within: bounds, at: worker.ticks))
    }

    /// Acts on what became of a write.
    func settle(_ outcome: SocketWriter.Outcome) {
        switch outcome {
        case .written, .pending: break
        case .dropped(let messages): worker.dropped(messages, of: self, .full)
        case .overflow(let messages): readsTooSlowly(missing: messages)
        case .failed: abandon(.abnormal)
        }
    }

    /// Gives up on a peer that does not read: it gets the rest of the message that has begun and a close frame.
    ///
    /// - Parameter messages: Could not even wait.
    func readsTooSlowly(missing messages: Int = 0) {
        guard takesFrames else { return }
        let discarded = (writer?.discardWaiting() ?? 0) + messages
        worker.counters.slowReadersClosed += 1
        if discarded > 0 { worker.dropped(discarded, of: self, .linkOverflow) }
        close(.tryAgainLater, reason: "this client reads too slowly")
    }

    /// When something begins to wait, fan-outs leave the descriptor alone until it has gone.
    private func note(_ outcome: SocketWriter.Outcome) -> SocketWriter.Outcome {
        guard let writer, writer.pendingBytes > 0, writer.onDrained == nil else { return outcome }
        writer.onDrained = { [unowned self] in
            self.writer?.onDrained = nil
            worker.slowReaders.remove(self)
            publishDescriptor()
        }
        worker.slowReaders.add(self)
        publishDescriptor()
        return outcome
    }

    /// Tells the audiences whether fan-outs may use the descriptor.
    func publishDescriptor() {
        for membership in memberships {
            guard let position = membership.position else { continue }
            membership.audience.setDescriptor(directDescriptor, at: position)
        }
    }
}

/// Where a socket's frames go: a ``SocketWriter``, or the memory of a test. All of it on the worker's loop, and none of
/// it calls the socket before it returns.
package protocol SocketOutlet: AnyObject {
    /// The descriptor a fan-out may send to now, or −1.
    var directDescriptor: CInt { get }
    /// Bytes the peer's side has not taken yet.
    var pendingBytes: Int { get }
    /// The tick since when the oldest of them waits.
    var waitingSince: Int? { get }
    /// Called when nothing waits any more.
    var onDrained: (() -> Void)? { get set }

    /// Sends bytes that are never dropped.
    func write(_ bytes: UnsafeRawBufferPointer) -> SocketWriter.Outcome
    /// Sends whole messages, or one control frame.
    func write(_ frames: inout LentFrames, within bounds: OutgoingQueue.Bounds, at now: Int) -> SocketWriter.Outcome
    /// Takes over what a send of a fan-out left.
    func shortWrite(
        _ frames: inout LentFrames,
        taken: Int,
        within bounds: OutgoingQueue.Bounds,
        at now: Int
    ) -> SocketWriter.Outcome
    /// Drops what waits, but for the message that has begun.
    func discardWaiting() -> Int
    /// Goes on reading the peer, or stops.
    func setReading(_ isReading: Bool)
    /// Closes when everything has gone.
    func closeWhenDrained()
    /// Ends our half when everything has gone.
    func closeOutputWhenDrained()
    /// Closes at once.
    func close()
    /// The connection is closed.
    func channelClosed()
}

extension SocketWriter: SocketOutlet {}

extension Socket: ByteReceiver {}
