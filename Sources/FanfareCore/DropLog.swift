package import FanfareModel

/// Who lost what, why and when last, for the names that lost something most recently.
struct DropLog {
    enum Kind: String {
        case channel
        case group
    }

    struct Key: Hashable {
        var namespace: String
        var kind: Kind
        var name: String
        /// The process that owned the channel or the members, as its hello named it; empty when nobody did.
        var worker: String
        var reason: DropReason
    }

    struct Entry {
        let key: Key
        var count: UInt64
        var last: Instant
        /// What was added since somebody last asked for news.
        var unseen: UInt64
        fileprivate var timer: DeadlineHeap<Slot<Entry>>.Timer

        fileprivate init(_ key: Key, at now: Instant) {
            self.key = key
            (count, last, unseen, timer) = (0, now, 0, .nowhere)
        }

        fileprivate static let vacant = Entry(
            Key(namespace: "", kind: .channel, name: "", worker: "", reason: .full),
            at: Instant(nanoseconds: 0)
        )
    }

    /// Names remembered; the counters by reason forget nothing.
    static let capacity = 4_096
    private(set) var entries = Slab(vacant: Entry.vacant)
    private var slots: [Key: Slot<Entry>] = [:]
    /// Entries by when they last lost something: the one that is forgotten next comes first.
    private var byAge = DeadlineHeap<Slot<Entry>>()
    /// Whether there is anything unseen, so that asking for news costs nothing while nothing is lost.
    private var hasNews = false
    /// Names that were forgotten before anybody saw what they had lost.
    private var forgottenUnseen = 0

    mutating func add(_ count: UInt64, _ key: Key, at now: Instant) {
        let slot = slots[key] ?? insert(key, at: now)
        entries[slot].count = entries[slot].count.addingClamped(count)
        entries[slot].unseen = entries[slot].unseen.addingClamped(count)
        entries[slot].last = now
        byAge.set(&entries[slot].timer, of: slot, to: now)
        hasNews = true
        if entries.count > Self.capacity, let oldest = byAge.due(now) {
            byAge.cancel(&entries[oldest].timer)
            if entries[oldest].unseen > 0 { forgottenUnseen += 1 }
            slots.removeValue(forKey: entries[oldest].key)
            entries.remove(oldest)
        }
    }

    private mutating func insert(_ key: Key, at now: Instant) -> Slot<Entry> {
        let slot = entries.insert(Entry(key, at: now))
        slots[key] = slot
        return slot
    }

    /// What came since the last call, for warnings: the `most` names that lost most, and how many further ones.
    mutating func news(most: Int) -> (drops: [Dropped], further: Int) {
        guard hasNews else { return ([], 0) }
        hasNews = false
        let news = entries.slots.map { entries[$0] }.filter { $0.unseen > 0 }
        for entry in news { if let slot = slots[entry.key] { entries[slot].unseen = 0 } }
        let further = forgottenUnseen + max(0, news.count - most)
        forgottenUnseen = 0
        let drops = news.map { entry in
            Dropped(
                namespace: entry.key.namespace,
                kind: entry.key.kind.rawValue,
                name: entry.key.name,
                worker: entry.key.worker,
                reason: entry.key.reason,
                count: entry.unseen
            )
        }
        return (Array(drops.sorted { $0.isBefore($1) }.prefix(most)), further)
    }
}

/// Messages one name lost for one reason since the last warning.
package struct Dropped: Sendable, Equatable {
    package var namespace: String
    /// `channel` or `group`.
    package var kind: String
    package var name: String
    /// The process that owned the channel or the members; empty when nobody did.
    package var worker: String
    package var reason: DropReason
    package var count: UInt64

    /// Whether this is told before `other`: more messages first, then by name, so that a run is repeatable.
    fileprivate func isBefore(_ other: Dropped) -> Bool {
        if count != other.count { return count > other.count }
        return (name, worker, namespace, kind, reason.rawValue)
            < (other.name, other.worker, other.namespace, other.kind, other.reason.rawValue)
    }
}

extension Core {
    /// What was dropped since the last call, for warnings in the log.
    ///
    /// - Parameter most: Names to return; the rest is only counted.
    package mutating func takeDropNews(most: Int) -> (drops: [Dropped], further: Int) {
        dropLog.news(most: most)
    }
}
