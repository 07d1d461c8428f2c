import DequeModule
import FanfareModel

// SEND, RECEIVE, CANCEL and GIVE_BACK.
extension Core {
    mutating func send(
        _ body: Body,
        to name: String,
        _ options: SendOptions,
        from sender: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) -> Answer {
        try checkChannelName(name)
        counters.sends += 1
        let namespace = sessions[sender].namespace
        guard body.count <= limits.bodyBytes else {
            drop(1, .tooLarge, channel: name, namespaces[namespace].name)
            throw tooLarge(body)
        }
        let deadline = now.advanced(by: min(options.expiry ?? sessions[sender].policy.expiry, limits.expiryMaximum))
        guard deadline > now else {
            drop(1, .expired, channel: name, namespaces[namespace].name)
            return .acknowledge
        }
        let channel = try channelSlot(name, in: namespace, now)
        defer { removeIfIdle(channel) }
        channels[channel].messages += 1
        copyToTails(.channel, name, namespace, body, now, &effects)
        if let owner = channels[channel].owner {
            try checkOwnersRoom(for: body, in: channel, owner)
            push(body, until: deadline, to: channel, owner, now, &effects)
        } else {
            try accept(body, until: deadline, in: channel, capacityOf: sender, now, &effects)
        }
        return .acknowledge
    }

    /// Gives a message to a waiting receive or appends it to the queue of a channel nobody owns.
    ///
    /// - Throws: `channel_full`, counted as a drop.
    mutating func accept(
        _ body: Body,
        until deadline: Instant,
        in channel: ChannelSlot,
        capacityOf sender: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) {
        let message = QueuedMessage(body: body, order: lastOrder + 1, deadline: deadline, acceptedAt: now)
        if handOut(message, from: channel, now, &effects) {
            lastOrder += 1
            return
        }
        let capacity = sessions[sender].policy.capacity(of: channels[channel].name)
        if channels[channel].queue.count >= capacity {
            throw full(
                channel,
                "it holds \(channels[channel].queue.count) unread messages, its capacity is \(capacity)"
            )
        }
        if channels[channel].queuedBytes + body.count > limits.channelBytes {
            throw full(
                channel,
                "it holds \(channels[channel].queuedBytes) bytes, the limit \"channel_bytes\" is \(limits.channelBytes)"
            )
        }
        if queuedBytes + body.count > limits.queuedBytes {
            throw full(
                channel,
                "the broker holds \(queuedBytes) bytes, its limit \"queued_bytes\" is \(limits.queuedBytes)"
            )
        }
        lastOrder += 1
        enqueue(message, in: channel)
    }

    /// Whether a message may still be pushed to the owner of `channel`: capacity is the owner's, it keeps the messages.
    private mutating func checkOwnersRoom(
        for body: Body,
        in channel: ChannelSlot,
        _ owner: SessionSlot
    ) throws(Failure) {
        let isShared = sessions[owner].policy.capacityScope == .process
        let unread = isShared ? sessions[owner].unread : channels[channel].unread
        let capacity = sessions[owner].policy.capacity(of: channels[channel].name)
        if unread >= UInt64(capacity) {
            let holder = isShared ? "its process holds" : "it holds"
            throw full(channel, "\(holder) \(unread) unread messages, its capacity is \(capacity)")
        }
        if channels[channel].pushedBytes + body.count > limits.channelBytes {
            throw full(
                channel,
                "it holds \(channels[channel].pushedBytes) bytes, the limit \"channel_bytes\" is \(limits.channelBytes)"
            )
        }
    }

    private mutating func full(_ channel: ChannelSlot, _ why: String) -> Failure {
        drop(1, .full, channel)
        return Failure(.channelFull, "the channel \"\(channels[channel].name)\" is full: \(why)")
    }

    func tooLarge(_ body: Body) -> Failure {
        Failure(
            .messageTooLarge,
            "the message has \(body.count) bytes, the limit \"body_bytes\" is \(limits.bodyBytes)"
        )
    }

    // MARK: Receives

    mutating func receive(
        _ id: RequestID,
        _ name: String,
        _ count: Int,
        _ session: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) -> Answer {
        try checkChannelName(name)
        guard (1...65_535).contains(count) else {
            throw Failure(.badRequest, "RECEIVE: count is \(count), it must be 1 to 65535")
        }
        try checkReadable(name, session)
        guard sessions[session].receives[id] == nil, !sessions[session].tails.contains(id) else {
            throw Failure(.duplicateID, "the id \(id) still waits; choose another or CANCEL it")
        }
        guard sessions[session].receives.count < limits.receivesPerSession else {
            throw Failure(
                .limitReached,
                "this session waits \(limits.receivesPerSession) times, its limit \"receives_per_session\""
            )
        }
        let channel = try channelSlot(name, in: sessions[session].namespace, now)
        lastTicket += 1
        sessions[session].receives[id] = Receive(channel: channel, ticket: lastTicket, count: count)
        channels[channel].readers.append(Reader(session: session, id: id, ticket: lastTicket))
        channels[channel].waitingReaders += 1
        receives += 1
        while channels[channel].waitingReaders > 0, let message = dequeue(from: channel) {
            _ = handOut(message, from: channel, now, &effects)
        }
        removeIfIdle(channel)
        return .silence
    }

    private func checkReadable(_ name: String, _ session: SessionSlot) throws(Failure) {
        guard Names.node(of: name) != nil else { return }
        if owner(of: name, in: sessions[session].namespace) == session {
            throw Failure(
                .badRequest,
                "\"\(name)\" is a process channel of this session: its messages are pushed, not received"
            )
        }
        throw Failure(.notOwner, "\"\(name)\" is a process channel of another process; only its owner reads it")
    }

    /// Hands a message to the longest-waiting receive. Returns false when nobody waits.
    mutating func handOut(
        _ message: QueuedMessage,
        from channel: ChannelSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) -> Bool {
        while channels[channel].waitingReaders > 0, let reader = channels[channel].readers.popFirst() {
            guard let receive = waiting(reader) else { continue }
            if receive.count == 1 {
                sessions[reader.session].receives.removeValue(forKey: reader.id)
                channels[channel].waitingReaders -= 1
                receives -= 1
            } else {
                sessions[reader.session].receives[reader.id]?.count -= 1
                channels[channel].readers.append(reader)
            }
            counters.handOuts += 1
            let remaining = now.milliseconds(until: message.deadline)
            let handOut = HandOut(
                body: message.body,
                order: message.order,
                deadline: message.deadline,
                remaining: remaining
            )
            effects.reply(.handOut(reader.id, handOut), to: sessions[reader.session].id)
            return true
        }
        return false
    }

    /// The receive a place in the line stands for, or `nil` when it has been cancelled or its session is gone.
    private func waiting(_ reader: Reader) -> Receive? {
        guard sessions.contains(reader.session) else { return nil }
        guard let receive = sessions[reader.session].receives[reader.id], receive.ticket == reader.ticket else {
            return nil
        }
        return receive
    }

    mutating func cancel(_ target: RequestID, _ session: SessionSlot) -> Answer {
        if let receive = sessions[session].receives.removeValue(forKey: target) { leave(receive) }
        removeTail(target, of: session)
        return .acknowledge
    }

    /// Takes a receive, already removed from its session, out of its channel's line.
    mutating func leave(_ receive: Receive) {
        let channel = receive.channel
        channels[channel].waitingReaders -= 1
        receives -= 1
        // Its place in the line is skipped when its turn comes; when places without receives prevail, they are swept.
        if channels[channel].readers.count > 2 * channels[channel].waitingReaders + 16 {
            let live = channels[channel].readers.filter { waiting($0) != nil }
            channels[channel].readers = live
        }
        removeIfIdle(channel)
    }

    mutating func giveBack(
        _ message: GivenBack,
        to name: String,
        _ session: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) -> Answer {
        try checkChannelName(name)
        let namespace = sessions[session].namespace
        guard Names.node(of: name) == nil else {
            throw Failure(
                .badRequest,
                "GIVE_BACK: \"\(name)\" is a process channel; only what RECEIVE handed out goes back"
            )
        }
        guard message.body.count <= limits.bodyBytes else { throw tooLarge(message.body) }
        let deadline = min(message.deadline, now.advanced(by: limits.expiryMaximum))
        guard deadline > now else {
            drop(1, .expired, channel: name, namespaces[namespace].name)
            return .acknowledge
        }
        let channel = try channelSlot(name, in: namespace, now)
        let queued = QueuedMessage(
            body: message.body,
            // An order nobody gave must not pass what is still to come: each send would have to look for its place.
            order: min(message.order, lastOrder),
            deadline: deadline,
            acceptedAt: now
        )
        if !handOut(queued, from: channel, now, &effects) { enqueue(queued, in: channel) }
        removeIfIdle(channel)
        return .acknowledge
    }
}
