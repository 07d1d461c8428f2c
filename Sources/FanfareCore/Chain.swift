/// An element of a ``Slab`` that knows its neighbours in one ``Chain``.
protocol Linked {
    var next: Slot<Self> { get set }
    var previous: Slot<Self> { get set }
}

/// Elements of a slab in the order they were added. Adding and removing cost the same in a chain of any length.
struct Chain<Element: Linked> {
    fileprivate(set) var first = Slot<Element>.nowhere
    fileprivate var last = Slot<Element>.nowhere
    fileprivate var length: UInt32 = 0

    var count: Int { Int(length) }
    var isEmpty: Bool { length == 0 }
}

extension Slab where Element: Linked {
    /// Adds an element that is in no chain to the end of `chain`.
    mutating func append(_ slot: Slot<Element>, to chain: inout Chain<Element>) {
        self[slot].previous = chain.last
        self[slot].next = .nowhere
        if chain.isEmpty { chain.first = slot } else { self[chain.last].next = slot }
        chain.last = slot
        chain.length += 1
    }

    /// Takes an element out of `chain`, in which it must be; it stays in the slab.
    mutating func unlink(_ slot: Slot<Element>, from chain: inout Chain<Element>) {
        let (previous, next) = (self[slot].previous, self[slot].next)
        if previous == .nowhere { chain.first = next } else { self[previous].next = next }
        if next == .nowhere { chain.last = previous } else { self[next].previous = previous }
        chain.length -= 1
    }

    /// The elements of `chain` as they are now, first to last.
    func slots(of chain: Chain<Element>) -> [Slot<Element>] {
        var slots: [Slot<Element>] = []
        slots.reserveCapacity(chain.count)
        var slot = chain.first
        while slot != .nowhere {
            slots.append(slot)
            slot = self[slot].next
        }
        return slots
    }
}
