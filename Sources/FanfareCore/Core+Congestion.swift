package import FanfareModel

extension Core {
    /// Tells the core that more waits for a session's connection than may, or that enough of it has gone.
    ///
    /// While congested a session is pushed no messages: direct ones are refused or dropped by policy, group messages
    /// skip its members, and each is counted as `link_overflow`. Answers and membership notices go on. When it reads
    /// again it is told of the hole first.
    package mutating func setCongested(
        _ isCongested: Bool,
        _ session: SessionID,
        now: Instant,
        into effects: inout Effects
    ) {
        advance(to: now, into: &effects)
        defer { nextDeadline = deadlines.earliest }
        guard let slot = slot(of: session), sessions[slot].isCongested != isCongested else { return }
        sessions[slot].isCongested = isCongested
        guard !isCongested else { return }
        tellMissed(by: slot, &effects)
        let holed = channels.slots(of: sessions[slot].channels).filter { !self[mailbox: $0].missed.isEmpty }
        for channel in holed.sorted(by: { channels[$0].name < channels[$1].name }) {
            tellGaps(of: channel, slot, &effects)
            removeIfIdle(channel)
        }
    }

    /// Tells an owner which group messages it missed, at this place of its stream.
    mutating func tellMissed(by owner: SessionSlot, _ effects: inout Effects) {
        guard sessions[owner].hasMissed else { return }
        counters.gaps += UInt64(sessions[owner].missed.count)
        for missed in sessions[owner].missed {
            effects.reply(.gap(Gap(name: nil, count: missed.count, reason: missed.reason)), to: sessions[owner].id)
        }
        sessions[owner].missed.removeAll()
    }

    /// Counts a group message that the members of an owner miss.
    mutating func miss(
        _ members: UInt64,
        _ reason: DropReason,
        by owner: SessionSlot,
        of group: String,
        _ namespace: NamespaceSlot,
        _ now: Instant
    ) {
        guard members > 0 else { return }
        sessions[owner].missed.add(members, reason)
        drop(members, reason, group: group, namespace, owner: owner, now)
    }
}
