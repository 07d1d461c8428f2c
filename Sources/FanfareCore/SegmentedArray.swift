/// An array that never moves what it holds: growing costs the same whether it is small or has millions of elements.
struct SegmentedArray<Element> {
    private static var bits: Int { 10 }
    private static var segmentCapacity: Int { 1 << bits }
    private var segments: ContiguousArray<ContiguousArray<Element>> = []
    private(set) var count = 0

    mutating func append(_ element: Element) {
        let segment = count >> Self.bits
        if segment == segments.count {
            segments.append([])
            // The first one grows with what it holds, so that a small array is small.
            if segment > 0 { segments[segment].reserveCapacity(Self.segmentCapacity) }
        }
        segments[segment].append(element)
        count += 1
    }

    /// Removes the last element, of which there must be one. Gives back what it frees but for one segment, so that
    /// going to and fro over a border does not allocate.
    mutating func removeLast() -> Element {
        count -= 1
        let segment = count >> Self.bits
        if segments.count > segment + 2 { segments.removeLast() }
        return segments[segment].removeLast()
    }

    subscript(index: Int) -> Element {
        _read { yield segments[index >> Self.bits][index & (Self.segmentCapacity - 1)] }
        _modify { yield &segments[index >> Self.bits][index & (Self.segmentCapacity - 1)] }
    }

    mutating func swapAt(_ left: Int, _ right: Int) {
        let element = self[left]
        self[left] = self[right]
        self[right] = element
    }
}
