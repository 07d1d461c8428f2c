/// Bytes between a head and a tail in one allocation that grows by doubling.
///
/// A plain struct of pointers without reference counting: msgpack-c's packer gets a pointer to it as its context,
/// so that a packed scalar costs one copy and no retain. Whoever owns it calls ``deallocate()`` once.
struct ByteRegion {
    private(set) var base: UnsafeMutableRawPointer?
    private(set) var capacity = 0
    private(set) var head = 0
    private(set) var tail = 0

    /// The first allocation: a few control frames.
    private static let capacityMinimum = 512
    /// What an empty region may keep; a burst gives the rest back.
    static let capacityKept = 64 * 1_024

    var count: Int { tail - head }

    var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base.map { UnsafeRawPointer($0) + head }, count: count)
    }

    /// Adds `count` bytes at the tail.
    mutating func append(_ source: UnsafeRawPointer, _ count: Int) {
        guard count > 0 else { return }
        reserve(count)
        base.unsafelyUnwrapped.advanced(by: tail).copyMemory(from: source, byteCount: count)
        tail += count
    }

    /// Writes `value` big-endian, `offset` bytes behind the head.
    mutating func overwrite(_ value: UInt32, at offset: Int) {
        precondition(offset >= 0 && offset + 4 <= count, "overwriting bytes that are not there")
        base.unsafelyUnwrapped.storeBytes(of: value.bigEndian, toByteOffset: head + offset, as: UInt32.self)
    }

    /// Writes one byte, `offset` bytes behind the head.
    mutating func overwrite(_ value: UInt8, at offset: Int) {
        precondition(offset >= 0 && offset < count, "overwriting a byte that is not there")
        base.unsafelyUnwrapped.storeBytes(of: value, toByteOffset: head + offset, as: UInt8.self)
    }

    /// Drops `count` bytes from the head; an empty region starts over and gives back what a burst took.
    mutating func consume(_ count: Int) {
        precondition(count >= 0 && count <= self.count, "consuming bytes that are not there")
        head += count
        guard head == tail else { return }
        head = 0
        tail = 0
        if capacity > Self.capacityKept { resize(to: Self.capacityKept) }
    }

    mutating func deallocate() {
        base?.deallocate()
        base = nil
        capacity = 0
        head = 0
        tail = 0
    }

    private mutating func reserve(_ extra: Int) {
        guard capacity - tail < extra else { return }
        // Moving to the front is paid for by what was consumed since: it moves no more bytes than that.
        if head >= count, capacity - count >= extra {
            let live = count
            base.unsafelyUnwrapped.copyMemory(from: base.unsafelyUnwrapped + head, byteCount: live)
            head = 0
            tail = live
        } else {
            resize(to: max(Self.capacityMinimum, capacity * 2, count + extra))
        }
    }

    private mutating func resize(to newCapacity: Int) {
        let moved = UnsafeMutableRawPointer.allocate(byteCount: newCapacity, alignment: 16)
        let live = bytes
        if let start = live.baseAddress { moved.copyMemory(from: start, byteCount: live.count) }
        base?.deallocate()
        base = moved
        capacity = newCapacity
        tail = live.count
        head = 0
    }
}
