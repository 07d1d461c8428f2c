import FanfareModel

/// Who lost what and why, by name, for the names that lost something most recently.
struct DropLog {
    enum Kind: String {
        case channel
        case group
    }

    struct Key: Hashable {
        var namespace: String
        var kind: Kind
        var name: String
        var reason: DropReason
    }

    /// Names remembered; the counters by reason forget nothing.
    static let capacity = 1_024
    private(set) var counts: [Key: UInt64] = [:]
    /// The keys, oldest first: a ring once it is full.
    private(set) var keys: [Key] = []
    private var oldest = 0

    mutating func add(_ count: UInt64, _ reason: DropReason, kind: Kind, name: String, namespace: String) {
        let key = Key(namespace: namespace, kind: kind, name: name, reason: reason)
        if let known = counts[key] {
            counts[key] = known.addingClamped(count)
            return
        }
        counts[key] = count
        if keys.count < Self.capacity {
            keys.append(key)
        } else {
            counts.removeValue(forKey: keys[oldest])
            keys[oldest] = key
            oldest = (oldest + 1) % Self.capacity
        }
    }
}
