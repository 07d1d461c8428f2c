import FanfareTransport

/// One established WebSocket: its messages in, its frames out, its groups. Knows nothing of NIO's pipeline.
///
/// None of its functions calls into NIO before it returns. Lives on the worker's loop.
final class Socket {
    enum State {
        /// Its channel and groups are being declared to the broker. Messages go both ways already.
        case joining
        case open
        /// A close frame was sent; nothing else is.
        case closing
        case closed
    }

    let worker: WorkerLoop
    let consumer: any Consumer
    let request: SocketRequest
    /// Where the peer connects from, for listings.
    let remote: String
    /// This worker's count; the local part of the channel's name in base 36.
    let number: UInt64
    private(set) var state = State.joining

    /// Kept by ``FanOut``.
    var memberships: [Membership] = []
    /// Groups of its own that the broker has not acknowledged for the first time.
    var joinsPending = 0
    /// Its place in ``PingWheel``.
    var wheelPlace = PingWheel.Place()
    /// Whether the peer sent anything since it was last pinged.
    private(set) var wasHeard = true

    private let writer: SocketWriter
    private var parser: WebSocketParser

    init(
        worker: WorkerLoop,
        consumer: any Consumer,
        request: SocketRequest,
        remote: String,
        number: UInt64,
        writer: SocketWriter
    ) {
        self.worker = worker
        self.consumer = consumer
        self.request = request
        self.remote = remote
        self.number = number
        self.writer = writer
        parser = WebSocketParser(limits: worker.limits)
    }

    /// The process channel that is this socket's address.
    var channelName: String { worker.channelName(number) }

    private var takesFrames: Bool { state == .joining || state == .open }

    // MARK: In

    /// What one read brought.
    func received(_ bytes: UnsafeRawBufferPointer) {
        wasHeard = true
        guard state != .closed else { return }
        do {
            try parser.feed(bytes) { handle($0) }
        } catch {
            violated(error)
        }
    }

    private func handle(_ event: WebSocketEvent) {
        guard takesFrames else {
            // The answer to our close frame; whatever came before it crossed ours and is not read any more.
            if case .close = event, state == .closing { end() }
            return
        }
        switch event {
        case .text(let text):
            worker.counters.messagesIn += 1
            consumer.received(text: text, from: self)
        case .binary(let bytes):
            worker.counters.messagesIn += 1
            consumer.received(binary: bytes, from: self)
        case .ping(let payload):
            send(.pong, payload)
        case .pong:
            break
        case .close(let code, _):
            beginClosing(counted: code)
            write(ServerFrame.close(code))
            end()
        }
    }

    private func violated(_ violation: WebSocketViolation) {
        guard takesFrames else { return end() }
        close(violation.code, reason: violation.reason)
        // The stream cannot be read any more, so no answer to the close frame will be seen.
        writer.closeOutputWhenDrained()
    }

    /// The connection is gone. The last call.
    func disconnected() {
        writer.channelClosed()
        if takesFrames { beginClosing(counted: .abnormal) }
        state = .closed
        worker.gone(self)
    }

    // MARK: Out

    /// The descriptor a fan-out may use now, or −1.
    var directDescriptor: CInt { writer.directDescriptor }

    /// Sends one text message; `text` must be UTF-8.
    func send(text: [UInt8]) {
        send(.text, text)
    }

    /// Sends frames that are encoded already.
    func send(frames: UnsafeRawBufferPointer) {
        guard takesFrames else { return }
        switch writer.write(frames) {
        case .written: break
        case .pending: waits()
        case .failed: abandon(.abnormal)
        }
    }

    /// Sends one frame.
    func send(_ opcode: Opcode, _ payload: [UInt8]) {
        var frames: [UInt8] = []
        ServerFrame.append(opcode, payload, to: &frames)
        frames.withUnsafeBytes { send(frames: $0) }
    }

    /// Takes over what a fan-out's `send` left.
    ///
    /// - Parameter taken: Bytes of `frames` the kernel took; −1 when it was not asked or the peer is gone.
    func fanOutFellShort(_ frames: UnsafeRawBufferPointer, taken: Int) {
        guard takesFrames else { return }
        guard taken >= 0 else { return send(frames: frames) }
        writer.shortWrite(UnsafeRawBufferPointer(rebasing: frames[taken...]))
        waits()
    }

    /// Frames wait for the peer to read: fan-outs leave the descriptor alone until they have gone.
    private func waits() {
        publishDescriptor()
        guard writer.pendingBytes <= worker.limits.outgoingBytes else {
            return close(.tryAgainLater, reason: "this client reads too slowly")
        }
        writer.onDrained = { [unowned self] in publishDescriptor() }
    }

    private func publishDescriptor() {
        for membership in memberships {
            guard let position = membership.position else { continue }
            membership.audience.setDescriptor(writer.directDescriptor, at: position)
        }
    }

    private func write(_ frame: [UInt8]) {
        _ = frame.withUnsafeBytes { writer.write($0) }
    }

    // MARK: Groups

    /// Where among the memberships `group` is.
    func membershipIndex(_ group: String) -> Int? {
        memberships.firstIndex { $0.audience.group == group }
    }

    /// This socket took another place in an audience.
    func moved(to position: Int, in audience: Audience) {
        guard let index = memberships.firstIndex(where: { $0.audience === audience }) else { return }
        memberships[index].position = position
    }

    /// All groups of its own are acknowledged.
    func joined() {
        guard state == .joining else { return }
        state = .open
        consumer.opened(self)
    }

    // MARK: The end

    /// Sends a close frame and waits for the peer's; its channel and memberships end now.
    func close(_ code: CloseCode, reason: String) {
        guard takesFrames else { return }
        beginClosing(counted: code)
        write(ServerFrame.close(code, reason: reason))
    }

    /// Closes without a word: the peer is gone or does not answer.
    func abandon(_ code: CloseCode) {
        if takesFrames { beginClosing(counted: code) }
        writer.close()
    }

    /// Pings the peer; one that was silent since the last ping is gone.
    ///
    /// - Returns: Whether it still lives.
    func ping() -> Bool {
        guard wasHeard else { return false }
        wasHeard = false
        ServerFrame.ping.withUnsafeBytes { send(frames: $0) }
        return true
    }

    private func beginClosing(counted code: CloseCode) {
        state = .closing
        worker.leaves(self, code)
    }

    private func end() {
        writer.closeWhenDrained()
    }
}
