package import FanfareModel
import FanfareProtocol
package import NIOCore

/// Who a ``FrameConnection`` reports to: the broker's peer, or a client's link. Always called on the loop.
package protocol FrameReceiver: AnyObject {
    /// The connection is up; nothing has been read.
    func connectionOpened(_ connection: FrameConnection)
    /// One frame's payload, in stream order. The pointer is valid during the call only.
    func connection(_ connection: FrameConnection, received payload: UnsafeRawBufferPointer)
    /// Everything one read brought has been passed on.
    func connectionFinishedBurst(_ connection: FrameConnection)
    /// The stream cannot be trusted any more, or the first bytes were HTTP; say so and close.
    func connection(_ connection: FrameConnection, failed failure: StreamFailure)
    /// Everything written so far has gone to the kernel, after some of it had to wait.
    func connectionDrained(_ connection: FrameConnection)
    /// The connection is gone. The last call.
    func connectionClosed(_ connection: FrameConnection)
}

/// Why a byte stream could not be read as frames.
package enum StreamFailure: Error, Sendable, Equatable {
    /// A frame's length is out of bounds.
    case frame(Failure)
    /// A web browser or an HTTP probe came to the wrong port.
    case http
}

/// One connection of frames: what a read brings is split and passed on as a burst; what is written is gathered in
/// one buffer and sent once per loop turn.
///
/// Over a ``DescriptorConnection`` whose receiver it is, or over a NIO channel as the only handler in its pipeline. Not
/// Sendable; it lives on its connection's loop.
package final class FrameConnection {
    /// Frames and bytes since the connection opened.
    package struct Traffic: Sendable, Equatable {
        package var framesIn: UInt64 = 0
        package var framesOut: UInt64 = 0
        package var bytesIn: UInt64 = 0
        package var bytesOut: UInt64 = 0

        package init() {}

        package static func += (total: inout Traffic, more: Traffic) {
            total.framesIn += more.framesIn
            total.framesOut += more.framesOut
            total.bytesIn += more.bytesIn
            total.bytesOut += more.bytesOut
        }
    }

    package private(set) var traffic = Traffic()
    /// When the peer was last heard; only its data counts.
    package private(set) var lastHeard = NIODeadline.uptimeNanoseconds(0)
    /// Whether frames still go in and out.
    package private(set) var isOpen = false
    /// Where the peer connects from, for logs.
    package private(set) var remote = ""

    private let receiver: any FrameReceiver
    private let turn: WriteTurn
    private let decoder: FrameDecoder
    private let framesPerTurn: Int
    private let out = FrameBuffer()
    private var writer: SocketWriter?
    private var isDirty = false
    /// The first bytes until there are enough to recognise HTTP by, however they are cut; `nil` from then on.
    private var opening: [UInt8]? = []
    /// On a NIO channel: what hands out its reads.
    var pipelineReader: PipelineReader?

    /// - Parameters:
    ///   - receiver: Kept until the connection closes.
    ///   - turn: Gathers the writes of this loop.
    ///   - frameBytes: The largest payload accepted at first; see ``raise(frameBytes:)``.
    ///   - framesPerTurn: Frames of this connection handled before the other connections have their turn.
    package init(
        receiver: any FrameReceiver,
        turn: WriteTurn,
        frameBytes: Int,
        framesPerTurn: Int = Limits().framesPerTurn
    ) {
        self.receiver = receiver
        self.turn = turn
        self.framesPerTurn = framesPerTurn
        decoder = FrameDecoder(limit: frameBytes)
    }

    /// Accepts larger frames from the next one on: a peer that has said hello gets more room.
    package func raise(frameBytes: Int) {
        decoder.limit = frameBytes
    }

    // MARK: Writing

    /// Bytes written and not yet taken by the kernel.
    package var pendingBytes: Int { out.count + (writer?.pendingBytes ?? 0) }

    /// The tick of the ``WriteTurn`` since when the oldest byte the kernel has not taken waits; `nil` when none does.
    package var waitingSince: Int? { writer?.waitingSince }

    /// Bytes held for this connection: those not taken by the kernel, and the start of a frame that is coming.
    package var heldBytes: Int { pendingBytes + decoder.bufferedBytes }

    /// Gathers one frame from a broker; it leaves at the end of this loop turn.
    package func write(_ reply: Reply) {
        guard isOpen else { return }
        out.append(reply)
        wrote()
    }

    /// Gathers one frame from a client; it leaves at the end of this loop turn.
    package func write(_ request: Request) {
        guard isOpen else { return }
        out.append(request)
        wrote()
    }

    /// Gathers one frame that is encoded already: a fan-out encodes once.
    package func write(encoded frame: UnsafeRawBufferPointer) {
        guard isOpen else { return }
        out.append(copying: frame)
        wrote()
    }

    private func wrote() {
        traffic.framesOut += 1
        guard !isDirty else { return }
        isDirty = true
        turn.add(self)
    }

    /// Sends what was gathered. Called once per turn by ``WriteTurn``.
    func flush() {
        isDirty = false
        guard isOpen, out.count > 0, let writer else { return }
        traffic.bytesOut += UInt64(out.count)
        let outcome = out.withUnsafeBytes { writer.write($0, at: turn.tick) }
        out.removeAll()
        if outcome == .failed { close() }
    }

    /// Sends what was gathered, then closes when the kernel has taken all of it.
    package func closeWhenWritten() {
        flush()
        isOpen = false
        writer?.closeWhenDrained()
    }

    /// Answers in plain text before any frame, then closes.
    package func closeWhenWritten(text: String) {
        var text = text
        text.withUTF8 { out.append(copying: UnsafeRawBufferPointer($0)) }
        closeWhenWritten()
    }

    /// Closes without waiting for anything.
    package func close() {
        isOpen = false
        writer?.close()
    }

    /// What carries the connection says why it is about to end. The receiver hears of it before it hears of the end.
    package func fail(_ failure: Failure) {
        guard isOpen else { return }
        receiver.connection(self, failed: .frame(failure))
    }

    // MARK: Reading

    /// The connection is up. Before anything it brings.
    ///
    /// - Parameters:
    ///   - writer: Of the same connection.
    ///   - remote: Where the peer connects from, for logs.
    package func open(_ writer: SocketWriter, remote: String) {
        guard self.writer == nil else { return }
        writer.onDrained = { [unowned self] in receiver.connectionDrained(self) }
        self.writer = writer
        isOpen = true
        lastHeard = .now()
        self.remote = remote
        receiver.connectionOpened(self)
    }

    private func opensLikeHTTP(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard var opening else { return false }
        opening.append(contentsOf: bytes.prefix(4 - opening.count))
        self.opening = opening.count < 4 ? opening : nil
        return opening.withUnsafeBytes { FrameDecoder.looksLikeHTTP($0) }
    }
}

extension FrameConnection: ByteReceiver {
    /// All of it, whatever is due in one turn.
    package func received(_ bytes: UnsafeRawBufferPointer) {
        var taken = 0
        while taken < bytes.count { taken += take(UnsafeRawBufferPointer(rebasing: bytes[taken...])) }
    }

    package func take(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard isOpen else { return bytes.count }
        lastHeard = .now()
        if opensLikeHTTP(bytes) {
            receiver.connection(self, failed: .http)
            return bytes.count
        }
        do {
            let taken = try decoder.feed(bytes, atMost: framesPerTurn) { payload in
                guard isOpen else { return }
                traffic.framesIn += 1
                receiver.connection(self, received: payload)
            }
            traffic.bytesIn += UInt64(taken)
            return taken
        } catch {
            traffic.bytesIn += UInt64(bytes.count)
            guard isOpen else { return bytes.count }
            let failure = error as? Failure ?? Failure(.malformedFrame, "the stream cannot be read: \(error)")
            receiver.connection(self, failed: .frame(failure))
            return bytes.count
        }
    }

    package func finishedBurst() {
        receiver.connectionFinishedBurst(self)
    }

    package func disconnected() {
        isOpen = false
        writer?.channelClosed()
        receiver.connectionClosed(self)
    }
}
