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
        audit.expect(!channel.isIdle, "idle but kept")
        audit.expect(namespaces[channel.namespace].channels[channel.name] == slot, "not found by name")
        audit.expect(channel.owner == owner(of: channel.name, in: channel.namespace), "wrong owner")
        audit.expect(channel.owner == nil || channel.queue.isEmpty, "queues although it is owned")
        audit.expect(channel.owner != nil || channel.pushed.isEmpty && channel.held == 0, "pushed to nobody")
        audit.expect(channel.queuedBytes == channel.queue.reduce(0) { $0 + $1.body.count }, "queued bytes")
        audit.expect(channel.pushedBytes == channel.pushed.reduce(0) { $0 + $1.bytes }, "pushed bytes")
        audit.expect(channel.queue.isEmpty || channel.waitingReaders == 0, "messages wait beside readers")
        let isOrdered = zip(channel.queue, channel.queue.dropFirst()).allSatisfy { $0.order <= $1.order }
        audit.expect(isOrdered, "out of order")
        if let first = channel.queue.map(\.deadline).min() {
            audit.expect(first > now, "holds an expired message")
            audit.expect(deadlines[.queue(slot)].map { $0 <= first } ?? false, "no deadline in time")
        }
        audit.expect(Set(channel.groups).count == channel.groups.count, "in a group twice")
        audit.expect(channel.groups.allSatisfy { membership(of: slot, in: $0) != nil }, "no member of its group")
        let live = channel.readers.count { reader in
            guard sessions.contains(reader.session) else { return false }
            return sessions[reader.session].receives[reader.id]?.ticket == reader.ticket
        }
        audit.expect(live == channel.waitingReaders, "counts \(channel.waitingReaders) readers, has \(live)")
    }

    private func check(_ group: Group, _ slot: GroupSlot, at now: Instant, _ audit: inout Audit) {
        audit.subject = "group \(group.name)"
        audit.expect(group.memberCount > 0, "empty but kept")
        audit.expect(namespaces[group.namespace].groups[group.name] == slot, "not found by name")
        audit.expect(Set(group.owners.map(\.session)).count == group.owners.count, "an owner twice")
        for owner in group.owners {
            audit.expect(!owner.members.isEmpty, "keeps an owner without members")
            let isOwners = owner.members.entries.allSatisfy { channels[$0.channel].owner == owner.session }
            audit.expect(isOwners, "a member under the wrong owner")
        }
        for table in group.owners.map(\.members) + [group.unowned] {
            for (channel, membership) in table.entries {
                audit.expect(channels[channel].groups.contains(slot), "a member that does not know it")
                audit.expect(table[channel] != nil, "does not find its member")
                // Equal: just added with a group expiry of 0, it ends with the next call.
                audit.expect(membership.deadline.map { $0 >= now } ?? true, "keeps an expired member")
                let armed = deadlines[.membership(slot, channel)]
                audit.expect(membership.deadline == armed, "a member whose deadline is not armed")
                let mayEnd = membership.deadline != nil || channels[channel].owner != nil
                audit.expect(mayEnd, "a member for ever without an owner")
            }
        }
    }

    private func check(_ session: Session, _ slot: SessionSlot, _ audit: inout Audit) {
        audit.subject = "session \(session.id.value)"
        audit.expect(sessionSlots[session.id] == slot, "not found by id")
        let unread = session.channels.reduce(UInt64(0)) { $0 + channels[$1].unread }
        audit.expect(unread == session.unread, "counts \(session.unread) unread, has \(unread)")
        let joined = session.channels.reduce(0) { $0 + channels[$1].groups.count }
        audit.expect(joined == session.memberships, "counts \(session.memberships) memberships, has \(joined)")
        audit.expect(session.channels.allSatisfy { channels[$0].owner == slot }, "keeps a channel it does not own")
    }

    private func checkTotals(_ audit: inout Audit) {
        audit.subject = "totals"
        audit.expect(channels.slots.reduce(0) { $0 + channels[$1].queue.count } == queuedMessages, "queued messages")
        audit.expect(channels.slots.reduce(0) { $0 + channels[$1].queuedBytes } == queuedBytes, "queued bytes")
        audit.expect(channels.slots.reduce(0) { $0 + channels[$1].waitingReaders } == receives, "receives")
        audit.expect(sessions.slots.reduce(0) { $0 + sessions[$1].receives.count } == receives, "receives of sessions")
        audit.expect(groups.slots.reduce(0) { $0 + groups[$1].memberCount } == memberships, "memberships")
        audit.expect(sessions.count == sessionSlots.count, "a session not found by id")
        audit.expect(namespaces.count == namespaceSlots.count, "a namespace not found by name")
        audit.expect(namespaces.slots.allSatisfy { !namespaces[$0].isIdle }, "a namespace idle but kept")
        for (token, collection) in collections {
            audit.expect(deadlines[.collection(token)] != nil, "collection \(token) has no deadline")
            audit.expect(sessions.contains(collection.requester), "collection \(token) outlived its requester")
            let isAwaited = collection.awaited.allSatisfy { sessions.contains($0.owner) }
            audit.expect(isAwaited, "collection \(token) waits for nobody")
        }
    }
}
