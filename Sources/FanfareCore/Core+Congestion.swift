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
        if sessions[slot].missed > 0 {
            effects.reply(.gap(Gap(name: nil, count: sessions[slot].missed, reason: .linkOverflow)), to: session)
            sessions[slot].missed = 0
        }
        let holed = channels.slots(of: sessions[slot].channels).filter { !self[mailbox: $0].missed.isEmpty }
        for channel in holed.sorted(by: { channels[$0].name < channels[$1].name }) {
            tellGaps(of: channel, slot, &effects)
            removeIfIdle(channel)
        }
    }

    /// Counts a group message that the members of congested owners miss.
    mutating func miss(
        _ members: UInt64,
        by owner: SessionSlot,
        of group: String,
        _ namespace: NamespaceSlot,
        _ now: Instant
    ) {
        sessions[owner].missed = sessions[owner].missed.addingClamped(members)
        drop(members, .linkOverflow, group: group, namespace, owner: owner, now)
    }
}
