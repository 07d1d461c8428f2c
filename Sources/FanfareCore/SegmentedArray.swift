/// An array that never moves what it holds: growing costs the same whether it is small or has millions of elements.
///
/// Plain memory instead of an array of arrays, where reading one field would copy the whole element.
struct SegmentedArray<Element> {
    private var owner = Owner()

    /// Segments of memory, all of one size, of which the first `count` elements are initialised.
    private struct Segments {
        static var bits: Int { 10 }
        static var capacity: Int { 1 << bits }
        var starts: ContiguousArray<UnsafeMutablePointer<Element>> = []
        var count = 0

        @inline(__always)
        func element(at index: Int) -> UnsafeMutablePointer<Element> {
            precondition(index >= 0 && index < count, "there is no element at this index")
            return starts[index >> Self.bits] + (index & (Self.capacity - 1))
        }

        mutating func append(_ element: Element) {
            if count >> Self.bits == starts.count { starts.append(.allocate(capacity: Self.capacity)) }
            count += 1
            self.element(at: count - 1).initialize(to: element)
        }

        mutating func removeLast() -> Element {
            let element = element(at: count - 1).move()
            count -= 1
            // One segment more than needed stays, so that going to and fro over a border does not allocate.
            if starts.count > (count >> Self.bits) + 2 { starts.removeLast().deallocate() }
            return element
        }
    }

    /// Frees the memory with the last array that uses it. Who changes an array that shares it makes a copy first.
    private final class Owner {
        // A constant address: a variable of a class would be checked for exclusive access each time it is used.
        let segments: UnsafeMutablePointer<Segments>

        init() {
            segments = .allocate(capacity: 1)
            segments.initialize(to: Segments())
        }

        deinit {
            // By segments: a loop over the elements would not know at compile time what they are.
            var remaining = segments.pointee.count
            for start in segments.pointee.starts {
                start.deinitialize(count: min(remaining, Segments.capacity))
                start.deallocate()
                remaining -= min(remaining, Segments.capacity)
            }
            segments.deinitialize(count: 1)
            segments.deallocate()
        }
    }

    var count: Int { owner.segments.pointee.count }

    mutating func append(_ element: Element) {
        makeUnique()
        owner.segments.pointee.append(element)
    }

    /// Removes the last element, of which there must be one, and gives back memory that is no longer needed.
    mutating func removeLast() -> Element {
        makeUnique()
        return owner.segments.pointee.removeLast()
    }

    subscript(index: Int) -> Element {
        @inline(__always) unsafeAddress { address(of: index) }
        @inline(__always) unsafeMutableAddress { mutableAddress(of: index) }
    }

    /// Where an element is; for accessors only, which keep the array from changing meanwhile.
    @inline(__always)
    func address(of index: Int) -> UnsafePointer<Element> {
        UnsafePointer(owner.segments.pointee.element(at: index))
    }

    /// Where an element is, to change it; for accessors only, which keep the array from changing otherwise meanwhile.
    @inline(__always)
    mutating func mutableAddress(of index: Int) -> UnsafeMutablePointer<Element> {
        makeUnique()
        return owner.segments.pointee.element(at: index)
    }

    @inline(__always)
    private mutating func makeUnique() {
        if !isKnownUniquelyReferenced(&owner) { copy() }
    }

    private mutating func copy() {
        let copy = Owner()
        for index in 0..<count { copy.segments.pointee.append(self[index]) }
        owner = copy
    }
}
