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

    // Inlined, like others that only read: a call would copy the core, which is large, onto the stack.
    @inline(__always)
    func channel(named name: String, in namespace: NamespaceSlot) -> ChannelSlot? {
        channel(named: name, NameTable<Channel>.hash(name), in: namespace)
    }

    @inline(__always)
    func channel(named name: String, _ hash: UInt32, in namespace: NamespaceSlot) -> ChannelSlot? {
        namespaces[namespace].channels.find(name, hash, in: channels)
    }

    /// The channel of that name, made if it does not exist.
    mutating func channelSlot(_ name: String, in namespace: NamespaceSlot) throws(Failure) -> ChannelSlot {
        try channelSlot(name, NameTable<Channel>.hash(name), in: namespace)
    }

    mutating func channelSlot(
        _ name: String,
        _ hash: UInt32,
        in namespace: NamespaceSlot
    ) throws(Failure) -> ChannelSlot {
        if let slot = channel(named: name, hash, in: namespace) { return slot }
        guard channels.count < limits.channels else {
            throw Failure(.limitReached, "the broker knows \(limits.channels) channels, its limit \"channels\"")
        }
        return makeChannel(name, hash, in: namespace)
    }

    /// Makes a channel that does not exist; its owner is the live session of its node.
    mutating func makeChannel(_ name: String, _ hash: UInt32, in namespace: NamespaceSlot) -> ChannelSlot {
        let slot = channels.insert(Channel(name: name, hash: hash, namespace: namespace))
        namespaces[namespace].channels.insert(slot, hash)
        if let node = Names.node(of: name).map(String.init) {
            if let owner = namespaces[namespace].owners[node] {
                channels[slot].owner = owner
                channels.append(slot, to: &sessions[owner].channels)
            } else {
                channels.append(slot, to: &namespaces[namespace].unowned[node, default: Chain()])
            }
        }
        return slot
    }

    /// The mailbox of a channel. Reading finds an empty one where there is none; changing makes one.
    subscript(mailbox channel: ChannelSlot) -> Mailbox {
        _read { yield mailboxes[channels[channel].mailbox] }
        _modify {
            if channels[channel].mailbox == .none { channels[channel].mailbox = mailboxes.insert(Mailbox()) }
            yield &mailboxes[channels[channel].mailbox]
        }
    }

    @inline(__always)
    func isIdle(_ channel: ChannelSlot) -> Bool {
        channels[channel].groups.isEmpty && channels[channel].attributes == nil && self[mailbox: channel].isIdle
    }

    /// Forgets a channel nothing needs any more.
    mutating func removeIfIdle(_ channel: ChannelSlot) {
        guard isIdle(channel) else { return }
        let namespace = channels[channel].namespace
        namespaces[namespace].channels.remove(channel, channels[channel].hash)
        if let owner = channels[channel].owner {
            channels.unlink(channel, from: &sessions[owner].channels)
        } else if let node = Names.node(of: channels[channel].name).map(String.init) {
            channels.unlink(channel, from: &namespaces[namespace].unowned[node, default: Chain()])
            if namespaces[namespace].unowned[node]?.isEmpty == true { namespaces[namespace].unowned[node] = nil }
        }
        let mailbox = channels[channel].mailbox
        if mailbox != .none {
            deadlines.cancel(&mailboxes[mailbox].timer)
            mailboxes.remove(mailbox)
        }
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
        leaveGroups(channel)
        drop(UInt64(self[mailbox: channel].pushed.count), .ownerGone, channel, now)
        emptyOwnersBuffer(of: channel)
        channels[channel].attributes = nil
    }

    /// Counts messages of `channel` that will not be read.
    mutating func drop(_ count: UInt64, _ reason: DropReason, _ channel: ChannelSlot, _ now: Instant) {
        guard count > 0 else { return }
        self[mailbox: channel].drops &+= count
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
        if let owner { sessions[owner].drops = sessions[owner].drops.addingClamped(count) }
        if kind == .group { noteDrops(count, ofGroup: name, namespace) }
        let key = DropLog.Key(
            namespace: namespaces[namespace].name,
            kind: kind,
            name: name,
            worker: owner.map { sessions[$0].hello.name } ?? "",
            reason: reason
        )
        dropLog.add(count, key, at: now)
    }

    /// Counts messages that did not reach members of a group, if there still is one of that name.
    mutating func noteDrops(_ count: UInt64, ofGroup name: String, _ namespace: NamespaceSlot) {
        guard let group = group(named: name, in: namespace) else { return }
        groups[group].drops = groups[group].drops.addingClamped(count)
    }

    // MARK: Queues

    mutating func enqueue(_ message: QueuedMessage, in channel: ChannelSlot) {
        // Given-back messages are the only ones that do not belong at the end.
        var index = self[mailbox: channel].queue.count
        if let last = self[mailbox: channel].queue.last, last.order > message.order {
            index = self[mailbox: channel].queue.firstIndex { $0.order > message.order } ?? index
        }
        self[mailbox: channel].queue.insert(message, at: index)
        self[mailbox: channel].queuedBytes += message.content.bytes
        noteDepth(self[mailbox: channel].noteDepth())
        queuedMessages += 1
        queuedBytes += message.content.bytes
        if queuedMessages > queuedMessagesHigh { queuedMessagesHigh = queuedMessages }
        if queuedBytes > queuedBytesHigh { queuedBytesHigh = queuedBytes }
        // An armed deadline is kept when the queue runs empty, so a busy channel does not touch the heap per message.
        if deadlines[self[mailbox: channel].timer].map({ message.deadline < $0 }) ?? true {
            let mailbox = channels[channel].mailbox
            deadlines.set(&mailboxes[mailbox].timer, of: .queue(channel), to: message.deadline)
        }
    }

    @inline(__always)
    private mutating func noteDepth(_ depth: UInt64) {
        if depth > depthHigh { depthHigh = depth }
    }

    mutating func dequeue(from channel: ChannelSlot) -> QueuedMessage? {
        guard !self[mailbox: channel].queue.isEmpty else { return nil }
        let message = self[mailbox: channel].queue.removeFirst()
        self[mailbox: channel].queuedBytes -= message.content.bytes
        queuedMessages -= 1
        queuedBytes -= message.content.bytes
        return message
    }

    mutating func emptyQueue(of channel: ChannelSlot) {
        guard !self[mailbox: channel].queue.isEmpty else { return }
        queuedMessages -= self[mailbox: channel].queue.count
        queuedBytes -= self[mailbox: channel].queuedBytes
        self[mailbox: channel].queue.removeAll()
        self[mailbox: channel].queuedBytes = 0
    }

    /// Drops what has expired, and with it the channel's memberships: nobody reads it. Arms the next deadline.
    mutating func expireMessages(of channel: ChannelSlot, _ now: Instant, _ effects: inout Effects) {
        let mailbox = channels[channel].mailbox
        let before = mailboxes[mailbox].queue.count
        var bytes = 0
        mailboxes[mailbox].queue.removeAll { message in
            guard message.deadline <= now else { return false }
            bytes += message.content.bytes
            return true
        }
        mailboxes[mailbox].queuedBytes -= bytes
        queuedBytes -= bytes
        let expired = before - mailboxes[mailbox].queue.count
        queuedMessages -= expired
        if expired > 0 {
            drop(UInt64(expired), .expired, channel, now)
            leaveGroups(channel)
        }
        if let next = mailboxes[mailbox].queue.lazy.map(\.deadline).min() {
            deadlines.set(&mailboxes[mailbox].timer, of: .queue(channel), to: next)
        } else {
            deadlines.cancel(&mailboxes[mailbox].timer)
        }
        removeIfIdle(channel)
    }

    // MARK: What owners hold

    /// Sends a message on its way to the owner of `channel` and counts it as unread until the owner reports.
    mutating func push(
        _ content: Content,
        until deadline: Instant,
        to channel: ChannelSlot,
        _ owner: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) {
        tellGaps(of: channel, owner, &effects)
        let bytes = content.bytes
        self[mailbox: channel].pushed.append(PushedMessage(bytes: bytes, acceptedAt: now))
        self[mailbox: channel].pushedBytes += bytes
        noteDepth(self[mailbox: channel].noteDepth())
        sessions[owner].unread += 1
        counters.delivers += 1
        let remaining = now.milliseconds(until: deadline)
        effects.reply(
            .deliver(
                channel: channels[channel].name,
                body: content.body,
                remaining: remaining,
                trace: content.trace
            ),
            to: sessions[owner].id
        )
    }

    /// Tells the owner of `channel` what it missed there, at this place of its stream.
    mutating func tellGaps(of channel: ChannelSlot, _ owner: SessionSlot, _ effects: inout Effects) {
        guard !self[mailbox: channel].missed.isEmpty else { return }
        counters.gaps += UInt64(self[mailbox: channel].missed.count)
        for missed in self[mailbox: channel].missed {
            let gap = Gap(name: channels[channel].name, count: missed.count, reason: missed.reason)
            effects.reply(.gap(gap), to: sessions[owner].id)
        }
        self[mailbox: channel].missed.removeAll()
    }

    /// Forgets up to `count` pushed messages the owner's readers took.
    mutating func take(_ count: UInt64, from channel: ChannelSlot) {
        let taken = Int(min(count, UInt64(self[mailbox: channel].pushed.count)))
        guard taken > 0 else { return }
        self[mailbox: channel].pushedBytes -= self[mailbox: channel].pushed.prefix(taken).reduce(0) { $0 + $1.bytes }
        self[mailbox: channel].pushed.removeFirst(taken)
        if let owner = channels[channel].owner { sessions[owner].unread -= UInt64(taken) }
    }

    /// Sets how many group messages wait unread in the owner's buffer.
    mutating func hold(_ count: UInt64, in channel: ChannelSlot) {
        // A count beyond any capacity says no more than the largest capacity does, and cannot overflow the sum.
        let (old, held) = (self[mailbox: channel].held, min(count, UInt64(limits.capacityMaximum)))
        guard held != old else { return }
        if let owner = channels[channel].owner { sessions[owner].unread = sessions[owner].unread - old + held }
        self[mailbox: channel].held = held
        noteDepth(self[mailbox: channel].noteDepth())
    }

    /// Forgets what waits at the owner of `channel` or was missed there.
    mutating func emptyOwnersBuffer(of channel: ChannelSlot) {
        take(.max, from: channel)
        hold(0, in: channel)
        if !self[mailbox: channel].missed.isEmpty { self[mailbox: channel].missed.removeAll() }
    }
}
