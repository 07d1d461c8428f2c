import FanfareModel

/// What the broker is to be told at the end of a burst: `REPORT` of the protocol, section 5.5.
struct PendingReport {
    private var taken: [String: UInt64] = [:]
    private var drops: [Drop: UInt64] = [:]

    private struct Drop: Hashable {
        let channel: String?
        let group: String?
        let reason: DropReason
    }

    /// A direct message of `channel` was handed to its socket, or dropped.
    mutating func took(channel: String) {
        taken[channel, default: 0] += 1
    }

    /// Messages did not reach their socket; without a channel: none of the group's sockets here.
    mutating func dropped(channel: String?, group: String?, count: UInt64, reason: DropReason) {
        drops[Drop(channel: channel, group: group, reason: reason), default: 0] += count
    }

    /// The channel is closed: the broker has settled its account.
    mutating func forget(channel: String) {
        if !taken.isEmpty { taken[channel] = nil }
    }

    /// Everything in the namespace is gone.
    mutating func forgetAll() {
        taken = [:]
        drops = [:]
    }

    /// Takes out what is to be reported, in reports of at most `namesPerReport` entries of each kind.
    mutating func take(namesPerReport: Int) -> [Report] {
        guard !taken.isEmpty || !drops.isEmpty else { return [] }
        var takenLeft = taken.map { Report.Taken(channel: $0.key, taken: $0.value, held: 0) }[...]
        var dropsLeft = drops.map { drop, count in
            Report.Dropped(channel: drop.channel, group: drop.group, count: count, reason: drop.reason)
        }[...]
        taken.removeAll(keepingCapacity: taken.count < namesPerReport)
        drops.removeAll()
        var reports: [Report] = []
        while !takenLeft.isEmpty || !dropsLeft.isEmpty {
            // Each list half the bound, so that both together stay within it.
            let count = max(1, namesPerReport / 2)
            reports.append(
                Report(
                    // The session knows what has arrived, and says so.
                    received: 0,
                    taken: Array(takenLeft.prefix(count)),
                    dropped: Array(dropsLeft.prefix(count))
                )
            )
            takenLeft = takenLeft.dropFirst(count)
            dropsLeft = dropsLeft.dropFirst(count)
        }
        return reports
    }
}
