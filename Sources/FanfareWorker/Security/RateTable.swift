/// One bucket for each key, of bounded size, without a timer.
///
/// A full bucket says no more than no bucket, so it is forgotten: each call looks at two others. When every place is
/// taken and a key comes that has none, the fullest of eight buckets makes room, and its key begins anew. So the table
/// fails open, and for those first who used it least: strangers cannot lock anyone out by filling it, and who keeps
/// knocking stays limited. ``evictions`` counts it; a table that evicts is too small, or under attack.
public struct RateTable<Key: Hashable & Sendable>: Sendable {
    private struct Entry {
        let key: Key
        /// Nanoseconds; see ``RateLimit``.
        var fullAt: UInt64
    }

    /// The limit of every bucket.
    public let limit: RateLimit
    /// Keys at once.
    public let keysMaximum: Int
    /// Buckets that were forgotten before they were full.
    public private(set) var evictions: UInt64 = 0

    private var places: [Key: Int] = [:]
    private var entries: [Entry] = []
    /// Where the next full bucket is looked for.
    private var hand = 0

    /// Buckets each call looks at: more than it adds, so that full ones do not pile up.
    private static var sweep: Int { 2 }
    /// Buckets of which one makes room.
    private static var evictionCandidates: Int { 8 }

    /// - Parameters:
    ///   - limit: The limit of every bucket.
    ///   - keysMaximum: Keys at once, at least 1. Each address takes some 100 bytes.
    public init(_ limit: RateLimit, keysMaximum: Int = 65_536) {
        self.limit = limit
        self.keysMaximum = max(1, keysMaximum)
    }

    /// Keys whose buckets were not full when they were last looked at.
    public var count: Int { entries.count }

    /// Takes tokens from a key's bucket, all or none. Constant time, amortised.
    ///
    /// - Parameters:
    ///   - key: Whose bucket. For the address of a client use ``take(address:tokens:nowNanoseconds:)``.
    ///   - tokens: What it costs, at least 0.
    ///   - now: Monotonic time from any start.
    public mutating func take(_ key: Key, tokens: Int = 1, nowNanoseconds now: UInt64) -> RateLimit.Answer {
        for _ in 0..<Self.sweep { forgetIfFull(now: now) }
        if let place = places[key] {
            return limit.take(tokens, fullAt: &entries[place].fullAt, nowNanoseconds: now)
        }
        var fullAt: UInt64 = 0
        let answer = limit.take(tokens, fullAt: &fullAt, nowNanoseconds: now)
        guard fullAt > now else { return answer }
        if entries.count == keysMaximum { evict() }
        places[key] = entries.count
        entries.append(Entry(key: key, fullAt: fullAt))
        return answer
    }

    private mutating func forgetIfFull(now: UInt64) {
        guard !entries.isEmpty else { return }
        if hand >= entries.count { hand = 0 }
        if entries[hand].fullAt <= now { remove(at: hand) }
        // What took the place is the newest: no look is spent on it.
        hand += 1
    }

    private mutating func evict() {
        var fullest = hand % entries.count
        for _ in 1..<Self.evictionCandidates {
            hand = (hand + 1) % entries.count
            if entries[hand].fullAt < entries[fullest].fullAt { fullest = hand }
        }
        remove(at: fullest)
        evictions += 1
    }

    private mutating func remove(at place: Int) {
        places[entries[place].key] = nil
        let last = entries.removeLast()
        guard place < entries.count else { return }
        entries[place] = last
        places[last.key] = place
    }
}

extension RateTable where Key == IPAddress {
    /// Takes tokens from the bucket of a client's network: an IPv4 address, or the /64 of an IPv6 address.
    ///
    /// - Parameters:
    ///   - address: With or without port. All that are no address share one bucket.
    ///   - tokens: What it costs, at least 0.
    ///   - nowNanoseconds: Monotonic time from any start.
    public mutating func take(address: String, tokens: Int = 1, nowNanoseconds: UInt64) -> RateLimit.Answer {
        let key = IPAddress(node: address)?.clientNetwork ?? IPAddress(bits: 0)
        return take(key, tokens: tokens, nowNanoseconds: nowNanoseconds)
    }
}
