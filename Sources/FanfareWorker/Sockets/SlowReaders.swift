/// Sockets whose peers have not read everything yet: the only ones that are looked at for age.
struct SlowReaders {
    private var sockets: [UInt64: Socket] = [:]

    var count: Int { sockets.count }

    /// Bytes that wait for all of them.
    var outgoingBytes: Int { sockets.values.reduce(0) { $0 + ($1.writer?.pendingBytes ?? 0) } }

    /// Ticks the oldest of these bytes has waited at the tick `now`.
    func longestWait(at now: Int) -> Int {
        sockets.values.reduce(0) { max($0, now - ($1.waitingSince ?? now)) }
    }

    mutating func add(_ socket: Socket) {
        sockets[socket.number] = socket
    }

    /// Removes a socket, if it is here.
    mutating func remove(_ socket: Socket) {
        guard !sockets.isEmpty else { return }
        sockets[socket.number] = nil
    }

    /// Those whose oldest byte has waited for more than `age` ticks at the tick `now`.
    func overdue(at now: Int, age: Int) -> [Socket] {
        sockets.values.filter { now - ($0.waitingSince ?? now) > age }
    }
}
