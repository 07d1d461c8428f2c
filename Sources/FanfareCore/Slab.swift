/// The place of an element in a ``Slab``. Small, typed, valid until the element is removed.
struct Slot<Element>: Hashable, Sendable {
    fileprivate let index: UInt32
}

/// Elements in reusable places: four-byte references, no allocation per element, in-place mutation.
struct Slab<Element> {
    private var elements: ContiguousArray<Element?> = []
    private var free: ContiguousArray<UInt32> = []

    /// Elements present.
    var count: Int { elements.count - free.count }

    mutating func insert(_ element: Element) -> Slot<Element> {
        if let index = free.popLast() {
            elements[Int(index)] = element
            return Slot(index: index)
        }
        // The limits on channels, groups and sessions keep this far below 2^32.
        elements.append(element)
        return Slot(index: UInt32(elements.count - 1))
    }

    mutating func remove(_ slot: Slot<Element>) {
        precondition(elements[Int(slot.index)] != nil, "a slab element is removed once")
        elements[Int(slot.index)] = nil
        free.append(slot.index)
    }

    /// Whether there is an element at `slot`; it may be another one than when the slot was handed out.
    func contains(_ slot: Slot<Element>) -> Bool {
        elements[Int(slot.index)] != nil
    }

    /// The element at `slot`, which must be present.
    subscript(slot: Slot<Element>) -> Element {
        _read { yield elements[Int(slot.index)]! }
        _modify { yield &elements[Int(slot.index)]! }
    }

    /// Every place in use, in order of place.
    var slots: some Sequence<Slot<Element>> {
        elements.indices.lazy.filter { elements[$0] != nil }.map { Slot(index: UInt32($0)) }
    }
}
