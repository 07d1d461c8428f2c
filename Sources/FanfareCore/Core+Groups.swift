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
        try checkMemory()
        let hashes = names.map { NameTable<Channel>.hash($0) }
        let groupHash = NameTable<Group>.hash(name)
        try checkRoom(forMembers: names, hashes, in: name, groupHash, namespace)
        let isLiteral = expiry != nil || sessions[session].policy.groupExpiryIsLiteral
        let life = min(expiry ?? sessions[session].policy.groupExpiry, limits.groupExpiryMaximum)
        let group = groupSlot(name, groupHash, in: namespace, now)
        var notices = Notices()
        for (channelName, hash) in zip(names, hashes) {
            let channel = try channelSlot(channelName, hash, in: namespace)
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
        guard let group = group(named: name, in: namespace) else { return .acknowledge }
        var notices = Notices()
        for channelName in names {
            guard let channel = channel(named: channelName, in: namespace),
                let membership = channels[channel].groups[group]
            else { continue }
            let owner = channels[channel].owner
            channels[channel].groups.remove(group)
            remove(membership)
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
        _ hashes: [UInt32],
        in name: String,
        _ groupHash: UInt32,
        _ namespace: NamespaceSlot
    ) throws(Failure) {
        try checkRoom(forChannels: names, in: namespace)
        let group = group(named: name, groupHash, in: namespace)
        if group == nil, groups.count >= limits.groups {
            throw Failure(.limitReached, "the broker knows \(limits.groups) groups, its limit \"groups\"")
        }
        guard memberships.count + names.count <= Slab<Membership>.countMaximum else {
            throw Failure(.limitReached, "the broker knows \(memberships.count) memberships, as many as there can be")
        }
        for (channelName, hash) in zip(names, hashes) {
            guard let channel = channel(named: channelName, hash, in: namespace) else { continue }
            if let group, channels[channel].groups[group] != nil { continue }
            guard channels[channel].groups.count < limits.groupsPerChannel else {
                throw Failure(
                    .limitReached,
                    "\"\(channelName)\" is in \(limits.groupsPerChannel) groups, the limit \"groups_per_channel\""
                )
            }
        }
        let unowned = group.map { groups[$0].unowned.count } ?? 0
        guard unowned + names.count > limits.unownedMembersPerGroup else { return }
        let joining = Set(names.filter { owner(of: $0, in: namespace) == nil && !isMember($0, of: group, namespace) })
        if unowned + joining.count > limits.unownedMembersPerGroup {
            throw Failure(
                .limitReached,
                "\"\(name)\" has \(unowned) members without an owner, the limit \"unowned_members_per_group\" is \(limits.unownedMembersPerGroup)"
            )
        }
    }

    private func isMember(_ name: String, of group: GroupSlot?, _ namespace: NamespaceSlot) -> Bool {
        guard let group, let channel = channel(named: name, in: namespace) else { return false }
        return channels[channel].groups[group] != nil
    }

    @inline(__always)
    func group(named name: String, in namespace: NamespaceSlot) -> GroupSlot? {
        group(named: name, NameTable<Group>.hash(name), in: namespace)
    }

    @inline(__always)
    private func group(named name: String, _ hash: UInt32, in namespace: NamespaceSlot) -> GroupSlot? {
        namespaces[namespace].groups.find(name, hash, in: groups)
    }

    private mutating func groupSlot(
        _ name: String,
        _ hash: UInt32,
        in namespace: NamespaceSlot,
        _ now: Instant
    ) -> GroupSlot {
        if let slot = group(named: name, hash, in: namespace) { return slot }
        let slot = groups.insert(Group(name: name, hash: hash, namespace: namespace, openedAt: now))
        namespaces[namespace].groups.insert(slot, hash)
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
        let known = channels[channel].groups[group]
        let membership = known ?? memberships.insert(Membership(channel: channel, group: group, joinedAt: now))
        memberships[membership].isLiteral = isLiteral
        if let deadline {
            deadlines.set(&memberships[membership].timer, of: .membership(membership), to: deadline)
        } else {
            deadlines.cancel(&memberships[membership].timer)
        }
        guard known == nil else { return false }
        channels[channel].groups.append(group, membership)
        link(membership, to: channels[channel].owner)
        return true
    }

    /// Puts a membership among those of `owner`, or of nobody, in its group.
    mutating func link(_ membership: MembershipSlot, to owner: SessionSlot?) {
        let group = memberships[membership].group
        guard let owner else {
            memberships.append(membership, to: &groups[group].unowned)
            return
        }
        sessions[owner].memberships += 1
        let known = groups[group].owners.firstIndex { $0.session == owner }
        if known == nil { groups[group].owners.append(GroupOwner(session: owner)) }
        let index = known ?? groups[group].owners.count - 1
        memberships.append(membership, to: &groups[group].owners[index].members)
    }

    /// Removes a membership; the caller takes the group out of the channel's list.
    private mutating func remove(_ membership: MembershipSlot) {
        let (channel, group) = (memberships[membership].channel, memberships[membership].group)
        if let owner = channels[channel].owner {
            guard let index = groups[group].owners.firstIndex(where: { $0.session == owner }) else { return }
            memberships.unlink(membership, from: &groups[group].owners[index].members)
            if groups[group].owners[index].members.isEmpty { groups[group].owners.remove(at: index) }
            sessions[owner].memberships -= 1
        } else {
            memberships.unlink(membership, from: &groups[group].unowned)
        }
        deadlines.cancel(&memberships[membership].timer)
        memberships.remove(membership)
        removeIfEmpty(group)
    }

    /// Takes a channel out of all its groups.
    mutating func leaveGroups(_ channel: ChannelSlot) {
        for joined in channels[channel].groups { remove(joined.membership) }
        channels[channel].groups.removeAll()
    }

    private mutating func removeIfEmpty(_ group: GroupSlot) {
        guard groups[group].owners.isEmpty, groups[group].unowned.isEmpty else { return }
        let namespace = groups[group].namespace
        namespaces[namespace].groups.remove(group, groups[group].hash)
        groups.remove(group)
        removeIfIdle(namespace)
    }

    /// Ends a membership whose time has come and tells the owner, whose table must follow.
    mutating func expire(_ membership: MembershipSlot, _ effects: inout Effects) {
        let (channel, group) = (memberships[membership].channel, memberships[membership].group)
        if let owner = channels[channel].owner {
            let removed = [channels[channel].name]
            effects.reply(.members(group: groups[group].name, added: [], removed: removed), to: sessions[owner].id)
        }
        channels[channel].groups.remove(group)
        remove(membership)
        removeIfIdle(channel)
    }
}
