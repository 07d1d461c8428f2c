import DequeModule
import FanfareModel

// The channel table: finding, making, filling, emptying and forgetting channels.
extension Core {
    func checkChannelName(_ name: String) throws(Failure) {
        guard Names.isChannel(name, limits) else {
            throw Failure(
                .badName,
                "\"\(name)\" is no channel name: 1 to \(limits.nameBytes) of A-Z a-z 0-9 . - _, at most one !"
            )
        }
    }

    func checkGroupName(_ name: String) throws(Failure) {
        guard Names.isGroup(name, limits) else {
            throw Failure(.badName, "\"\(name)\" is no group name: 1 to \(limits.nameBytes) of A-Z a-z 0-9 . - _")
        }
    }

    /// The live session that owns `name` by its node, whether or not the channel exists.
    func owner(of name: String, in namespace: NamespaceSlot) -> SessionSlot? {
        Names.node(of: name).flatMap { namespaces[namespace].owners[String($0)] }
    }

    /// The channel of that name, made if it does not exist.
    mutating func channelSlot(
        _ name: String,
        in namespace: NamespaceSlot,
        _ now: Instant
    ) throws(Failure) -> ChannelSlot {
        if let slot = namespaces[namespace].channels[name] { return slot }
        guard channels.count < limits.channels else {
            throw Failure(.limitReached, "the broker knows \(limits.channels) channels, its limit \"channels\"")
        }
        lastChannel += 1
        let slot = channels.insert(
            Channel(name: name, namespace: namespace, openedAt: now, number: lastChannel)
        )
        namespaces[namespace].channels[name] = slot
        if let node = Names.node(of: name).map(String.init) {
            if let owner = namespaces[namespace].owners[node] {
                channels[slot].owner = owner
                sessions[owner].channels.insert(slot)
            } else {
                namespaces[namespace].unowned[node, default: []].insert(slot)
            }
        }
        return slot
    }

    /// Forgets a channel nothing needs any more.
    mutating func removeIfIdle(_ channel: ChannelSlot) {
        guard channels[channel].isIdle else { return }
        let (name, namespace, owner) = (channels[channel].name, channels[channel].namespace, channels[channel].owner)
        namespaces[namespace].channels.removeValue(forKey: name)
        if let owner {
            sessions[owner].channels.remove(channel)
        } else if let node = Names.node(of: name).map(String.init) {
            namespaces[namespace].unowned[node]?.remove(channel)
            if namespaces[namespace].unowned[node]?.isEmpty == true { namespaces[namespace].unowned[node] = nil }
        }
        deadlines.remove(.queue(channel))
        channels.remove(channel)
        removeIfIdle(namespace)
    }

    /// Forgets an owned channel with all it has: memberships, declaration, and messages on their way as `owner_gone`.
    mutating func forget(_ channel: ChannelSlot, _ now: Instant) {
        clear(channel, now)
        removeIfIdle(channel)
    }

    /// Takes everything from an owned channel, so that nothing needs it any more.
    mutating func clear(_ channel: ChannelSlot, _ now: Instant) {
        for group in channels[channel].groups { removeMembership(of: channel, from: group) }
        channels[channel].groups.removeAll()
        drop(UInt64(channels[channel].pushed.count), .ownerGone, channel, now)
        take(UInt64.max, from: channel)
        hold(0, in: channel)
        channels[channel].isDeclared = false
        channels[channel].missed.removeAll()
    }

    /// Counts messages of `channel` that will not be read.
    mutating func drop(_ count: UInt64, _ reason: DropReason, _ channel: ChannelSlot, _ now: Instant) {
        guard count > 0 else { return }
        channels[channel].drops &+= count
        drop(count, reason, channel: channels[channel].name, channels[channel].namespace, now)
    }

    /// Counts messages for a channel that need not exist.
    mutating func drop(
        _ count: UInt64,
        _ reason: DropReason,
        channel: String,
        _ namespace: NamespaceSlot,
        _ now: Instant
    ) {
        let owner = owner(of: channel, in: namespace)
        record(count, reason, .channel, channel, namespace, owner, now)
    }

    /// Counts messages that did not reach members of a group; `owner` is the process that missed them, if it was one.
    mutating func drop(
        _ count: UInt64,
        _ reason: DropReason,
        group: String,
        _ namespace: NamespaceSlot,
        owner: SessionSlot? = nil,
        _ now: Instant
    ) {
        record(count, reason, .group, group, namespace, owner, now)
    }

    private mutating func record(
        _ count: UInt64,
        _ reason: DropReason,
        _ kind: DropLog.Kind,
        _ name: String,
        _ namespace: NamespaceSlot,
        _ owner: SessionSlot?,
        _ now: Instant
    ) {
        guard count > 0 else { return }
        let sentTo: DropClass = kind == .group ? .group : Names.node(of: name) == nil ? .normal : .process
        counters[drop: reason, sentTo] = counters[drop: reason, sentTo].addingClamped(count)
        let key = DropLog.Key(
            namespace: namespaces[namespace].name,
            kind: kind,
            name: name,
            worker: owner.map { sessions[$0].hello.name } ?? "",
            reason: reason
        )
        dropLog.add(count, key, at: now)
    }

    // MARK: Queues

    mutating func enqueue(_ message: QueuedMessage, in channel: ChannelSlot) {
        // Given-back messages are the only ones that do not belong at the end.
        var index = channels[channel].queue.count
        if let last = channels[channel].queue.last, last.order > message.order {
            index = channels[channel].queue.firstIndex { $0.order > message.order } ?? index
        }
        channels[channel].queue.insert(message, at: index)
        channels[channel].queuedBytes += message.body.count
        queuedMessages += 1
        queuedBytes += message.body.count
        // An armed deadline is kept when the queue runs empty, so a busy channel does not touch the heap per message.
        if deadlines[.queue(channel)].map({ message.deadline < $0 }) ?? true {
            deadlines.set(.queue(channel), to: message.deadline)
        }
    }

    mutating func dequeue(from channel: ChannelSlot) -> QueuedMessage? {
        guard let message = channels[channel].queue.popFirst() else { return nil }
        channels[channel].queuedBytes -= message.body.count
        queuedMessages -= 1
        queuedBytes -= message.body.count
        return message
    }

    mutating func emptyQueue(of channel: ChannelSlot) {
        queuedMessages -= channels[channel].queue.count
        queuedBytes -= channels[channel].queuedBytes
        channels[channel].queue.removeAll()
        channels[channel].queuedBytes = 0
    }

    /// Drops what has expired, and with it the channel's memberships: nobody reads it. Arms the next deadline.
    mutating func expireMessages(of channel: ChannelSlot, _ now: Instant, _ effects: inout Effects) {
        let before = channels[channel].queue.count
        var bytes = 0
        channels[channel].queue.removeAll { message in
            guard message.deadline <= now else { return false }
            bytes += message.body.count
            return true
        }
        channels[channel].queuedBytes -= bytes
        queuedBytes -= bytes
        let expired = before - channels[channel].queue.count
        queuedMessages -= expired
        if expired > 0 {
            drop(UInt64(expired), .expired, channel, now)
            for group in channels[channel].groups { removeMembership(of: channel, from: group) }
            channels[channel].groups.removeAll()
        }
        if let next = channels[channel].queue.lazy.map(\.deadline).min() {
            deadlines.set(.queue(channel), to: next)
        }
        removeIfIdle(channel)
    }

    // MARK: What owners hold

    /// Sends a message on its way to the owner of `channel` and counts it as unread until the owner reports.
    mutating func push(
        _ body: Body,
        until deadline: Instant,
        to channel: ChannelSlot,
        _ owner: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) {
        tellGaps(of: channel, owner, &effects)
        channels[channel].pushed.append(PushedMessage(bytes: body.count, acceptedAt: now))
        channels[channel].pushedBytes += body.count
        sessions[owner].unread += 1
        counters.delivers += 1
        let remaining = now.milliseconds(until: deadline)
        effects.reply(
            .deliver(channel: channels[channel].name, body: body, remaining: remaining),
            to: sessions[owner].id
        )
    }

    /// Tells the owner of `channel` what it missed there, at this place of its stream.
    mutating func tellGaps(of channel: ChannelSlot, _ owner: SessionSlot, _ effects: inout Effects) {
        guard !channels[channel].missed.isEmpty else { return }
        for missed in channels[channel].missed {
            let gap = Gap(name: channels[channel].name, count: missed.count, reason: missed.reason)
            effects.reply(.gap(gap), to: sessions[owner].id)
        }
        channels[channel].missed.removeAll()
    }

    /// Forgets up to `count` pushed messages the owner's readers took.
    mutating func take(_ count: UInt64, from channel: ChannelSlot) {
        let taken = Int(min(count, UInt64(channels[channel].pushed.count)))
        channels[channel].pushedBytes -= channels[channel].pushed.prefix(taken).reduce(0) { $0 + $1.bytes }
        channels[channel].pushed.removeFirst(taken)
        if let owner = channels[channel].owner { sessions[owner].unread -= UInt64(taken) }
    }

    /// Sets how many group messages wait unread in the owner's buffer.
    mutating func hold(_ count: UInt64, in channel: ChannelSlot) {
        // A count beyond any capacity says no more than the largest capacity does, and cannot overflow the sum.
        let held = min(count, UInt64(limits.capacityMaximum))
        if let owner = channels[channel].owner {
            sessions[owner].unread = sessions[owner].unread - channels[channel].held + held
        }
        channels[channel].held = held
    }
}
