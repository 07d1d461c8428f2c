import FanfareModel

/// Process channels with a live owner: what is pushed to it, what it misses, what it says.
extension Oracle {
    // MARK: Pushing

    /// Pushes a message to the owner of a process channel, or does what the owner's overflow policy says.
    mutating func offer(
        _ content: Content,
        in address: Address,
        of owner: Session,
        until deadline: Instant,
        isAnswered: Bool
    ) throws(Failure) {
        guard let reason = refusal(of: content, in: address, by: owner) else {
            return push(content, in: address, to: owner, until: deadline)
        }
        let overflow = owner.policy.overflow(of: address.name)
        if overflow == .dropOldest, reason == .full, hasMargin(address, of: owner) {
            return push(content, in: address, to: owner, until: deadline)
        }
        drop(1, reason, of: address)
        switch overflow {
        case .dropNewest, .dropOldest: miss(1, reason, in: address)
        case .reject: if !isAnswered { miss(1, reason, in: address) }
        case .disconnect:
            end(address)
            say(.gap(Gap(name: address.name, count: 1, reason: reason, isClosed: true)), to: owner.id)
        }
        if overflow == .reject || overflow == .disconnect { throw Failure(.channelFull, "") }
    }

    private mutating func push(_ content: Content, in address: Address, to owner: Session, until deadline: Instant) {
        let index = row(of: address)
        tellGaps(of: index, to: owner.id)
        channels[index].pushed.append(content.bytes)
        let remaining = now.milliseconds(until: deadline)
        let (body, trace) = (content.body, content.trace)
        say(.deliver(channel: address.name, body: body, remaining: remaining, trace: trace), to: owner.id)
    }

    /// Why the owner of a process channel cannot be pushed one more message, if it cannot.
    private func refusal(of content: Content, in address: Address, by owner: Session) -> DropReason? {
        if owner.isCongested { return .linkOverflow }
        let channel = channels.first { $0.address == address }
        var unread = channel?.unread ?? 0
        if owner.policy.capacityScope == .process {
            unread = channels.filter { owns(owner, $0) }.map(\.unread).reduce(0, Self.sum)
        }
        let bytes = (channel?.pushed.reduce(0, +) ?? 0) + content.bytes
        let hasRoom = unread < UInt64(owner.policy.capacity(of: address.name)) && bytes <= limits.channelBytes
        return hasRoom ? nil : .full
    }

    /// Whether an owner that drops its oldest itself may be sent beyond its capacity: as many again, and no more.
    private func hasMargin(_ address: Address, of owner: Session) -> Bool {
        guard let channel = channels.first(where: { $0.address == address }) else { return true }
        let capacity = UInt64(owner.policy.capacity(of: address.name))
        return channel.unread < 2 * capacity && channel.pushed.reduce(0, +) < limits.channelBytes
    }

    private mutating func miss(_ messages: UInt64, _ reason: DropReason, in address: Address) {
        let index = row(of: address)
        if let known = channels[index].missed.firstIndex(where: { $0.reason == reason }) {
            channels[index].missed[known].count += messages
        } else {
            channels[index].missed.append((reason, messages))
        }
    }

    private mutating func tellGaps(of index: Int, to owner: SessionID) {
        for missed in channels[index].missed {
            let gap = Gap(name: channels[index].address.name, count: missed.count, reason: missed.reason)
            say(.gap(gap), to: owner)
        }
        channels[index].missed = []
    }

    /// More waits for the connection of a session than may, or enough of it has gone.
    mutating func setCongested(_ isCongested: Bool, _ id: SessionID, now: Instant) {
        advance(to: now)
        guard let place = sessions.firstIndex(where: { $0.id == id }) else { return }
        let ends = sessions[place].isCongested && !isCongested
        sessions[place].isCongested = isCongested
        guard ends else { return }
        if sessions[place].missed > 0 {
            say(.gap(Gap(name: nil, count: sessions[place].missed, reason: .linkOverflow)), to: id)
            sessions[place].missed = 0
        }
        let own = channels.indices.filter { owns(sessions[place], channels[$0]) }
        for index in own.sorted(by: { channels[$0].address.name < channels[$1].address.name }) {
            tellGaps(of: index, to: id)
        }
        tidy()
    }

    // MARK: What owners say

    mutating func accept(_ report: Report, by session: Session) {
        guard session.unansweredFlush == nil else { return }
        for entry in report.taken {
            let address = Address(namespace: session.namespace, name: entry.channel)
            guard let index = index(of: address), owns(session, channels[index]) else { continue }
            let taken = min(entry.taken, UInt64(channels[index].pushed.count))
            channels[index].pushed.removeFirst(Int(taken))
            // More than any capacity is as full as full can be.
            channels[index].held = min(entry.held, UInt64(limits.capacityMaximum))
            if !session.isCongested { tellGaps(of: index, to: session.id) }
            tidy()
        }
        for entry in report.dropped {
            guard let name = entry.channel else {
                guard let group = entry.group, Names.isGroup(group, limits) else { continue }
                let address = Address(namespace: session.namespace, name: group)
                drop(entry.count, entry.reason, ofGroup: address, by: session)
                continue
            }
            guard Names.isChannel(name, limits) else { continue }
            let isReaders = entry.reason == .undecodable && !name.contains("!")
            guard isReaders || owner(of: name, in: session.namespace)?.id == session.id else { continue }
            let address = Address(namespace: session.namespace, name: name)
            drop(entry.count, entry.reason, of: address)
        }
    }

    private func requireOwned(_ names: [String], by session: Session) throws(Failure) {
        for name in names {
            try requireChannel(name)
            guard owner(of: name, in: session.namespace)?.id == session.id else { throw Failure(.notOwner, "") }
        }
    }

    mutating func declare(_ names: [String], by session: Session) throws(Failure) {
        try requireOwned(names, by: session)
        let addresses = names.map { Address(namespace: session.namespace, name: $0) }
        let missing = Set(addresses.filter { index(of: $0) == nil })
        guard channels.count + missing.count <= limits.channels else { throw Failure(.limitReached, "") }
        for address in addresses { channels[row(of: address)].isDeclared = true }
    }

    mutating func closeChannels(_ names: [String], by session: Session) throws(Failure) {
        try requireOwned(names, by: session)
        for name in names { end(Address(namespace: session.namespace, name: name)) }
    }

    /// Forgets an owned channel with all it has.
    private mutating func end(_ address: Address) {
        memberships.removeAll { $0.channelAddress == address }
        guard let index = index(of: address) else { return }
        drop(UInt64(channels[index].pushed.count), .ownerGone, of: address)
        channels.remove(at: index)
    }
}
