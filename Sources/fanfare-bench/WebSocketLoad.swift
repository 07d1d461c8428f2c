/// Rooms of sockets on one loop, in a closed loop (each room has a number of messages under way) or an open one (a
/// fixed rate).
final class WebSocketLoad: LoadSocketOwner {
    /// What a run is made of.
    struct Plan {
        var host: String
        var port: Int
        var path: String
        var dialect: Dialect
        var sockets: Int
        var rooms: Int
        var publishers: Int
        /// Messages under way in each room.
        var window: Int
        /// Messages per second in all rooms, instead of a window.
        var rate: Double?
        var slow: Int
        var stalled: Int
        var payloadBytes: Int
    }

    private let plan: Plan
    private var loop: SocketLoop?
    private var rooms: ContiguousArray<LoadRoom> = []
    private var sockets: [LoadSocket] = []
    private var isSending = false
    private(set) var latencies = Latencies()
    /// Sockets the server closed: those that read, and the slow ones.
    private(set) var (readersClosed, slowClosed) = (0, 0)
    /// Frames that are no messages of this load.
    private(set) var unrecognized: UInt64 = 0

    private static let joiningSeconds = 60.0
    private static let probeIntervalFirst: UInt64 = 250_000_000
    private static let drainSeconds = 10.0
    /// What the generator itself may be behind its schedule at the end.
    private static let lateness: UInt64 = 10_000_000_000

    init(_ plan: Plan) {
        self.plan = plan
    }

    var sent: UInt64 { rooms.reduce(0) { $0 + $1.sent } }
    var expected: UInt64 { rooms.reduce(0) { $0 + $1.expected } }
    var delivered: UInt64 { rooms.reduce(0) { $0 + $1.delivered } }
    var outOfOrder: UInt64 { rooms.reduce(0) { $0 + $1.outOfOrder } }
    var deliveredSlowly: UInt64 { rooms.reduce(0) { $0 + $1.deliveredSlowly } }

    // MARK: Opening

    /// Opens every socket; returns when a message to each room comes to all who are expected to get it.
    func connect() throws {
        let loop = try SocketLoop(host: plan.host, port: plan.port, dialect: plan.dialect, owner: self)
        self.loop = loop
        makeRooms()
        try loop.openAll(sockets)
        let deadline = MonotonicClock.after(Self.joiningSeconds)
        var nextProbe: UInt64 = 0
        // Each probe gets twice the time of the one before: a slow server that takes longer would never catch up.
        var interval = Self.probeIntervalFirst
        loop.run(
            until: deadline,
            due: { now in
                if now >= nextProbe {
                    nextProbe = now + interval
                    interval *= 2
                    for index in self.rooms.indices where !self.rooms[index].hasJoined { self.probe(index) }
                }
                return nextProbe
            },
            isDone: { self.rooms.allSatisfy(\.hasJoined) }
        )
        let outside = rooms.count { !$0.hasJoined }
        guard outside == 0 else {
            throw LoadFailure(
                "in \(outside) of \(rooms.count) rooms a message did not come to all within 60 seconds; "
                    + "is \(plan.path) the path and \(plan.dialect.rawValue) the dialect of the server?"
            )
        }
    }

    /// Spreads sockets, publishers and those that read little evenly.
    private func makeRooms() {
        let size = plan.sockets / plan.rooms
        let lazy = plan.slow + plan.stalled
        let others = plan.sockets - plan.publishers
        var (otherIndex, lazyIndex) = (0, 0)
        for room in 0..<plan.rooms {
            let publishers = (room + 1) * plan.publishers / plan.rooms - room * plan.publishers / plan.rooms
            let name = "bench-\(room)"
            let members = (0..<size).map { member in
                var reading = LoadSocket.Reading.always
                if member >= publishers {
                    if otherIndex * lazy / others != (otherIndex + 1) * lazy / others {
                        // The stalled ones stand evenly among the slow ones.
                        let isStalled = lazyIndex * plan.stalled / lazy != (lazyIndex + 1) * plan.stalled / lazy
                        reading = isStalled ? .never : .slowly
                        lazyIndex += 1
                    }
                    otherIndex += 1
                }
                return LoadSocket(
                    path: plan.path,
                    room: name,
                    roomIndex: room,
                    memberIndex: member,
                    reading: reading
                )
            }
            let message = Message(plan.dialect, room: name, bytes: plan.payloadBytes)
            let window = plan.rate == nil ? plan.window : 0
            rooms.append(LoadRoom(members, publishers: publishers, window: window, message: message))
            sockets += members
        }
    }

    private func probe(_ room: Int) {
        let (frame, publisher) = rooms[room].nextProbe()
        loop?.write(frame, to: publisher)
    }

    // MARK: Running

    /// Sends for some seconds, then waits until all that was sent has come, or nothing has for ten seconds. Counts
    /// and latencies are those of the last run.
    func run(seconds: Double) {
        guard let loop else { return }
        for room in rooms.indices { rooms[room].beginMeasuring() }
        latencies = Latencies()
        unrecognized = 0
        isSending = true
        let end = MonotonicClock.after(seconds)
        if let rate = plan.rate {
            var schedule = Schedule(from: MonotonicClock.now(), rate: rate)
            let total = UInt64(rate * seconds)
            // Late or not, all that belongs to these seconds is sent, and its latency counts from when it was due.
            loop.run(
                until: end + Self.lateness,
                due: { now in
                    while schedule.count < total, let time = schedule.next(before: now) {
                        self.sendNext(self.sendingRoom(schedule.count - 1), time)
                    }
                    return schedule.due
                },
                isDone: { schedule.count >= total || self.readersClosed > 0 }
            )
        } else {
            for room in rooms.indices where !rooms[room].publishers.isEmpty {
                for _ in 0..<plan.window { sendNext(room, MonotonicClock.now()) }
            }
            loop.run(until: end, isDone: { self.readersClosed > 0 })
        }
        isSending = false
        drain(loop)
    }

    /// Where message `count` of an open loop goes: the rooms that have publishers take turns.
    private func sendingRoom(_ count: UInt64) -> Int {
        let sending = min(plan.rooms, plan.publishers)
        let turn = Int(count % UInt64(sending))
        return sending == plan.rooms ? turn : ((turn + 1) * plan.rooms - 1) / sending
    }

    private func sendNext(_ room: Int, _ time: UInt64) {
        let (frame, publisher) = rooms[room].next(time)
        loop?.write(frame, to: publisher)
    }

    private func drain(_ loop: SocketLoop) {
        var seen = delivered
        var deadline = MonotonicClock.after(Self.drainSeconds)
        while MonotonicClock.now() < deadline, readersClosed == 0 {
            loop.run(until: MonotonicClock.after(0.02), isDone: { self.rooms.allSatisfy(\.isComplete) })
            if rooms.allSatisfy(\.isComplete) { return }
            if delivered > seen { (seen, deadline) = (delivered, MonotonicClock.after(Self.drainSeconds)) }
        }
    }

    // MARK: What comes

    func received(_ payload: UnsafeRawBufferPointer, on socket: LoadSocket, now: UInt64) {
        guard let offset = plan.dialect.numberOffset(in: payload) else {
            unrecognized += 1
            return
        }
        let (number, time) = Message.readStamp(payload, at: offset)
        if number == 0 { return rooms[socket.roomIndex].probeArrived(time, on: socket) }
        if socket.reading == .always { latencies.record(nanoseconds: Int64(truncatingIfNeeded: now &- time)) }
        let isThrough = rooms[socket.roomIndex].arrived(number, on: socket)
        if isThrough, isSending, plan.rate == nil { sendNext(socket.roomIndex, now) }
    }

    func closed(_ socket: LoadSocket) {
        if socket.reading == .always { readersClosed += 1 } else { slowClosed += 1 }
    }
}

/// When the messages of an open loop are due, whatever became of those before.
struct Schedule {
    private let begin: UInt64
    private let rate: Double
    /// Messages that were due.
    private(set) var count: UInt64 = 0

    /// - Parameter rate: Messages per second, more than 0.
    init(from begin: UInt64, rate: Double) {
        self.begin = begin
        self.rate = rate
    }

    /// When the next one is due, in nanoseconds of the clock.
    var due: UInt64 { begin + UInt64(Double(count) / rate * 1e9) }

    /// When the next one was due, if that is not after `now`.
    mutating func next(before now: UInt64) -> UInt64? {
        let time = due
        guard time <= now else { return nil }
        count += 1
        return time
    }
}
