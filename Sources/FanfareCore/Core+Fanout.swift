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
        try checkGroupName(name)
        counters.groupSends += 1
        let namespace = sessions[sender].namespace
        guard body.count <= limits.bodyBytes else {
            drop(1, .tooLarge, group: name, namespaces[namespace].name)
            throw tooLarge(body)
        }
        let collects = options.wantsOutcome && id != nil
        guard let group = namespaces[namespace].groups[name] else {
            return collects ? .result(Outcome().value(isPartial: false)) : .acknowledge
        }
        groups[group].messages += 1
        groups[group].rate.count(at: now)
        copyToTails(.group, name, namespace, body, now, &effects)
        let excluded = members(options.exclude, of: group, namespace)
        let owners = groups[group].owners.map { owner in
            (
                owner: owner.session,
                members: UInt64(owner.members.count - excluded.count { channels[$0].owner == owner.session })
            )
        }
        var outcome = Outcome()
        outcome.members = UInt64(groups[group].memberCount - excluded.count)
        let deadline = now.advanced(by: min(options.expiry ?? sessions[sender].policy.expiry, limits.expiryMaximum))
        guard deadline > now else {
            drop(outcome.members, .expired, group: name, namespaces[namespace].name)
            outcome.dropped = outcome.members
            return collects ? .result(outcome.value(isPartial: false)) : .acknowledge
        }
        var delivery = GroupDelivery(group: name, body: body, remaining: now.milliseconds(until: deadline))
        delivery.exclude = options.exclude
        if collects, !owners.isEmpty { delivery.outcome = try newToken() }
        if !owners.isEmpty {
            counters.groupDeliverFrames += UInt64(owners.count)
            effects.fanOut(.groupDeliver(delivery), to: owners.map { sessions[$0.owner].id })
        }
        acceptForUnowned(body, until: deadline, group, excluded, from: sender, &outcome, now, &effects)
        guard collects, let id else { return .acknowledge }
        guard let token = delivery.outcome else { return .result(outcome.value(isPartial: false)) }
        collect(token, .groupSend(outcome), for: id, of: sender, from: owners, now)
        return .silence
    }

    private mutating func acceptForUnowned(
        _ body: Body,
        until deadline: Instant,
        _ group: GroupSlot,
        _ excluded: Set<ChannelSlot>,
        from sender: SessionSlot,
        _ outcome: inout Outcome,
        _ now: Instant,
        _ effects: inout Effects
    ) {
        for entry in groups[group].unowned.entries where !excluded.contains(entry.channel) {
            do throws(Failure) {
                channels[entry.channel].messages += 1
                try accept(body, until: deadline, in: entry.channel, capacityOf: sender, now, &effects)
                outcome.accepted += 1
            } catch {
                outcome.dropped += 1
            }
        }
    }

    private func members(_ names: [String], of group: GroupSlot, _ namespace: NamespaceSlot) -> Set<ChannelSlot> {
        var members: Set<ChannelSlot> = []
        for name in names {
            if let channel = namespaces[namespace].channels[name], channels[channel].groups.contains(group) {
                members.insert(channel)
            }
        }
        return members
    }

    /// Counts messages of a group send as a whole.
    private mutating func drop(_ count: UInt64, _ reason: DropReason, group: String, _ namespace: String) {
        guard count > 0 else { return }
        counters[drop: reason] &+= count
        dropLog.add(count, reason, kind: .group, name: group, namespace: namespace)
    }
}
