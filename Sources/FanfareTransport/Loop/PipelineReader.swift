package import NIOCore

/// Passes a ``ByteReceiver`` what the handlers of a pipeline made of one read, TLS for one: as much of it as is one
/// connection's due in one turn of the loop. The rest follows in the next turns, behind the other connections, and
/// nothing more is read meanwhile: what ``DescriptorConnection`` does for bytes as they come.
///
/// Not Sendable; on the loop.
package final class PipelineReader {
    private let loop: any EventLoop
    private weak var receiver: (any ByteReceiver)?
    private let holdBack: (Bool) -> Void
    private var rest = ByteBuffer()
    private var isPassing = false
    private var isOver = false

    /// What may wait. One read makes no more; beyond it, as when the peer has gone and its last bytes are read whoever
    /// waits, everything is passed on at once.
    private static let restBytes = 2 * EpollLoop.readBytes

    /// - Parameters:
    ///   - receiver: Not kept.
    ///   - holdBack: Told to read nothing more, with true, and to go on, with false.
    package init(on loop: any EventLoop, _ receiver: any ByteReceiver, holdBack: @escaping (Bool) -> Void) {
        self.loop = loop
        self.receiver = receiver
        self.holdBack = holdBack
    }

    /// Passes on what a read brought, or keeps it for its turn.
    package func received(_ bytes: ByteBuffer) {
        guard rest.readableBytes == 0 else {
            rest.writeImmutableBuffer(bytes)
            if rest.readableBytes > Self.restBytes { passAll() }
            return
        }
        rest = bytes
        passPart()
        guard rest.readableBytes > 0 else { return }
        holdBack(true)
        goOnLater()
    }

    /// The connection has ended, or is taken over: what waits is passed on, and nothing after it.
    package func finish() {
        passAll()
        isOver = true
        rest = ByteBuffer()
    }

    private func goOnLater() {
        loop.runAfterOthers { [self] in
            guard !isOver else { return }
            passPart()
            receiver?.finishedBurst()
            guard !isOver else { return }
            if rest.readableBytes > 0 { return goOnLater() }
            rest = ByteBuffer()
            holdBack(false)
        }
    }

    private func passAll() {
        while !isOver, !isPassing, rest.readableBytes > 0 { passPart() }
    }

    /// What the receiver does may end the connection, and come back here.
    private func passPart() {
        guard !isPassing, !isOver, rest.readableBytes > 0 else { return }
        isPassing = true
        let bytes = rest
        let taken = bytes.withUnsafeReadableBytes { receiver?.take($0) ?? $0.count }
        isPassing = false
        guard !isOver else { return }
        rest.moveReaderIndex(forwardBy: taken)
    }
}
