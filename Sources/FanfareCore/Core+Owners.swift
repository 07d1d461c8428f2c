package import FanfareModel

// What only the owner of process channels asks: REPORT, OPEN_CHANNELS, CLOSE_CHANNELS.
extension Core {
    mutating func apply(
        _ report: Report,
        _ session: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) -> Answer {
        // Until the owner has answered a flush, its reports speak of messages that no longer exist.
        guard sessions[session].flushing == nil else { return .silence }
        if !sessions[session].isCongested { tellMissed(by: session, &effects) }
        let namespace = sessions[session].namespace
        for entry in report.taken {
            guard let channel = owned(entry.channel, by: session, in: namespace) else { continue }
            take(entry.taken, from: channel)
            hold(entry.held, in: channel)
            // Its reader reads again: it learns of a hole even if nothing follows.
            if !sessions[session].isCongested { tellGaps(of: channel, session, &effects) }
            removeIfIdle(channel)
        }
        for entry in report.dropped { apply(entry, session, namespace, now) }
        return .silence
    }

    private mutating func apply(
        _ entry: Report.Dropped,
        _ session: SessionSlot,
        _ namespace: NamespaceSlot,
        _ now: Instant
    ) {
        guard let name = entry.channel else {
            guard let group = entry.group, Names.isGroup(group, limits) else { return }
            return drop(entry.count, entry.reason, group: group, namespace, owner: session, now)
        }
        guard Names.isChannel(name, limits) else { return }
        // What a normal channel handed out belongs to whoever read it, and only the reader sees that it is no message.
        let isReaders = entry.reason == .undecodable && Names.node(of: name) == nil
        guard isReaders || owner(of: name, in: namespace) == session else { return }
        if let channel = channel(named: name, in: namespace) { self[mailbox: channel].drops &+= entry.count }
        if let group = entry.group { noteDrops(entry.count, ofGroup: group, namespace) }
        drop(entry.count, entry.reason, channel: name, namespace, now)
    }

    private func owned(_ name: String, by session: SessionSlot, in namespace: NamespaceSlot) -> ChannelSlot? {
        guard let channel = channel(named: name, in: namespace), channels[channel].owner == session else { return nil }
        return channel
    }

    mutating func openChannels(
        _ opened: [OpenedChannel],
        _ session: SessionSlot,
        _ now: Instant
    ) throws(Failure) -> Answer {
        let namespace = sessions[session].namespace
        for channel in opened { try checkOwned(channel.name, by: session, in: namespace) }
        try checkMemory()
        try checkRoom(forChannels: opened.map(\.name), in: namespace)
        for entry in opened {
            let channel = try channelSlot(entry.name, in: namespace)
            channels[channel].attributes = entry.attributes
        }
        return .acknowledge
    }

    mutating func closeChannels(
        _ names: [String],
        _ session: SessionSlot,
        _ now: Instant
    ) throws(Failure) -> Answer {
        let namespace = sessions[session].namespace
        for name in names { try checkOwned(name, by: session, in: namespace) }
        for name in names {
            if let channel = owned(name, by: session, in: namespace) { forget(channel, now) }
        }
        return .acknowledge
    }

    private func checkOwned(_ name: String, by session: SessionSlot, in namespace: NamespaceSlot) throws(Failure) {
        try checkChannelName(name)
        guard owner(of: name, in: namespace) == session else {
            throw Failure(.notOwner, "\"\(name)\" does not carry this session's node")
        }
    }

    /// Refuses a request that would make more channels than there may be, before it has made any.
    func checkRoom(forChannels names: [String], in namespace: NamespaceSlot) throws(Failure) {
        guard channels.count + names.count > limits.channels else { return }
        let missing = Set(names.filter { channel(named: $0, in: namespace) == nil })
        if channels.count + missing.count > limits.channels {
            throw Failure(
                .limitReached,
                "the broker knows \(channels.count) channels, its limit \"channels\" is \(limits.channels)"
            )
        }
    }

    /// Counts a group message that the shell kept for a session and that nobody comes for any more, as `owner_gone`.
    /// Before the session is closed.
    package mutating func lose(_ delivery: GroupDelivery, of session: SessionID, now: Instant) {
        guard let slot = slot(of: session) else { return }
        let namespace = sessions[slot].namespace
        guard let group = group(named: delivery.group, in: namespace),
            let members = groups[group].owners.first(where: { $0.session == slot })?.members.count
        else { return }
        let excluded = Set(delivery.exclude).count { name in
            guard let channel = channel(named: name, in: namespace) else { return false }
            return channels[channel].owner == slot && channels[channel].groups[group] != nil
        }
        drop(UInt64(members - excluded), .ownerGone, group: delivery.group, namespace, owner: slot, now)
    }
}
