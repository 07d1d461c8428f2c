/// The place of an element in a ``Slab``. Small, typed, valid until the element is removed.
struct Slot<Element>: Hashable, Sendable {
    let index: UInt32

    /// A place for elements that are not there.
    static var nowhere: Slot<Element> { Slot(index: .max) }

    /// The place of the first element a slab was ever given.
    static var first: Slot<Element> { Slot(index: 0) }
}

/// Elements in reusable places: four-byte references, no allocation per element, in-place reading and mutation.
///
/// Free places hold a vacant element instead of `nil`: unwrapping an optional would copy the whole element, with all
/// its reference counts, each time one field of it is read. What free places take up is reused, and given back when
/// the last element of a large slab goes.
struct Slab<Element> {
    private var elements = SegmentedArray<Element>()
    private var isUsed = SegmentedArray<Bool>()
    private var free = SegmentedArray<UInt32>()
    private let vacant: Element

    /// Elements a slab can hold: as many as slots can tell apart.
    static var countMaximum: Int { Int(UInt32.max) }

    /// - Parameter vacant: What stands in a free place.
    init(vacant: Element) {
        self.vacant = vacant
    }

    /// Elements present.
    var count: Int { elements.count - free.count }

    /// Places there are, used and free.
    var placeCount: Int { isUsed.count }

    /// Where the next element goes.
    var vacancy: Slot<Element> { Slot(index: free.count > 0 ? free[free.count - 1] : UInt32(elements.count)) }

    /// Takes up an element. The caller sees to it that there are fewer than ``countMaximum``.
    mutating func insert(_ element: Element) -> Slot<Element> {
        if free.count > 0 {
            let index = free.removeLast()
            elements[Int(index)] = element
            isUsed[Int(index)] = true
            return Slot(index: index)
        }
        elements.append(element)
        isUsed.append(true)
        return Slot(index: UInt32(elements.count - 1))
    }

    mutating func remove(_ slot: Slot<Element>) {
        precondition(isUsed[Int(slot.index)], "a slab element is removed once")
        elements[Int(slot.index)] = vacant
        isUsed[Int(slot.index)] = false
        free.append(slot.index)
        if count == 0, free.count > Self.keptWhenEmpty { self = Slab(vacant: vacant) }
    }

    /// Places a slab keeps when it runs empty, so that a few elements that come and go do not allocate.
    private static var keptWhenEmpty: Int { 1_024 }

    /// Whether there is an element at `slot`; it may be another one than when the slot was handed out.
    func contains(_ slot: Slot<Element>) -> Bool {
        Int(slot.index) < isUsed.count && isUsed[Int(slot.index)]
    }

    /// The slot of that index if there is an element, any one.
    func slot(_ index: UInt32) -> Slot<Element>? {
        Int(index) < isUsed.count && isUsed[Int(index)] ? Slot(index: index) : nil
    }

    /// The element at `slot`, which must be present.
    subscript(slot: Slot<Element>) -> Element {
        // Addresses: to read one field is neither to copy the whole element nor to call a coroutine.
        @inline(__always) unsafeAddress { elements.address(of: Int(slot.index)) }
        @inline(__always) unsafeMutableAddress { elements.mutableAddress(of: Int(slot.index)) }
    }

    /// Every place in use, in order of place.
    var slots: some Sequence<Slot<Element>> {
        (0..<isUsed.count).lazy.filter { isUsed[$0] }.map { Slot(index: UInt32($0)) }
    }
}
