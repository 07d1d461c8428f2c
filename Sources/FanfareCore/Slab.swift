/// The place of an element in a ``Slab``. Small, typed, valid until the element is removed.
struct Slot<Element>: Hashable, Sendable {
    fileprivate let index: UInt32

    /// A place for elements that are not there.
    static var nowhere: Slot<Element> { Slot(index: .max) }
}

/// Elements in reusable places: four-byte references, no allocation per element, in-place reading and mutation.
///
/// Free places hold a vacant element instead of `nil`: unwrapping an optional would copy the whole element, with all
/// its reference counts, each time one field of it is read.
struct Slab<Element> {
    private var elements: ContiguousArray<Element> = []
    private var isUsed: ContiguousArray<Bool> = []
    private var free: ContiguousArray<UInt32> = []
    private let vacant: Element

    /// - Parameter vacant: What stands in a free place.
    init(vacant: Element) {
        self.vacant = vacant
    }

    /// Elements present.
    var count: Int { elements.count - free.count }

    mutating func insert(_ element: Element) -> Slot<Element> {
        if let index = free.popLast() {
            elements[Int(index)] = element
            isUsed[Int(index)] = true
            return Slot(index: index)
        }
        // The limits on channels, groups and sessions keep this far below 2^32.
        elements.append(element)
        isUsed.append(true)
        return Slot(index: UInt32(elements.count - 1))
    }

    mutating func remove(_ slot: Slot<Element>) {
        precondition(isUsed[Int(slot.index)], "a slab element is removed once")
        elements[Int(slot.index)] = vacant
        isUsed[Int(slot.index)] = false
        free.append(slot.index)
    }

    /// Whether there is an element at `slot`; it may be another one than when the slot was handed out.
    func contains(_ slot: Slot<Element>) -> Bool {
        isUsed[Int(slot.index)]
    }

    /// The element at `slot`, which must be present.
    subscript(slot: Slot<Element>) -> Element {
        _read { yield elements[Int(slot.index)] }
        _modify { yield &elements[Int(slot.index)] }
    }

    /// Every place in use, in order of place.
    var slots: some Sequence<Slot<Element>> {
        isUsed.indices.lazy.filter { isUsed[$0] }.map { Slot(index: UInt32($0)) }
    }
}
