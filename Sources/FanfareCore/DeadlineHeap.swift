import FanfareModel

/// Deadlines by key, earliest first; at most one per key, so stale entries cannot pile up.
///
/// A binary heap that knows where each key stands: setting, moving and removing cost O(log n). Equal deadlines
/// come out in the order they were set, which keeps a run a function of its inputs.
struct DeadlineHeap<Key: Hashable> {
    private struct Entry {
        var deadline: Instant
        var order: UInt64
        var key: Key

        func isBefore(_ other: Entry) -> Bool {
            deadline == other.deadline ? order < other.order : deadline < other.deadline
        }
    }

    private var entries: ContiguousArray<Entry> = []
    private var positions: [Key: Int] = [:]
    private var orders: UInt64 = 0

    var count: Int { entries.count }

    /// The earliest deadline.
    var earliest: Instant? { entries.first?.deadline }

    /// The deadline of `key`.
    subscript(key: Key) -> Instant? { positions[key].map { entries[$0].deadline } }

    /// Sets or moves the deadline of `key`.
    mutating func set(_ key: Key, to deadline: Instant) {
        orders += 1
        let entry = Entry(deadline: deadline, order: orders, key: key)
        if let position = positions[key] {
            entries[position] = entry
            siftDown(siftUp(position))
        } else {
            entries.append(entry)
            positions[key] = entries.count - 1
            siftUp(entries.count - 1)
        }
    }

    /// Removes `key` if it is there.
    mutating func remove(_ key: Key) {
        guard let position = positions.removeValue(forKey: key) else { return }
        let last = entries.removeLast()
        guard position < entries.count else { return }
        entries[position] = last
        positions[last.key] = position
        siftDown(siftUp(position))
    }

    /// Removes and returns the earliest key whose deadline is `now` or before.
    mutating func popDue(_ now: Instant) -> Key? {
        guard let first = entries.first, first.deadline <= now else { return nil }
        remove(first.key)
        return first.key
    }

    @discardableResult
    private mutating func siftUp(_ start: Int) -> Int {
        var position = start
        while position > 0 {
            let parent = (position - 1) / 2
            guard entries[position].isBefore(entries[parent]) else { break }
            exchange(position, parent)
            position = parent
        }
        return position
    }

    private mutating func siftDown(_ start: Int) {
        var position = start
        while true {
            var first = position
            for child in (2 * position + 1)..<(2 * position + 3) where child < entries.count {
                if entries[child].isBefore(entries[first]) { first = child }
            }
            guard first != position else { return }
            exchange(position, first)
            position = first
        }
    }

    private mutating func exchange(_ left: Int, _ right: Int) {
        entries.swapAt(left, right)
        positions[entries[left].key] = left
        positions[entries[right].key] = right
    }
}
