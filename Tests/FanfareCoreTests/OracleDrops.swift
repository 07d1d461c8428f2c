import FanfareModel

/// Who lost what and why, for the counters and for `drops`.
extension Oracle {
    /// What losses are counted under.
    struct Loss: Hashable {
        /// `channel` or `group`.
        var kind: String
        var address: Address
        /// The name of the owner at that time, if there was one.
        var worker: String?
        var reason: DropReason
    }

    struct Losses {
        var count: UInt64 = 0
        /// Since the last look at what is new.
        var news: UInt64 = 0
        var last = Instant(nanoseconds: 0)
    }

    /// Counts messages that a channel lost.
    mutating func drop(_ messages: UInt64, _ reason: DropReason, of channel: Address) {
        let owner = owner(of: channel.name, in: channel.namespace)
        drop(messages, Loss(kind: "channel", address: channel, worker: owner?.name, reason: reason))
    }

    /// Counts messages that members of a group missed; `owner` is the process that missed them, if it was one.
    mutating func drop(_ messages: UInt64, _ reason: DropReason, ofGroup group: Address, by owner: Session? = nil) {
        drop(messages, Loss(kind: "group", address: group, worker: owner?.name, reason: reason))
    }

    private mutating func drop(_ messages: UInt64, _ loss: Loss) {
        guard messages > 0 else { return }
        // Counts come from peers too: they saturate.
        drops[Int(loss.reason.rawValue)] = Self.sum(drops[Int(loss.reason.rawValue)], messages)
        losses[loss, default: Losses()].count = Self.sum(losses[loss]?.count ?? 0, messages)
        losses[loss]!.news = Self.sum(losses[loss]!.news, messages)
        losses[loss]!.last = now
    }

    /// The process counts from 0 again, and its log of drops is empty.
    mutating func forgetCounts() {
        drops = drops.map { _ in 0 }
        losses = [:]
    }

    /// Every row of `drops`, all columns.
    var dropRows: Set<[String: MessageValue]> {
        Set(
            losses.map { loss, losses in
                [
                    "namespace": .string(loss.address.namespace),
                    "kind": .string(loss.kind),
                    "name": .string(loss.address.name),
                    "worker": loss.worker.map { .string($0) } ?? .null,
                    "reason": .string(loss.reason.name),
                    "count": .count(losses.count),
                    "age_milliseconds": .count(losses.last.milliseconds(until: now).value),
                ]
            }
        )
    }
}
