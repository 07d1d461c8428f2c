import FanfareModel

// GROUP_ADD and GROUP_DISCARD, and the two-way table behind them: group → owners → members, channel → groups.
extension Core {
    mutating func groupAdd(
        _ names: [String],
        to name: String,
        _ expiry: Milliseconds?,
        notifies requester: Bool,
        _ session: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) -> Answer {
        let namespace = sessions[session].namespace
        try checkGroupName(name)
        for channel in names { try checkChannelName(channel) }
        guard !names.isEmpty else { return .acknowledge }
        try checkRoom(forMembers: names, in: name, namespace)
        let policy = sessions[session].policy
        let group = groupSlot(name, in: namespace, now)
        var notices = Notices()
        for channelName in names {
            let channel = try channelSlot(channelName, in: namespace, now)
            let isLiteral = expiry != nil || policy.groupExpiryIsLiteral
            let life = min(expiry ?? policy.groupExpiry, limits.groupExpiryMaximum)
            let lives = channels[channel].owner != nil && !isLiteral
            let deadline = lives ? nil : now.advanced(by: life)
            if add(channel, to: group, until: deadline, isLiteral: isLiteral, now), let owner = channels[channel].owner,
                requester || owner != session
            {
                notices.add(channelName, for: owner)
            }
        }
        for notice in notices.list {
            effects.reply(.members(group: name, added: notice.names, removed: []), to: sessions[notice.owner].id)
        }
        return .acknowledge
    }

    mutating func groupDiscard(
        _ names: [String],
        from name: String,
        notifies requester: Bool,
        _ session: SessionSlot,
        _ effects: inout Effects
    ) throws(Failure) -> Answer {
        let namespace = sessions[session].namespace
        try checkGroupName(name)
        for channel in names { try checkChannelName(channel) }
        guard let group = namespaces[namespace].groups[name] else { return .acknowledge }
        var notices = Notices()
        for channelName in names {
            guard let channel = namespaces[namespace].channels[channelName],
                let index = channels[channel].groups.firstIndex(of: group)
            else { continue }
            let owner = channels[channel].owner
            channels[channel].groups.remove(at: index)
            removeMembership(of: channel, from: group)
            removeIfIdle(channel)
            if let owner, requester || owner != session { notices.add(channelName, for: owner) }
        }
        for notice in notices.list {
            effects.reply(.members(group: name, added: [], removed: notice.names), to: sessions[notice.owner].id)
        }
        return .acknowledge
    }

    /// Names to tell each owner, owners in order of first appearance.
    private struct Notices {
        var list: [(owner: SessionSlot, names: [String])] = []

        mutating func add(_ name: String, for owner: SessionSlot) {
            if let index = list.firstIndex(where: { $0.owner == owner }) {
                list[index].names.append(name)
            } else {
                list.append((owner, [name]))
            }
        }
    }

    /// Refuses an add that would go past a limit, before it has changed anything.
    private func checkRoom(
        forMembers names: [String],
        in name: String,
        _ namespace: NamespaceSlot
    ) throws(Failure) {
        try checkRoom(forChannels: names, in: namespace)
        let group = namespaces[namespace].groups[name]
        if group == nil, groups.count >= limits.groups {
            throw Failure(.limitReached, "the broker knows \(limits.groups) groups, its limit \"groups\"")
        }
        var joining: Set<String> = []
        for channelName in names {
            if let channel = namespaces[namespace].channels[channelName] {
                if let group, channels[channel].groups.contains(group) { continue }
                guard channels[channel].groups.count < limits.groupsPerChannel else {
                    throw Failure(
                        .limitReached,
                        "\"\(channelName)\" is in \(limits.groupsPerChannel) groups, the limit \"groups_per_channel\""
                    )
                }
            }
            if owner(of: channelName, in: namespace) == nil { joining.insert(channelName) }
        }
        let unowned = group.map { groups[$0].unowned.count } ?? 0
        if unowned + joining.count > limits.unownedMembersPerGroup {
            throw Failure(
                .limitReached,
                "\"\(name)\" has \(unowned) members without an owner, the limit \"unowned_members_per_group\" is \(limits.unownedMembersPerGroup)"
            )
        }
    }

    private mutating func groupSlot(_ name: String, in namespace: NamespaceSlot, _ now: Instant) -> GroupSlot {
        if let slot = namespaces[namespace].groups[name] { return slot }
        let slot = groups.insert(Group(name: name, namespace: namespace, openedAt: now))
        namespaces[namespace].groups[name] = slot
        return slot
    }

    /// Adds a member or refreshes its deadline. Returns whether it is new.
    private mutating func add(
        _ channel: ChannelSlot,
        to group: GroupSlot,
        until deadline: Instant?,
        isLiteral: Bool,
        _ now: Instant
    ) -> Bool {
        let owner = channels[channel].owner
        let old = membership(of: channel, in: group)
        let membership = Membership(joinedAt: old?.joinedAt ?? now, deadline: deadline, isLiteral: isLiteral)
        insert(channel, membership, into: group, owner: owner)
        if let deadline {
            deadlines.set(.membership(group, channel), to: deadline)
        } else {
            deadlines.remove(.membership(group, channel))
        }
        guard old == nil else { return false }
        channels[channel].groups.append(group)
        memberships += 1
        if let owner { sessions[owner].memberships += 1 }
        return true
    }

    func membership(of channel: ChannelSlot, in group: GroupSlot) -> Membership? {
        guard let owner = channels[channel].owner else { return groups[group].unowned[channel] }
        return groups[group].owners.first { $0.session == owner }?.members[channel]
    }

    mutating func insert(
        _ channel: ChannelSlot,
        _ membership: Membership,
        into group: GroupSlot,
        owner: SessionSlot?
    ) {
        guard let owner else {
            groups[group].unowned.set(channel, membership)
            return
        }
        let index: Int
        if let known = groups[group].owners.firstIndex(where: { $0.session == owner }) {
            index = known
        } else {
            index = groups[group].owners.count
            groups[group].owners.append(GroupOwner(session: owner))
        }
        groups[group].owners[index].members.set(channel, membership)
    }

    /// Removes a membership from the group's side; the caller takes the group out of the channel's list.
    mutating func removeMembership(of channel: ChannelSlot, from group: GroupSlot) {
        if let owner = channels[channel].owner {
            guard let index = groups[group].owners.firstIndex(where: { $0.session == owner }) else { return }
            groups[group].owners[index].members.remove(channel)
            if groups[group].owners[index].members.isEmpty { groups[group].owners.remove(at: index) }
            sessions[owner].memberships -= 1
        } else {
            groups[group].unowned.remove(channel)
        }
        memberships -= 1
        deadlines.remove(.membership(group, channel))
        removeIfEmpty(group)
    }

    private mutating func removeIfEmpty(_ group: GroupSlot) {
        guard groups[group].owners.isEmpty, groups[group].unowned.isEmpty else { return }
        let namespace = groups[group].namespace
        namespaces[namespace].groups.removeValue(forKey: groups[group].name)
        groups.remove(group)
        removeIfIdle(namespace)
    }

    /// Ends a membership whose time has come and tells the owner, whose table must follow.
    mutating func expireMembership(of channel: ChannelSlot, in group: GroupSlot, _ effects: inout Effects) {
        let (name, owner) = (groups[group].name, channels[channel].owner)
        if let owner {
            let removed = [channels[channel].name]
            effects.reply(.members(group: name, added: [], removed: removed), to: sessions[owner].id)
        }
        channels[channel].groups.removeAll { $0 == group }
        removeMembership(of: channel, from: group)
        removeIfIdle(channel)
    }
}
