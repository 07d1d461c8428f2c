/// One room of sockets that gets messages at a fixed rate, some of its members reading nothing.
final class PacedLoad: LoadSocketOwner {
    /// What a run is made of.
    struct Plan {
        var host: String
        var port: Int
        var sockets: Int
        var stalled: Int
        /// Messages per second.
        var rate: Double
        var payloadBytes: Int
    }

    private static let path = "/ws/chat/{room}/"
    private static let roomName = "bench-paced"
    private static let drainSeconds = 10.0
    private static let fillingBytes = 40_000
    private static let closingSeconds = 1.0
    private static let releaseSeconds = 3.0

    private let plan: Plan
    private var loop: SocketLoop?
    private let sockets: [LoadSocket]
    /// The first one that reads.
    private let publisher: LoadSocket
    private let readers: Int
    private var message: Message
    private var lastNumbers: [UInt64]
    /// When each message was due, by its number less one.
    private var dueTimes: [UInt64] = []
    /// Deliveries of each message so far.
    private var arrivals: [Int] = []
    /// The number of the first message that is measured.
    private var firstMeasured = UInt64.max
    private(set) var latencies = Latencies()
    /// Of each measured message, the milliseconds until it had come to 99 of 100 readers.
    private(set) var messageTimes: [Double] = []
    private(set) var delivered: UInt64 = 0
    private(set) var outOfOrder: UInt64 = 0
    private(set) var readersClosed = 0
    private var isReleased = false

    init(_ plan: Plan) {
        self.plan = plan
        readers = plan.sockets - plan.stalled
        // The stalled ones stand evenly among the others, so that a fan-out meets them all along its way.
        sockets = (0..<plan.sockets).map { index in
            let isStalled = index * plan.stalled / plan.sockets != (index + 1) * plan.stalled / plan.sockets
            return LoadSocket(
                path: Self.path,
                room: Self.roomName,
                memberIndex: index,
                reading: isStalled ? .never : .always
            )
        }
        publisher = sockets.first { $0.reading == .always } ?? sockets[0]
        message = Message(.chat, room: Self.roomName, bytes: plan.payloadBytes)
        lastNumbers = [UInt64](repeating: 0, count: plan.sockets)
    }

    var sent: UInt64 { UInt64(dueTimes.count) }
    var expected: UInt64 { sent * UInt64(readers) }

    /// Opens every socket, and lets the last memberships come to the broker.
    func connect() throws {
        let loop = try SocketLoop(host: plan.host, port: plan.port, owner: self)
        self.loop = loop
        try loop.openAll(sockets)
        loop.run(until: MonotonicClock.after(0.5))
    }

    // MARK: Sending

    /// Sends one large message, so that little more fits into what the kernel keeps for those that do not read.
    func fill() {
        publish(Message(.chat, room: Self.roomName, bytes: Self.fillingBytes), due: MonotonicClock.now())
        drain()
    }

    /// Sends at the plan's rate; what is sent after `warmUp` is measured. Returns when all has come to all readers, or
    /// nothing more has for ten seconds.
    func run(warmUp: Double, seconds: Double) {
        var schedule = Schedule(from: MonotonicClock.now(), rate: plan.rate)
        let (before, total) = (UInt64(warmUp * plan.rate), UInt64((warmUp + seconds) * plan.rate))
        loop?.run(
            until: MonotonicClock.after(warmUp + seconds + 1),
            due: { now in
                while schedule.count < total, let due = schedule.next(before: now) {
                    if schedule.count == before + 1 { self.firstMeasured = self.sent + 1 }
                    self.publish(self.message, due: due)
                }
                return schedule.due
            },
            isDone: { schedule.count >= total }
        )
        drain()
    }

    private func publish(_ message: Message, due: UInt64) {
        dueTimes.append(due)
        arrivals.append(0)
        var message = message
        message.stamp(number: sent, time: due)
        loop?.write(message.frame, to: publisher)
    }

    private func drain() {
        var seen = delivered
        var deadline = MonotonicClock.after(Self.drainSeconds)
        while delivered < expected, MonotonicClock.now() < deadline {
            loop?.run(until: MonotonicClock.after(0.1), isDone: { self.delivered == self.expected })
            if delivered > seen { (seen, deadline) = (delivered, MonotonicClock.after(Self.drainSeconds)) }
        }
    }

    // MARK: Receiving

    func received(_ payload: UnsafeRawBufferPointer, on socket: LoadSocket, now: UInt64) {
        // Stalled sockets that read again at the end count for nothing.
        guard !isReleased, let offset = Dialect.chat.numberOffset(in: payload) else { return }
        let (number, _) = Message.readStamp(payload, at: offset)
        guard number >= 1, number <= sent else { return }
        delivered += 1
        if number != lastNumbers[socket.memberIndex] + 1 { outOfOrder += 1 }
        lastNumbers[socket.memberIndex] = number
        if number >= firstMeasured { measure(Int(number) - 1, now) }
    }

    private func measure(_ message: Int, _ now: UInt64) {
        let latency = now - min(now, dueTimes[message])
        latencies.record(nanoseconds: Int64(clamping: latency))
        arrivals[message] += 1
        if arrivals[message] == (readers * 99 + 99) / 100 { messageTimes.append(Double(latency) / 1e6) }
    }

    func closed(_ socket: LoadSocket) {
        if !isReleased, socket.reading == .always { readersClosed += 1 }
    }

    // MARK: The end

    /// Lets the stalled sockets read what is there for them.
    ///
    /// - Returns: What became of them, by close code; `open` for those that live, `cut off` for those whose connection
    ///   ended without a close frame.
    func release() -> [String: Int] {
        isReleased = true
        let stalled = sockets.filter { $0.reading == .never }
        for socket in stalled { loop?.setReading(socket, true) }
        loop?.run(until: MonotonicClock.after(Self.releaseSeconds))
        var endings: [String: Int] = [:]
        for socket in stalled {
            let ending = socket.closeCode.map { String($0) } ?? (socket.stage == .closed ? "cut off" : "open")
            endings[ending, default: 0] += 1
        }
        return endings
    }

    /// Closes every socket, and lets the server see it.
    func close() {
        isReleased = true
        for socket in sockets { loop?.close(socket, isReset: true) }
        loop?.run(until: MonotonicClock.after(Self.closingSeconds))
    }
}
