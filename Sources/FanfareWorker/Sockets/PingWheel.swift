/// Pings every socket once a round with one timer for all: each tick looks at one slot.
struct PingWheel {
    /// Where a socket is.
    struct Place {
        fileprivate(set) var slot: Int32 = 0
        fileprivate(set) var position: Int32 = -1
    }

    private var slots: [ContiguousArray<Socket>]
    private var current = 0

    /// - Parameter ticksPerRound: Ticks between two pings of a socket, at least 1.
    init(ticksPerRound: Int) {
        slots = Array(repeating: [], count: max(1, ticksPerRound))
    }

    /// Adds a socket; its first ping comes after a whole round.
    mutating func add(_ socket: Socket) {
        socket.wheelPlace = Place(slot: Int32(current), position: Int32(slots[current].count))
        slots[current].append(socket)
    }

    /// Removes a socket, if it is in the wheel.
    mutating func remove(_ socket: Socket) {
        let position = Int(socket.wheelPlace.position)
        guard position >= 0 else { return }
        let slot = Int(socket.wheelPlace.slot)
        let last = slots[slot].count - 1
        slots[slot].swapAt(position, last)
        slots[slot][position].wheelPlace.position = Int32(position)
        slots[slot].removeLast()
        socket.wheelPlace = Place()
    }

    /// Moves on by one tick and returns the sockets whose turn it is.
    mutating func tick() -> ContiguousArray<Socket> {
        current = (current + 1) % slots.count
        return slots[current]
    }
}
