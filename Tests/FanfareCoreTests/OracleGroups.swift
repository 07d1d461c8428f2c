import FanfareModel

extension Oracle {
    func requireGroup(_ name: String) throws(Failure) {
        guard Names.isGroup(name, limits) else { throw Failure(.badName, "") }
    }

    func members(of group: Address) -> [Membership] {
        memberships.filter { $0.group == group }
    }

    // MARK: Membership

    mutating func add(
        _ names: [String],
        to group: String,
        expiry: Milliseconds?,
        by session: Session,
        isAnswered: Bool
    ) throws(Failure) {
        try requireGroup(group)
        for name in names { try requireChannel(name) }
        let address = Address(namespace: session.namespace, name: group)
        let isLiteral = session.policy.groupExpiryIsLiteral || expiry != nil
        let deadline = now.advanced(by: min(expiry ?? session.policy.groupExpiry, limits.groupExpiryMaximum))
        let members = members(of: address).map(\.channel)
        let added = distinct(names).filter { !members.contains($0) }
        try requireRoom(for: added, in: address)
        for name in names {
            let isOwned = owner(of: name, in: session.namespace) != nil
            let due = isOwned && !isLiteral ? nil : deadline
            if let index = memberships.firstIndex(where: { $0.group == address && $0.channel == name }) {
                memberships[index].deadline = due
                memberships[index].isLiteral = isLiteral
            } else {
                let node = Names.node(of: name).map(String.init)
                memberships.append(
                    Membership(group: address, channel: name, node: node, deadline: due, isLiteral: isLiteral)
                )
                _ = row(of: Address(namespace: session.namespace, name: name))
            }
        }
        notify(added, of: address, isAnswered ? session.id : nil) { .members(group: group, added: $0, removed: []) }
    }

    mutating func discard(
        _ names: [String],
        from group: String,
        by session: Session,
        isAnswered: Bool
    ) throws(Failure) {
        try requireGroup(group)
        for name in names { try requireChannel(name) }
        let address = Address(namespace: session.namespace, name: group)
        let members = members(of: address).map(\.channel)
        let removed = distinct(names).filter { members.contains($0) }
        memberships.removeAll { $0.group == address && removed.contains($0.channel) }
        notify(removed, of: address, isAnswered ? session.id : nil) { .members(group: group, added: [], removed: $0) }
    }

    private func distinct(_ names: [String]) -> [String] {
        names.enumerated().filter { !names[..<$0.offset].contains($0.element) }.map(\.element)
    }

    /// The limits a request that brings `added` into `group` must keep, all or nothing.
    private func requireRoom(for added: [String], in group: Address) throws(Failure) {
        let groups = Set(memberships.map(\.group))
        let isNew = !added.isEmpty && !groups.contains(group)
        guard groups.count + (isNew ? 1 : 0) <= limits.groups else { throw Failure(.limitReached, "") }
        let addresses = added.map { Address(namespace: group.namespace, name: $0) }
        let missing = addresses.filter { index(of: $0) == nil }
        guard channels.count + missing.count <= limits.channels else { throw Failure(.limitReached, "") }
        for address in addresses {
            let count = memberships.count { $0.channelAddress == address }
            guard count < limits.groupsPerChannel else { throw Failure(.limitReached, "") }
        }
        let unowned = added.filter { owner(of: $0, in: group.namespace) == nil }
        let existing = members(of: group).count { owner(of: $0) == nil }
        guard unowned.isEmpty || existing + unowned.count <= limits.unownedMembersPerGroup else {
            throw Failure(.limitReached, "")
        }
    }

    /// Tells the owners of `names`, each once, bar the one who hears it by its acknowledgement.
    private mutating func notify(
        _ names: [String],
        of group: Address,
        _ silent: SessionID?,
        _ notice: ([String]) -> Reply
    ) {
        var told: [SessionID] = []
        for name in names {
            guard let owner = owner(of: name, in: group.namespace), owner.id != silent else { continue }
            guard !told.contains(owner.id) else { continue }
            told.append(owner.id)
            let own = names.filter { self.owner(of: $0, in: group.namespace)?.id == owner.id }
            say(notice(own), to: owner.id)
        }
    }

    // MARK: Sending to a group

    mutating func groupSend(
        _ body: Body,
        to group: String,
        _ options: GroupSendOptions,
        _ id: RequestID?,
        by session: Session
    ) throws(Failure) {
        try requireGroup(group)
        guard body.count <= limits.bodyBytes else {
            drop(1, .tooLarge, ofGroup: Address(namespace: session.namespace, name: group))
            throw Failure(.messageTooLarge, "")
        }
        let address = Address(namespace: session.namespace, name: group)
        let wantsOutcome = options.wantsOutcome && id != nil
        let members = members(of: address).filter { !options.exclude.contains($0.channel) }
        let deadline = now.advanced(by: min(options.expiry ?? session.policy.expiry, limits.expiryMaximum))
        guard deadline > now else {
            // Each member misses it.
            drop(UInt64(members.count), .expired, ofGroup: address)
            if wantsOutcome {
                let total = UInt64(members.count)
                say(.result(id!, Self.outcome(total, 0, total, isPartial: false)), to: session.id)
            } else {
                acknowledge(id, to: session.id)
            }
            return
        }
        let everyOwner = owners.first { $0.group == address }?.sessions ?? []
        let owners = everyOwner.filter { !self.session($0)!.isCongested }
        if wantsOutcome, !owners.isEmpty, collections.count >= limits.collections {
            throw Failure(.limitReached, "")
        }
        var delivery = GroupDelivery(group: group, body: body, remaining: now.milliseconds(until: deadline))
        delivery.exclude = options.exclude
        delivery.trace = options.trace
        if wantsOutcome, !owners.isEmpty { delivery.outcome = nextToken() }
        for owner in owners { say(.groupDeliver(delivery), to: owner) }
        if !owners.isEmpty { said.fanOuts.append(owners) }
        var accepted: UInt64 = 0
        var dropped = miss(members, of: address)
        for member in members where owner(of: member) == nil {
            let content = Content(body: body, trace: options.trace)
            if enqueue(content, in: member.channelAddress, until: deadline, under: session.policy) == .there {
                accepted += 1
            } else {
                dropped += 1
            }
        }
        guard wantsOutcome, let id else { return acknowledge(id, to: session.id) }
        let collection = Collection(
            token: lastToken,
            session: session.id,
            request: id,
            deadline: now.advanced(by: limits.collectWithin),
            subject: .outcome(members: UInt64(members.count), accepted: accepted, dropped: dropped),
            owed: owners.map { owner in
                (owner, UInt64(members.count { self.owner(of: $0)?.id == owner }))
            }
        )
        collect(collection)
    }

    /// Counts the members of owners that do not read: they miss the message, and their owners will hear how many.
    private mutating func miss(_ members: [Membership], of group: Address) -> UInt64 {
        var missed: UInt64 = 0
        for index in sessions.indices where sessions[index].isCongested {
            let own = UInt64(members.count { owner(of: $0)?.id == sessions[index].id })
            sessions[index].missed += own
            drop(own, .linkOverflow, ofGroup: group, by: sessions[index])
            missed += own
        }
        return missed
    }

    private mutating func nextToken() -> UInt64 {
        lastToken += 1
        return lastToken
    }

    // MARK: Waiting for owners

    mutating func flush(_ id: RequestID, by session: Session) throws(Failure) {
        let asked = sessions.filter { $0.namespace == session.namespace && $0.node != nil }
        guard asked.isEmpty || collections.count < limits.collections else { throw Failure(.limitReached, "") }
        for index in channels.indices where channels[index].address.namespace == session.namespace {
            let waiting = channels[index].queue.count + channels[index].pushed.count
            drop(UInt64(waiting), .flushed, of: channels[index].address)
            channels[index].queue = []
            channels[index].pushed = []
            channels[index].held = 0
            channels[index].missed = []
        }
        memberships.removeAll { $0.group.namespace == session.namespace }
        let token = nextToken()
        for index in sessions.indices {
            guard sessions[index].namespace == session.namespace, sessions[index].node != nil else { continue }
            sessions[index].unansweredFlush = token
            say(.flushed(token: token), to: sessions[index].id)
        }
        let collection = Collection(
            token: token,
            session: session.id,
            request: id,
            deadline: now.advanced(by: limits.collectWithin),
            subject: .flush,
            owed: asked.map { ($0.id, 0) }
        )
        collect(collection)
    }

    /// Waits for those who are owed an answer from, or settles at once when there are none.
    private mutating func collect(_ collection: Collection) {
        if collection.owed.isEmpty {
            settle(collection, isPartial: false)
        } else {
            collections.append(collection)
        }
    }

    /// Takes one answer of `session` to `token`, if it owes one. `dropped` is `nil` for a session that is gone: all
    /// its members missed the message.
    mutating func answer(_ token: UInt64, by session: SessionID, accepted: UInt64, dropped: UInt64?) {
        guard let index = collections.firstIndex(where: { $0.token == token }) else { return }
        guard let owed = collections[index].owed.firstIndex(where: { $0.session == session }) else { return }
        let members = collections[index].owed.remove(at: owed).members
        if case .outcome(let total, let before, let lost) = collections[index].subject {
            collections[index].subject = .outcome(
                members: total,
                accepted: Self.sum(before, accepted),
                dropped: Self.sum(lost, dropped ?? members)
            )
        }
        if collections[index].owed.isEmpty { settle(collections.remove(at: index), isPartial: false) }
    }

    static func sum(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let (sum, overflows) = left.addingReportingOverflow(right)
        return overflows ? .max : sum
    }

    mutating func settle(_ collection: Collection, isPartial: Bool) {
        switch collection.subject {
        case .flush:
            say(.ack(collection.request), to: collection.session)
        case .outcome(let members, let accepted, let dropped):
            let value = Self.outcome(members, accepted, dropped, isPartial: isPartial)
            say(.result(collection.request, value), to: collection.session)
        }
    }

    static func outcome(_ members: UInt64, _ accepted: UInt64, _ dropped: UInt64, isPartial: Bool) -> MessageValue {
        var map: [String: MessageValue] = [
            "members": .count(members), "accepted": .count(accepted), "dropped": .count(dropped),
        ]
        if isPartial { map["partial"] = true }
        return .map(map)
    }
}
