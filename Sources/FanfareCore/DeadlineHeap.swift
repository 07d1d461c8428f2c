import FanfareModel

/// Deadlines of things, earliest first; at most one per thing, so stale entries cannot pile up.
///
/// A binary heap that knows where each of its entries stands. Who has a deadline keeps the ``Timer`` of it, so
/// setting, moving and cancelling cost O(log n) and no search. Equal deadlines come out in the order they were set,
/// which keeps a run a function of its inputs.
struct DeadlineHeap<Key> {
    /// Stands for one deadline that is set; `.nowhere` for none.
    typealias Timer = Slot<Position>

    /// Where an entry stands in the heap.
    struct Position {
        fileprivate var index: UInt32
    }

    private struct Entry {
        var deadline: Instant
        var order: UInt64
        var key: Key
        var timer: Timer

        func isBefore(_ other: Entry) -> Bool {
            (deadline.nanoseconds, order) < (other.deadline.nanoseconds, other.order)
        }
    }

    private var entries = SegmentedArray<Entry>()
    private var positions = Slab(vacant: Position(index: 0))
    private var orders: UInt64 = 0

    var count: Int { entries.count }

    /// The earliest deadline.
    var earliest: Instant? { entries.count > 0 ? entries[0].deadline : nil }

    /// The deadline `timer` stands for.
    subscript(timer: Timer) -> Instant? {
        timer == .nowhere ? nil : entries[Int(positions[timer].index)].deadline
    }

    /// Sets the deadline of `key`, or moves the one `timer` stands for.
    mutating func set(_ timer: inout Timer, of key: Key, to deadline: Instant) {
        orders += 1
        if timer == .nowhere {
            timer = positions.insert(Position(index: UInt32(entries.count)))
            entries.append(Entry(deadline: deadline, order: orders, key: key, timer: timer))
            siftUp(entries.count - 1)
        } else {
            let position = Int(positions[timer].index)
            entries[position].deadline = deadline
            entries[position].order = orders
            siftDown(siftUp(position))
        }
    }

    /// Forgets the deadline `timer` stands for, if it does.
    mutating func cancel(_ timer: inout Timer) {
        guard timer != .nowhere else { return }
        let position = Int(positions[timer].index)
        positions.remove(timer)
        timer = .nowhere
        let last = entries.removeLast()
        guard position < entries.count else { return }
        place(last, at: position)
        siftDown(siftUp(position))
    }

    /// Whose deadline is the earliest, if that is `now` or before. It stays until it is moved or cancelled.
    func due(_ now: Instant) -> Key? {
        guard entries.count > 0, entries[0].deadline <= now else { return nil }
        return entries[0].key
    }

    @discardableResult
    private mutating func siftUp(_ start: Int) -> Int {
        let entry = entries[start]
        var position = start
        while position > 0, entry.isBefore(entries[(position - 1) / 2]) {
            place(entries[(position - 1) / 2], at: position)
            position = (position - 1) / 2
        }
        if position != start { place(entry, at: position) }
        return position
    }

    private mutating func siftDown(_ start: Int) {
        let entry = entries[start]
        var position = start
        while 2 * position + 1 < entries.count {
            var child = 2 * position + 1
            if child + 1 < entries.count, entries[child + 1].isBefore(entries[child]) { child += 1 }
            guard entries[child].isBefore(entry) else { break }
            place(entries[child], at: position)
            position = child
        }
        if position != start { place(entry, at: position) }
    }

    private mutating func place(_ entry: Entry, at position: Int) {
        entries[position] = entry
        positions[entry.timer].index = UInt32(position)
    }
}
