import CLinux
import Glibc

/// The sockets of a load on one epoll loop, which runs in the thread that calls it and only while it is called. It
/// spends little on a delivery, so that it is not what is measured: one receive buffer for all sockets, each
/// registered once and edge-triggered, no call of the kernel but recv() for what comes.
final class SocketLoop {
    let address: ServerAddress
    let host: String
    let dialect: Dialect
    private unowned let owner: any LoadSocketOwner
    private let poll: Int32
    private let events = UnsafeMutableBufferPointer<epoll_event>.allocate(capacity: 1_024)
    private let received = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    private var sockets: ContiguousArray<LoadSocket> = []
    private var slow: [LoadSocket] = []
    private var slowReadAt: UInt64 = 0
    private var openingQueue: ArraySlice<LoadSocket> = []
    private(set) var underWay = 0
    private var lastOpened: UInt64 = 0
    /// Why sockets were not let in, and how many.
    private(set) var refusals: [String: Int] = [:]

    static let underWayDefault = 128
    private static let slowReadInterval: UInt64 = 100_000_000
    private static let slowReadBytes = 4 << 10
    private static let openingTime: UInt64 = 30_000_000_000
    private static let outgoingMaximum = 64 << 20
    /// Local ports are some 28 000 for each source address; loopback has many of those.
    private static let socketsPerSource = 20_000

    /// - Throws: ``LoadFailure`` when the host is not an IPv4 address.
    init(host: String, port: Int, dialect: Dialect = .chat, owner: any LoadSocketOwner) throws {
        guard let port = UInt16(exactly: port) else { throw LoadFailure("\(port) is not a port") }
        DescriptorLimit.raise()
        signal(SIGPIPE, SIG_IGN)
        address = try ServerAddress(host: host, port: port)
        self.host = "\(host):\(port)"
        self.dialect = dialect
        self.owner = owner
        poll = epoll_create1(Int32(EPOLL_CLOEXEC))
    }

    deinit {
        for socket in sockets where socket.descriptor >= 0 { Glibc.close(socket.descriptor) }
        Glibc.close(poll)
        events.deallocate()
        received.deallocate()
    }

    // MARK: Running

    /// Handles what comes until `deadline`, or until `isDone` says so, which is asked after each turn.
    ///
    /// - Parameter due: Called before each turn, to send what is due; tells when it wants to be called again at the
    ///   latest.
    func run(until deadline: UInt64, due: (UInt64) -> UInt64 = { _ in .max }, isDone: () -> Bool = { false }) {
        while !isDone() {
            let now = MonotonicClock.now()
            guard now < deadline else { return }
            var next = min(deadline, due(now))
            if !slow.isEmpty {
                if now >= slowReadAt { readSlowly(now) }
                next = min(next, slowReadAt)
            }
            turn(waitingFor: next > now ? next - now : 0)
        }
    }

    private func turn(waitingFor nanoseconds: UInt64) {
        var time = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
        let count = epoll_pwait2(poll, events.baseAddress, Int32(events.count), &time, nil)
        guard count > 0 else { return }
        for index in 0..<Int(count) {
            let socket = sockets[Int(events[index].data.u32)]
            if socket.stage == .connecting { finishConnecting(socket) }
            if !socket.outgoing.isEmpty { writeOutgoing(socket) }
            if events[index].events & ~EPOLLOUT.rawValue != 0 { readAvailable(socket) }
        }
    }

    // MARK: Opening

    /// Opens sockets, the first one first, a bounded number at a time; returns when each was let in or refused.
    ///
    /// - Throws: ``LoadFailure`` when nothing happens for thirty seconds.
    func open(_ added: [LoadSocket], underWayMaximum: Int = underWayDefault) throws {
        openingQueue = added[...]
        refusals = [:]
        lastOpened = MonotonicClock.now()
        let isDone = { self.underWay == 0 && self.openingQueue.isEmpty }
        while !isDone() {
            guard MonotonicClock.now() < lastOpened + Self.openingTime else {
                throw LoadFailure("\(underWay) sockets got no answer to their handshake from \(host) for 30 seconds")
            }
            while underWay < underWayMaximum, let socket = openingQueue.popFirst() { try begin(socket) }
            turn(waitingFor: 100_000_000)
        }
    }

    /// Opens sockets as ``open(_:underWayMaximum:)`` does; all must be let in.
    func openAll(_ added: [LoadSocket]) throws {
        try open(added)
        guard let (reason, count) = refusals.first else { return }
        throw LoadFailure("\(count) of \(added.count) sockets were refused: \(reason)")
    }

    private func begin(_ socket: LoadSocket) throws {
        socket.index = sockets.count
        sockets.append(socket)
        socket.descriptor = try address.makeSocket()
        socket.begunAt = MonotonicClock.now()
        socket.stage = .connecting
        underWay += 1
        if socket.reading != .always { ServerAddress.takeLittle(socket.descriptor) }
        let source =
            address.isLoopback ? try ServerAddress.loopbackSource(socket.index / Self.socketsPerSource) : nil
        try address.connect(socket.descriptor, from: source)
        watch(socket)
    }

    private func watch(_ socket: LoadSocket) {
        var event = epoll_event()
        event.events = EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue
        event.data.u32 = UInt32(socket.index)
        epoll_ctl(poll, EPOLL_CTL_ADD, socket.descriptor, &event)
    }

    private func finishConnecting(_ socket: LoadSocket) {
        var (failure, length) = (Int32(0), socklen_t(MemoryLayout<Int32>.size))
        getsockopt(socket.descriptor, SOL_SOCKET, SO_ERROR, &failure, &length)
        guard failure == 0 else { return close(socket, because: String(cString: strerror(failure))) }
        socket.stage = .shakingHands
        write(Handshake.request(host: host, path: socket.path, subprotocol: dialect.subprotocol), to: socket)
    }

    /// - Returns: The bytes of the answer's head, 0 while it is not all there, nil when the socket was refused.
    private func shakeHands(_ socket: LoadSocket, _ bytes: UnsafeRawBufferPointer, now: UInt64) -> Int? {
        switch Handshake.read(bytes) {
        case .incomplete: return 0
        case .refused(let reason):
            close(socket, because: reason)
            return nil
        case .accepted(let head):
            if dialect == .mqtt {
                socket.stage = .subscribing
                send(MQTT.connect(client: "bench-\(getpid())-\(socket.index)"), on: socket)
            } else {
                finishOpening(socket, now: now)
            }
            return head
        }
    }

    private func subscribe(_ socket: LoadSocket, _ answer: UnsafeRawBufferPointer, now: UInt64) {
        if answer.elementsEqual(MQTT.connectAccepted) {
            send(MQTT.subscribe(socket.room), on: socket)
        } else if answer.first == MQTT.subscribeAnswer {
            finishOpening(socket, now: now)
        } else {
            close(socket, because: "no MQTT session")
        }
    }

    private func finishOpening(_ socket: LoadSocket, now: UInt64) {
        socket.stage = .open
        underWay -= 1
        lastOpened = now
        if socket.reading != .always { setReading(socket, false) }
        if socket.reading == .slowly { slow.append(socket) }
        owner.opened(socket, now: now)
    }

    // MARK: Reading

    /// Goes on reading, or stops.
    func setReading(_ socket: LoadSocket, _ isReading: Bool) {
        guard socket.descriptor >= 0 else { return }
        if isReading { watch(socket) } else { epoll_ctl(poll, EPOLL_CTL_DEL, socket.descriptor, nil) }
    }

    private func readSlowly(_ now: UInt64) {
        slowReadAt = now + Self.slowReadInterval
        for socket in slow where socket.descriptor >= 0 { _ = read(socket, Self.slowReadBytes) }
    }

    private func readAvailable(_ socket: LoadSocket) {
        // A short read has emptied the socket; a new edge comes with new bytes.
        while socket.descriptor >= 0, read(socket, received.count) {}
    }

    /// - Returns: Whether there may be more.
    private func read(_ socket: LoadSocket, _ maximum: Int) -> Bool {
        let count = recv(socket.descriptor, received.baseAddress, maximum, 0)
        guard count > 0 else {
            if count == 0 || (errno != EAGAIN && errno != EINTR) { close(socket, because: "closed by the server") }
            return count < 0 && errno == EINTR
        }
        let now = MonotonicClock.now()
        let bytes = UnsafeRawBufferPointer(start: received.baseAddress, count: count)
        if socket.pending.isEmpty {
            let taken = take(socket, bytes, now: now)
            if taken < count { socket.pending = Array(bytes[taken...]) }
        } else {
            var pending: [UInt8] = []
            swap(&pending, &socket.pending)
            pending.append(contentsOf: bytes)
            let taken = pending.withUnsafeBytes { take(socket, $0, now: now) }
            if taken < pending.count { socket.pending = Array(pending[taken...]) }
        }
        return count == maximum
    }

    /// - Returns: How many bytes were whole frames, or the head of the answer to the handshake.
    private func take(_ socket: LoadSocket, _ bytes: UnsafeRawBufferPointer, now: UInt64) -> Int {
        var taken = 0
        if socket.stage == .shakingHands {
            guard let head = shakeHands(socket, bytes, now: now) else { return bytes.count }
            if head == 0 { return 0 }
            taken = head
        }
        while taken < bytes.count, socket.descriptor >= 0 {
            switch ServerFrame.scan(bytes, at: taken) {
            case .incomplete: return taken
            case .malformed:
                close(socket, because: "a frame this bench does not understand")
                return bytes.count
            case .frame(let frame):
                let start = taken + frame.headBytes
                taken = start + frame.payloadBytes
                arrived(frame.opcode, UnsafeRawBufferPointer(rebasing: bytes[start..<taken]), on: socket, now: now)
            }
        }
        return taken
    }

    private func arrived(_ opcode: UInt8, _ payload: UnsafeRawBufferPointer, on socket: LoadSocket, now: UInt64) {
        switch opcode {
        case 0x8:
            socket.closeCode = payload.count >= 2 ? UInt16(payload[0]) << 8 | UInt16(payload[1]) : 1005
            write(ServerFrame.fromClient(opcode: 8, Array(payload)), to: socket)
        case 0x9: write(ServerFrame.fromClient(opcode: 10, Array(payload)), to: socket)
        case 0xA: break
        default:
            if socket.stage == .open {
                owner.received(payload, on: socket, now: now)
            } else {
                subscribe(socket, payload, now: now)
            }
        }
    }

    // MARK: Writing

    private func send(_ packet: [UInt8], on socket: LoadSocket) {
        write(ServerFrame.fromClient(opcode: 2, packet), to: socket)
    }

    /// Writes the bytes of a frame; what the kernel does not take waits.
    func write(_ frame: [UInt8], to socket: LoadSocket) {
        guard socket.descriptor >= 0 else { return }
        var sent = 0
        if socket.outgoing.isEmpty { sent = max(0, Glibc.send(socket.descriptor, frame, frame.count, 0)) }
        // Of a broken connection the next read tells.
        guard sent < frame.count, socket.outgoing.count < Self.outgoingMaximum else { return }
        socket.outgoing.append(contentsOf: frame[sent...])
    }

    private func writeOutgoing(_ socket: LoadSocket) {
        guard socket.descriptor >= 0 else { return }
        let sent = Glibc.send(socket.descriptor, socket.outgoing, socket.outgoing.count, 0)
        if sent > 0 { socket.outgoing.removeFirst(sent) }
    }

    // MARK: Closing

    /// Ends the connection at once, without a close frame.
    ///
    /// - Parameter isReset: Leaves nothing behind that holds its port for a minute.
    func close(_ socket: LoadSocket, isReset: Bool = false) {
        guard socket.descriptor >= 0 else { return }
        if isReset { ServerAddress.resetWhenClosed(socket.descriptor) }
        Glibc.close(socket.descriptor)
        socket.descriptor = -1
        socket.stage = .closed
        socket.pending = []
        socket.outgoing = []
    }

    private func close(_ socket: LoadSocket, because reason: String) {
        guard socket.descriptor >= 0 else { return }
        let wasOpen = socket.stage == .open
        close(socket)
        if wasOpen { return owner.closed(socket) }
        underWay -= 1
        lastOpened = MonotonicClock.now()
        refusals[reason, default: 0] += 1
    }
}
