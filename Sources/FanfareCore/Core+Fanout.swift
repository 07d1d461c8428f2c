import FanfareModel

// GROUP_SEND: one frame for each process that owns members, a queue operation for each member nobody owns.
extension Core {
    mutating func groupSend(
        _ id: RequestID?,
        _ body: Body,
        to name: String,
        _ options: GroupSendOptions,
        from sender: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) -> Answer {
        let namespace = sessions[sender].namespace
        // What is known by its name has a good one.
        let known = group(named: name, in: namespace)
        if known == nil { try checkGroupName(name) }
        counters.groupSends += 1
        guard body.count <= limits.bodyBytes else {
            drop(1, .tooLarge, group: name, namespace, now)
            throw tooLarge(body)
        }
        let collects = options.wantsOutcome && id != nil
        guard let group = known else {
            counters.fanOutMembers.record(0)
            return collects ? .result(Outcome().value(isPartial: false)) : .acknowledge
        }
        groups[group].messages += 1
        groups[group].rate.count(at: now)
        copyToTails(.group, name, namespace, body, now, &effects)
        let excluded = members(options.exclude, of: group, namespace)
        var outcome = Outcome()
        outcome.members = UInt64(groups[group].memberCount - excluded.count)
        counters.fanOutMembers.record(Double(outcome.members))
        let deadline = deadline(options.expiry, from: sender, now)
        guard deadline > now else {
            drop(outcome.members, .expired, group: name, namespace, now)
            outcome.dropped = outcome.members
            return collects ? .result(outcome.value(isPartial: false)) : .acknowledge
        }
        // Only owners that read are waited for.
        let awaits = collects && groups[group].owners.contains { !sessions[$0.session].isCongested }
        let token = awaits ? try newToken() : nil
        var delivery = GroupDelivery(group: name, body: body, remaining: now.milliseconds(until: deadline))
        delivery.exclude = options.exclude
        delivery.outcome = token
        delivery.trace = options.trace
        let owners = push(delivery, of: group, excluded, &outcome, now, &effects)
        let content = Content(body: body, trace: options.trace)
        acceptForUnowned(content, until: deadline, group, excluded, from: sender, &outcome, now, &effects)
        guard collects, let id else { return .acknowledge }
        guard let token, !owners.isEmpty else { return .result(outcome.value(isPartial: false)) }
        collect(token, .groupSend(outcome), for: id, of: sender, from: owners, now)
        return .silence
    }

    /// Sends one frame to each process that owns members and reads what it is sent; the others' members miss it.
    ///
    /// - Returns: Who got the frame, with how many members it is for there, when their outcome is waited for.
    private mutating func push(
        _ delivery: GroupDelivery,
        of group: GroupSlot,
        _ excluded: Set<ChannelSlot>,
        _ outcome: inout Outcome,
        _ now: Instant,
        _ effects: inout Effects
    ) -> [(owner: SessionSlot, members: UInt64)] {
        var reached: [(owner: SessionSlot, members: UInt64)] = []
        let isFull = exceedsMemory(with: delivery.body.count + delivery.trace.heldBytes)
        if isFull { counters.memoryRefusals += 1 }
        for index in groups[group].owners.indices {
            let owner = groups[group].owners[index].session
            let excludedHere = excluded.isEmpty ? 0 : excluded.count { channels[$0].owner == owner }
            let members = UInt64(groups[group].owners[index].members.count - excludedHere)
            if sessions[owner].isCongested || isFull {
                outcome.dropped += members
                let reason = sessions[owner].isCongested ? DropReason.linkOverflow : .full
                miss(members, reason, by: owner, of: delivery.group, groups[group].namespace, now)
            } else {
                if sessions[owner].hasMissed { tellMissed(by: owner, &effects) }
                effects.aim(at: sessions[owner].id)
                counters.groupDeliverFrames += 1
                if delivery.outcome != nil { reached.append((owner, members)) }
            }
        }
        effects.fanOut(.groupDeliver(delivery))
        return reached
    }

    private mutating func acceptForUnowned(
        _ content: Content,
        until deadline: Instant,
        _ group: GroupSlot,
        _ excluded: Set<ChannelSlot>,
        from sender: SessionSlot,
        _ outcome: inout Outcome,
        _ now: Instant,
        _ effects: inout Effects
    ) {
        var next = groups[group].unowned.first
        while next != .nowhere {
            let channel = memberships[next].channel
            next = memberships[next].next
            guard !excluded.contains(channel) else { continue }
            do throws(Failure) {
                noteMessage(for: channel, now)
                let isThere = try accept(content, until: deadline, in: channel, policyOf: sender, now, &effects)
                if isThere { outcome.accepted += 1 } else { outcome.dropped += 1 }
            } catch {
                outcome.dropped += 1
            }
        }
    }

    @inline(__always)
    private func members(_ names: [String], of group: GroupSlot, _ namespace: NamespaceSlot) -> Set<ChannelSlot> {
        var members: Set<ChannelSlot> = []
        for name in names {
            if let channel = channel(named: name, in: namespace), channels[channel].groups[group] != nil {
                members.insert(channel)
            }
        }
        return members
    }
}
