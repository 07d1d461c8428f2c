import FanfareTransport
import FanfareWorker

/// The client's end of a connection that is made of memory: reads the server's frames at once, and answers pings and
/// close frames as a browser does. On the bench's loop.
final class MemoryConnection: SocketOutlet {
    private let bench: BenchState
    private var socket: Socket?
    /// Messages nobody has asked for yet.
    private(set) var unread: [ReceivedEvent] = []
    /// How the server ended the connection.
    private(set) var ending: ReceivedEvent?
    /// Whether somebody has asked for ``ending``.
    private var isEndingRead = false
    /// Frames for a server that does not read now.
    private var unsent: [[UInt8]] = []
    private var isRead = true
    private var hasSentClose = false
    /// Whether the connection is gone, for both ends.
    private(set) var isOver = false

    init(_ bench: BenchState) {
        self.bench = bench
    }

    private(set) var channelName = ""

    func attached(to socket: Socket) {
        self.socket = socket
        channelName = socket.channelName
    }

    // MARK: The test

    /// Whether a message can still be sent.
    var isOpen: Bool { !isOver && !hasSentClose && ending == nil }

    /// The next message, or the end when there is none.
    func takeNext() -> ReceivedEvent? {
        guard unread.isEmpty else { return unread.removeFirst() }
        if ending != nil { isEndingRead = true }
        return ending
    }

    /// What came and was not asked for.
    var unexpected: [ReceivedEvent] {
        unread + (isEndingRead ? [] : ending.map { [$0] } ?? [])
    }

    func send(_ opcode: Opcode, _ payload: some Collection<UInt8>) {
        var frame: [UInt8] = []
        ServerFrame.append(opcode, payload, to: &frame)
        send(Self.masked(frame))
    }

    /// Begins to close; what the server still sends is not of interest.
    func sendClose(_ code: CloseCode, reason: String) {
        guard isOpen else { return }
        hasSentClose = true
        send(Self.masked(ServerFrame.close(code, reason: reason)))
    }

    /// The connection breaks.
    func cut() {
        hasSentClose = true
        end()
    }

    private func send(_ frame: [UInt8]) {
        guard isRead, unsent.isEmpty else { return unsent.append(frame) }
        deliver(frame)
    }

    private func deliver(_ frame: [UInt8]) {
        guard !isOver else { return }
        frame.withUnsafeBytes { socket?.received($0) }
    }

    /// A frame of a client has a mask (RFC 6455, section 5.3). That of four zeros changes no byte.
    private static func masked(_ frame: [UInt8]) -> [UInt8] {
        let header = frame[1] == 127 ? 10 : frame[1] == 126 ? 4 : 2
        return [frame[0], frame[1] | 0x80] + frame[2..<header] + [0, 0, 0, 0] + frame[header...]
    }

    // MARK: The server

    private func took(_ bytes: UnsafeRawBufferPointer) {
        var frames = Array(bytes)[...]
        while let (opcode, payload) = ServerFrame.takeFirst(of: &frames) {
            switch opcode {
            case .text: unread.append(.text(String(decoding: payload, as: UTF8.self)))
            case .binary: unread.append(.binary(Array(payload)))
            case .ping: answer(.pong, payload)
            case .close: closed(payload)
            case .pong, .continuation: break
            }
        }
    }

    private func closed(_ payload: ArraySlice<UInt8>) {
        // The answer to our own says nothing new.
        guard !hasSentClose else { return }
        hasSentClose = true
        let code = payload.prefix(2).reduce(0) { $0 << 8 | UInt16($1) }
        ending = .close(
            payload.count < 2 ? .noStatus : CloseCode(rawValue: code),
            reason: String(decoding: payload.dropFirst(2), as: UTF8.self)
        )
        answer(.close, payload.prefix(2))
    }

    /// Nothing here may call the socket back before it returns.
    private func answer(_ opcode: Opcode, _ payload: ArraySlice<UInt8>) {
        let payload = Array(payload)
        bench.later { self.send(opcode, payload) }
    }

    private func end() {
        guard !isOver else { return }
        isOver = true
        if ending == nil, !hasSentClose { ending = .close(.abnormal, reason: "") }
        socket?.disconnected()
        // It holds this as its writer.
        socket = nil
    }

    let directDescriptor: CInt = -1
    let pendingBytes = 0
    let waitingSince: Int? = nil
    var onDrained: (() -> Void)?

    func write(_ bytes: UnsafeRawBufferPointer) -> SocketWriter.Outcome {
        guard !isOver else { return .failed }
        took(bytes)
        return .written
    }

    func write(_ frames: inout LentFrames, within bounds: OutgoingQueue.Bounds, at now: Int) -> SocketWriter.Outcome {
        write(frames.bytes)
    }

    func shortWrite(
        _ frames: inout LentFrames,
        taken: Int,
        within bounds: OutgoingQueue.Bounds,
        at now: Int
    ) -> SocketWriter.Outcome {
        write(UnsafeRawBufferPointer(rebasing: frames.bytes[taken...]))
    }

    func discardWaiting() -> Int { 0 }

    func setReading(_ isReading: Bool) {
        isRead = isReading
        guard isReading, !unsent.isEmpty else { return }
        bench.later {
            while self.isRead, !self.unsent.isEmpty { self.deliver(self.unsent.removeFirst()) }
        }
    }

    func closeWhenDrained() { bench.later { self.end() } }
    func closeOutputWhenDrained() { bench.later { self.end() } }
    func close() { bench.later { self.end() } }
    func channelClosed() {}
}
