/// An element of a ``Slab`` that is found by name.
protocol Named {
    var name: String { get }
}

/// Finds the elements of a ``Slab`` by name without holding the names: eight bytes per place, a hash and a slot.
///
/// Extendible hashing (Fagin, Nievergelt, Pippenger, Strong: "Extendible Hashing", ACM TODS 4(3), 1979): a directory
/// leads by the leading bits of a hash to buckets of bounded size, and a full bucket splits in two. So no insertion
/// ever moves more than one bucket, where a dictionary of a million names would hash all of them again at once.
struct NameTable<Element: Named> {
    fileprivate struct Entry {
        var hash: UInt32 = 0
        var slot = Slot<Element>.nowhere
    }

    /// A small hash table with linear probing by the trailing bits of the hash.
    fileprivate struct Bucket {
        var entries: ContiguousArray<Entry>
        var count = 0
        /// How many leading bits the hashes here have in common.
        var depth: Int

        init(capacity: Int, depth: Int) {
            entries = ContiguousArray(repeating: Entry(), count: capacity)
            self.depth = depth
        }
    }

    private static var bucketCapacity: Int { 1_024 }
    /// Beyond it buckets grow instead of splitting: leading and trailing bits must not overlap by much.
    private static var depthMaximum: Int { 20 }

    private var directory: ContiguousArray<UInt32> = []
    private var buckets: ContiguousArray<Bucket> = []
    /// How many leading bits lead through the directory.
    private var depth = 0
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    /// What a name is found by; differs from one start of the program to the next, so that nobody can choose names
    /// that meet in one place.
    static func hash(_ name: String) -> UInt32 {
        var hasher = Hasher()
        hasher.combine(name)
        return UInt32(truncatingIfNeeded: hasher.finalize())
    }

    /// The element of that name.
    ///
    /// - Parameters:
    ///   - hash: The hash of the name.
    ///   - elements: Where the elements of this table are.
    func find(_ name: String, _ hash: UInt32, in elements: borrowing Slab<Element>) -> Slot<Element>? {
        guard count > 0 else { return nil }
        return buckets[place(of: hash)].find(name, hash, in: elements)
    }

    /// Adds an element whose name is not here.
    mutating func insert(_ slot: Slot<Element>, _ hash: UInt32) {
        if buckets.isEmpty {
            buckets = [Bucket(capacity: 8, depth: 0)]
            directory = [0]
        }
        while buckets[place(of: hash)].isFull { makeRoom(for: hash) }
        buckets[place(of: hash)].insert(Entry(hash: hash, slot: slot))
        count += 1
    }

    /// Removes an element that is here. A large table gives back its memory when it runs empty.
    mutating func remove(_ slot: Slot<Element>, _ hash: UInt32) {
        buckets[place(of: hash)].remove(slot, hash)
        count -= 1
        if count == 0, buckets.count > 1 { self = NameTable() }
    }

    /// Every element, in no order.
    var slots: [Slot<Element>] {
        buckets.flatMap { $0.entries.lazy.map(\.slot).filter { $0 != .nowhere } }
    }

    private func place(of hash: UInt32) -> Int {
        Int(directory[leading(depth, of: hash)])
    }

    private func leading(_ bits: Int, of hash: UInt32) -> Int { Int((UInt64(hash) << bits) >> 32) }

    private mutating func makeRoom(for hash: UInt32) {
        let full = buckets[place(of: hash)]
        guard full.entries.count == Self.bucketCapacity, full.depth < Self.depthMaximum else {
            var wider = Bucket(capacity: 2 * full.entries.count, depth: full.depth)
            for entry in full.entries where entry.slot != .nowhere { wider.insert(entry) }
            buckets[place(of: hash)] = wider
            return
        }
        split(hash)
    }

    /// Shares out the entries of the bucket of `hash` by one more leading bit.
    private mutating func split(_ hash: UInt32) {
        let index = place(of: hash)
        let full = buckets[index]
        if full.depth == depth {
            directory = ContiguousArray(directory.flatMap { [$0, $0] })
            depth += 1
        }
        var lower = Bucket(capacity: full.entries.count, depth: full.depth + 1)
        var upper = lower
        for entry in full.entries where entry.slot != .nowhere {
            if (entry.hash << full.depth) >> 31 == 0 { lower.insert(entry) } else { upper.insert(entry) }
        }
        buckets[index] = lower
        // All ways to the bucket lie side by side in the directory; the latter half of them now leads to the new one.
        let ways = 1 << (depth - full.depth)
        let first = leading(full.depth, of: hash) << (depth - full.depth)
        for way in first + ways / 2..<first + ways { directory[way] = UInt32(buckets.count) }
        buckets.append(upper)
    }
}

extension NameTable.Bucket {
    var isFull: Bool { count >= entries.count / 4 * 3 }

    private func home(of hash: UInt32) -> Int { Int(hash) & (entries.count - 1) }
    private func following(_ index: Int) -> Int { (index + 1) & (entries.count - 1) }

    func find(_ name: String, _ hash: UInt32, in elements: borrowing Slab<Element>) -> Slot<Element>? {
        var index = home(of: hash)
        while entries[index].slot != .nowhere {
            if entries[index].hash == hash, elements[entries[index].slot].name == name { return entries[index].slot }
            index = following(index)
        }
        return nil
    }

    mutating func insert(_ entry: NameTable.Entry) {
        var index = home(of: entry.hash)
        while entries[index].slot != .nowhere { index = following(index) }
        entries[index] = entry
        count += 1
    }

    /// Removes and closes the gap: entries behind it that may stand nearer to their home move up.
    mutating func remove(_ slot: Slot<Element>, _ hash: UInt32) {
        var gap = home(of: hash)
        while entries[gap].slot != slot { gap = following(gap) }
        var index = following(gap)
        while entries[index].slot != .nowhere {
            let fromHome = (index - home(of: entries[index].hash)) & (entries.count - 1)
            let fromGap = (index - gap) & (entries.count - 1)
            if fromHome >= fromGap {
                entries[gap] = entries[index]
                gap = index
            }
            index = following(index)
        }
        entries[gap] = NameTable.Entry()
        count -= 1
    }
}
