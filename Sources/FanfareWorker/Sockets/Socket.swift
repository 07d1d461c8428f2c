import FanfareModel
import FanfareTransport

/// One WebSocket, from the joining of its groups on: its messages in, its frames out. Knows nothing of NIO's pipeline.
///
/// None of its functions calls into NIO before it returns. Lives on the worker's loop.
package final class Socket {
    enum State {
        /// Its channel and groups are being declared to the broker.
        case joining
        /// It is to be decided whether it is let in. What is sent to it waits.
        case connecting
        /// The client is let in.
        case open
        /// A close frame was sent; nothing else is.
        case closing
        case closed
    }

    let worker: WorkerLoop
    let service: any SocketService
    /// The path of its handshake, for listings.
    let path: String
    /// The client's address, for its consumer.
    let address: String
    /// Where the connection comes from, for listings.
    let remote: String
    /// This worker's count; the local part of the channel's name in base 36.
    let number: UInt64
    private(set) var state = State.joining
    /// The window that was agreed for compressed messages; 0 when none may be sent.
    let windowBits: UInt8

    /// What the service keeps for it, until its end has been handled.
    var attachment: AnyObject?
    /// What its consumer holds, to be told when it has ended.
    weak var face: WebSocket?
    /// Given back when the socket is gone.
    var leases: [any Sendable & AnyObject] = []
    /// Kept by ``FanOut``.
    var memberships: [Membership] = []
    /// Groups of its own that the broker has not acknowledged for the first time.
    var joinsPending = 0
    /// Called once: all groups are joined, or why they will not be.
    var onJoined: (((any Error)?) -> Void)?
    /// Its place in ``PingWheel``.
    var wheelPlace = PingWheel.Place()
    /// When it has to end, and since when its client said nothing.
    var lifetime = SocketLifetime()
    /// Whether the peer sent anything since it was last pinged.
    private(set) var wasHeard = true
    /// Whether its client was let in.
    private var wasAccepted = false
    private(set) var isReading = true
    /// Whether what it was read waits for its turn; nothing more is read then.
    var isBehind = false {
        didSet { if isBehind != oldValue { writer?.setReading(isReading && !isBehind) } }
    }

    private(set) var writer: (any SocketOutlet)?
    /// Frames sent before there was a connection to write to.
    private var held: [UInt8] = []
    private var parser: WebSocketParser

    init(
        worker: WorkerLoop,
        service: any SocketService,
        path: String,
        address: String,
        remote: String,
        number: UInt64,
        windowBits: Int
    ) {
        self.worker = worker
        self.service = service
        self.path = path
        self.address = address
        self.remote = remote
        self.number = number
        self.windowBits = UInt8(windowBits)
        parser = WebSocketParser(limits: worker.limits, inflater: windowBits > 0 ? worker.inflater : nil)
    }

    /// The process channel that is this socket's address.
    package var channelName: String { worker.channelName(number) }

    /// Whether anything can still be sent.
    var takesFrames: Bool { state == .joining || state == .connecting || state == .open }

    // MARK: The handshake

    /// All groups of its own are acknowledged.
    func joined() {
        guard state == .joining else { return }
        state = .connecting
        let onJoined = onJoined
        self.onJoined = nil
        onJoined?(nil)
    }

    /// The client is let in; the answer to its handshake is on its way.
    func accepted() {
        guard takesFrames else { return }
        wasAccepted = true
        state = .open
    }

    /// The answer is written: what waited follows.
    func attach(_ writer: any SocketOutlet) {
        self.writer = writer
        guard state != .closed else { return writer.close() }
        let frames = held
        held = []
        if takesFrames {
            frames.withUnsafeBytes { send(frames: $0) }
            publishDescriptor()
        } else {
            write(frames)
        }
        if !isReading { writer.setReading(false) }
    }

    /// What decides about it has finished; a socket that has ended meanwhile is told so too.
    func opened() {
        service.opened(self)
    }

    /// The client is not let in, or has left before it was.
    func discard(_ reason: any Error = CancellationError()) {
        // One that was closed before it was let in waits for a connection that will never be its own.
        if state == .closing { disconnected() }
        guard takesFrames else { return }
        state = .closed
        forget()
        let onJoined = onJoined
        self.onJoined = nil
        worker.discard(self)
        onJoined?(reason)
    }

    /// Lets go of what was kept for a client that was not let in.
    private func forget() {
        face?.markClosed()
        leases = []
        attachment = nil
    }

    // MARK: In

    /// What one read brought, all of it.
    package func received(_ bytes: UnsafeRawBufferPointer) {
        var taken = 0
        while taken < bytes.count { taken += take(UnsafeRawBufferPointer(rebasing: bytes[taken...])) }
    }

    /// What one read brought, up to this client's due in one turn of the loop.
    package func take(_ bytes: UnsafeRawBufferPointer) -> Int {
        wasHeard = true
        guard state != .closed else { return bytes.count }
        do {
            let taken = try parser.feed(bytes, atMost: worker.limits.framesPerTurn) { handle($0) }
            worker.counters.bytesIn += UInt64(taken)
            return taken
        } catch {
            worker.counters.bytesIn += UInt64(bytes.count)
            violated(error)
            return bytes.count
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
            countMessage()
            service.received(text: text, from: self)
        case .binary(let bytes):
            countMessage()
            service.received(binary: bytes, from: self)
        case .ping(let payload):
            send(.pong, payload)
        case .pong:
            break
        case .close(let code, let reason):
            beginClosing(code, isFromHere: false, reason: reason)
            write(ServerFrame.close(code))
            end()
        }
    }

    private func countMessage() {
        worker.counters.messagesIn += 1
        lifetime.lastMessage = worker.ticks
    }

    /// Lets the client send, or lets the kernel hold it back while its messages wait for handlers.
    func setReading(_ isReading: Bool) {
        self.isReading = isReading
        // Nothing was read meanwhile, so nothing can be said of the peer's silence.
        if isReading {
            wasHeard = true
            lifetime.lastMessage = worker.ticks
        }
        writer?.setReading(isReading && !isBehind)
    }

    private func violated(_ violation: WebSocketViolation) {
        guard takesFrames else { return end() }
        worker.refused(violation.code.name, peer: remote, detail: violation.reason)
        close(violation.code, reason: violation.reason)
        // The stream cannot be read any more, so no answer to the close frame will be seen.
        writer?.closeOutputWhenDrained()
    }

    /// The connection is gone. The last call.
    package func disconnected() {
        writer?.channelClosed()
        if takesFrames { beginClosing(.abnormal, isFromHere: false) }
        state = .closed
        leases = []
        worker.gone(self)
    }

    // MARK: Out

    /// Sends one text message; `text` must be UTF-8.
    func send(text: [UInt8]) {
        send(.text, text)
    }

    /// Sends one message that is encoded already, and counts it.
    func send(message frames: [UInt8]) {
        guard takesFrames else { return }
        worker.fanOut.settle(self)
        worker.fanOut.countSent(1)
        guard windowBits > 0 else { return frames.withUnsafeBytes { send(frames: $0) } }
        var compressed: [UInt8] = []
        worker.compressor.append(frames: frames, windowBits: Int(windowBits), to: &compressed)
        compressed.withUnsafeBytes { send(frames: $0) }
    }

    /// Keeps frames until there is a connection to write them to; one message alone always fits.
    func hold(_ frames: UnsafeRawBufferPointer) {
        guard held.isEmpty || held.count + frames.count <= worker.limits.outgoingBytes else {
            worker.dropped(WebSocketMessages(Array(frames)).count, of: self, .linkOverflow)
            return close(.tryAgainLater, reason: "too much was sent before the connection was accepted")
        }
        held.append(contentsOf: frames)
    }

    /// Sends one frame.
    func send(_ opcode: Opcode, _ payload: [UInt8]) {
        var frames: [UInt8] = []
        if !opcode.isControl, takesFrames { worker.fanOut.countSent(1) }
        if windowBits > 0, !opcode.isControl {
            worker.compressor.append(opcode, payload, windowBits: Int(windowBits), to: &frames)
        } else {
            ServerFrame.append(opcode, payload, to: &frames)
        }
        frames.withUnsafeBytes { send(frames: $0) }
    }

    private func write(_ frame: [UInt8]) {
        guard let writer else { return held.append(contentsOf: frame) }
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

    // MARK: The end

    /// Sends a close frame and waits for the peer's; its memberships end when its service has heard of it.
    func close(_ code: CloseCode, reason: String) {
        guard takesFrames else { return }
        beginClosing(code, isFromHere: true)
        write(ServerFrame.close(code, reason: reason))
    }

    /// Closes without a word: the peer is gone or does not answer.
    func abandon(_ code: CloseCode) {
        if takesFrames { beginClosing(code, isFromHere: false) }
        writer?.close()
    }

    /// Pings the peer; one that was silent since the last ping is gone.
    ///
    /// - Returns: Whether it still lives.
    func ping() -> Bool {
        guard writer != nil, isReading else { return true }
        guard wasHeard else { return false }
        wasHeard = false
        ServerFrame.ping.withUnsafeBytes { send(frames: $0) }
        return true
    }

    private func beginClosing(_ code: CloseCode, isFromHere: Bool, reason: String = "") {
        state = .closing
        wasAccepted ? face?.markClosed() : forget()
        let onJoined = onJoined
        self.onJoined = nil
        worker.leaves(self, code, isFromHere: isFromHere, wasAccepted: wasAccepted, reason: reason)
        onJoined?(CancellationError())
    }

    private func end() {
        writer?.closeWhenDrained()
    }
}

/// When a socket has to end, in ticks of its worker.
struct SocketLifetime {
    /// The tick at which it is closed whatever it does; `Int.max` for never.
    var endsAt = Int.max
    /// What its client is told then.
    var ending = Ending.lifetime
    /// The tick at which it is looked at again; see ``DeadlineTable``.
    var nextLook = 0
    /// The tick of the client's last message, or of the beginning.
    var lastMessage = 0

    enum Ending: UInt8 {
        /// It has lived as long as the worker lets sockets live.
        case lifetime
        /// The credentials it came with have expired.
        case credentials
    }
}
