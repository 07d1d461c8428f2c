import DequeModule
package import FanfareModel

extension Core {
    /// What must hold between any two calls and does not: empty when the tables are whole.
    ///
    /// Costs a walk over everything; for simulation and debugging.
    ///
    /// - Parameter now: The time of the last call: nothing that has expired by then may still be there.
    package func checkInvariants(at now: Instant) -> [String] {
        var audit = Audit()
        for slot in channels.slots { check(channels[slot], slot, at: now, &audit) }
        for slot in groups.slots { check(groups[slot], slot, at: now, &audit) }
        for slot in sessions.slots { check(sessions[slot], slot, &audit) }
        checkTotals(&audit)
        return audit.violations
    }

    /// Collects what does not hold, with what it was about.
    private struct Audit {
        var violations: [String] = []
        var subject = ""

        mutating func expect(_ holds: Bool, _ text: @autoclosure () -> String) {
            if !holds { violations.append("\(subject): \(text())") }
        }
    }

    private func check(_ channel: Channel, _ slot: ChannelSlot, at now: Instant, _ audit: inout Audit) {
        audit.subject = "channel \(channel.name)"
        let mailbox = mailboxes[channel.mailbox]
        audit.expect(!isIdle(slot), "idle but kept")
        audit.expect(self.channel(named: channel.name, in: channel.namespace) == slot, "not found by name")
        audit.expect(channel.owner == owner(of: channel.name, in: channel.namespace), "wrong owner")
        audit.expect(channel.owner == nil || mailbox.queue.isEmpty, "queues although it is owned")
        audit.expect(channel.owner != nil || mailbox.pushed.isEmpty && mailbox.held == 0, "pushed to nobody")
        audit.expect(mailbox.queuedBytes == mailbox.queue.reduce(0) { $0 + $1.content.bytes }, "queued bytes")
        audit.expect(mailbox.pushedBytes == mailbox.pushed.reduce(0) { $0 + $1.bytes }, "pushed bytes")
        audit.expect(mailbox.queue.isEmpty || mailbox.waitingReaders == 0, "messages wait beside readers")
        let isOrdered = zip(mailbox.queue, mailbox.queue.dropFirst()).allSatisfy { $0.order <= $1.order }
        audit.expect(isOrdered, "out of order")
        if let first = mailbox.queue.map(\.deadline).min() {
            audit.expect(first > now, "holds an expired message")
            audit.expect(deadlines[mailbox.timer].map { $0 <= first } ?? false, "no deadline in time")
        }
        audit.expect(Set(channel.groups.map(\.group)).count == channel.groups.count, "in a group twice")
        let isMember = channel.groups.allSatisfy { group, membership in
            memberships[membership].channel == slot && memberships[membership].group == group
        }
        audit.expect(isMember, "no member of its group")
        let live = mailbox.readers.count { reader in
            guard sessions.contains(reader.session) else { return false }
            return sessions[reader.session].receives[reader.id]?.ticket == reader.ticket
        }
        audit.expect(live == mailbox.waitingReaders, "counts \(mailbox.waitingReaders) readers, has \(live)")
    }

    private func check(_ group: Group, _ slot: GroupSlot, at now: Instant, _ audit: inout Audit) {
        audit.subject = "group \(group.name)"
        audit.expect(group.memberCount > 0, "empty but kept")
        audit.expect(self.group(named: group.name, in: group.namespace) == slot, "not found by name")
        audit.expect(Set(group.owners.map(\.session)).count == group.owners.count, "an owner twice")
        for owner in group.owners {
            audit.expect(!owner.members.isEmpty, "keeps an owner without members")
        }
        let chains = group.owners.map { ($0.members, $0.session as SessionSlot?) } + [(group.unowned, nil)]
        for (chain, owner) in chains {
            let members = memberships.slots(of: chain)
            audit.expect(members.count == chain.count, "counts \(chain.count) members, has \(members.count)")
            for (slot, member) in members.map({ ($0, memberships[$0]) }) {
                audit.expect(channels[member.channel].owner == owner, "a member under the wrong owner")
                audit.expect(channels[member.channel].groups[member.group] == slot, "a member that does not know it")
                let deadline = deadlines[member.timer]
                // Equal: just added with a group expiry of 0, it ends with the next call.
                audit.expect(deadline.map { $0 >= now } ?? true, "keeps an expired member")
                audit.expect(deadline != nil || owner != nil, "a member for ever without an owner")
            }
        }
    }

    private func check(_ session: Session, _ slot: SessionSlot, _ audit: inout Audit) {
        audit.subject = "session \(session.id.value)"
        audit.expect(self.slot(of: session.id) == slot, "not found by id")
        let owned = channels.slots(of: session.channels)
        audit.expect(owned.count == session.channels.count, "counts its channels wrong, has \(owned.count)")
        let unread = owned.reduce(UInt64(0)) { $0 + self[mailbox: $1].unread }
        audit.expect(unread == session.unread, "counts \(session.unread) unread, has \(unread)")
        let joined = owned.reduce(0) { $0 + channels[$1].groups.count }
        audit.expect(joined == session.memberships, "counts \(session.memberships) memberships, has \(joined)")
        audit.expect(owned.allSatisfy { channels[$0].owner == slot }, "keeps a channel it does not own")
    }

    private func checkTotals(_ audit: inout Audit) {
        audit.subject = "totals"
        audit.expect(mailboxes.slots.reduce(0) { $0 + mailboxes[$1].queue.count } == queuedMessages, "queued messages")
        audit.expect(mailboxes.slots.reduce(0) { $0 + mailboxes[$1].queuedBytes } == queuedBytes, "queued bytes")
        audit.expect(mailboxes.slots.reduce(0) { $0 + mailboxes[$1].waitingReaders } == receives, "receives")
        audit.expect(sessions.slots.reduce(0) { $0 + sessions[$1].receives.count } == receives, "receives of sessions")
        let handedOut = sessions.slots.reduce(0) { $0 + sessions[$1].handedOut.channelCount }
        audit.expect(handedOut == handedOutChannels, "channels handed out")
        audit.expect(groups.slots.reduce(0) { $0 + groups[$1].memberCount } == memberships.count, "memberships")
        let mailboxed = channels.slots.count { channels[$0].mailbox != .none }
        audit.expect(mailboxed + 1 == mailboxes.count, "\(mailboxes.count) mailboxes, \(mailboxed) in use")
        audit.expect(mailboxes[.none].isIdle && mailboxes[.none].messages == 0, "a message for no channel")
        let timers =
            mailboxes.slots.count { mailboxes[$0].timer != .nowhere }
            + memberships.slots.count { memberships[$0].timer != .nowhere } + collections.count
        audit.expect(deadlines.count == timers, "\(deadlines.count) deadlines, \(timers) known")
        audit.expect(namespaces.count == namespaceSlots.count, "a namespace not found by name")
        audit.expect(namespaces.slots.allSatisfy { !namespaces[$0].isIdle }, "a namespace idle but kept")
        for (token, collection) in collections {
            audit.expect(deadlines[collection.timer] != nil, "collection \(token) has no deadline")
            audit.expect(sessions.contains(collection.requester), "collection \(token) outlived its requester")
            let isAwaited = collection.awaited.allSatisfy { sessions.contains($0.owner) }
            audit.expect(isAwaited, "collection \(token) waits for nobody")
        }
    }
}
