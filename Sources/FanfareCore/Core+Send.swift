import DequeModule
import FanfareModel

// SEND, RECEIVE, CANCEL and GIVE_BACK.
extension Core {
    mutating func send(
        _ body: Body,
        to name: String,
        _ options: SendOptions,
        isAnswered: Bool,
        from sender: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) -> Answer {
        let namespace = sessions[sender].namespace
        // What is known by its name has a good one.
        let known = channel(named: name, in: namespace)
        if known == nil { try checkChannelName(name) }
        counters.sends += 1
        guard body.count <= limits.bodyBytes else {
            drop(1, .tooLarge, channel: name, namespace, now)
            throw tooLarge(body)
        }
        let deadline = deadline(options.expiry, from: sender, now)
        guard deadline > now else {
            drop(1, .expired, channel: name, namespace, now)
            return .acknowledge
        }
        let channel = if let known { known } else { try channelSlot(name, in: namespace) }
        // A channel may have come into being for a message that was then refused.
        defer { removeIfIdle(channel) }
        noteMessage(for: channel, now)
        copyToTails(.channel, name, namespace, body, now, &effects)
        let content = Content(body: body, trace: options.trace)
        if let owner = channels[channel].owner {
            try offer(content, until: deadline, to: channel, owner, isAnswered: isAnswered, now, &effects)
        } else {
            _ = try accept(content, until: deadline, in: channel, policyOf: sender, now, &effects)
        }
        return .acknowledge
    }

    @inline(__always)
    mutating func noteMessage(for channel: ChannelSlot, _ now: Instant) {
        self[mailbox: channel].messages += 1
        self[mailbox: channel].rate.count(at: now)
    }

    /// Why a channel cannot take a message, and the name of that in the counters.
    private struct Refusal {
        var reason = DropReason.full
        var why: String
        /// Whether the whole broker is at its bound: no message of this channel can make room.
        var isOfMemory = false
    }

    @inline(__always)
    private mutating func refusalOfMemory(for content: Content) -> Refusal? {
        guard exceedsMemory(with: content.bytes) else { return nil }
        counters.memoryRefusals += 1
        return Refusal(why: whyNoMemory, isOfMemory: true)
    }

    // MARK: Channels nobody owns

    /// Gives a message to a waiting receive or appends it to the queue of a channel nobody owns.
    ///
    /// - Returns: Whether the message is there; false when the overflow policy let it fall.
    /// - Throws: `channel_full`, counted as a drop.
    mutating func accept(
        _ content: Content,
        until deadline: Instant,
        in channel: ChannelSlot,
        policyOf sender: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) -> Bool {
        if let refusal = refusalOfMemory(for: content) {
            drop(1, refusal.reason, channel, now)
            switch sessions[sender].policy.overflow(of: channels[channel].name) {
            case .dropOldest, .dropNewest: return false
            default: throw full(channel, refusal)
            }
        }
        let message = QueuedMessage(content: content, order: lastOrder + 1, deadline: deadline, acceptedAt: now)
        if handOut(message, from: channel, now, &effects) {
            lastOrder += 1
            return true
        }
        while let refusal = refusalOfQueue(for: content, in: channel, policyOf: sender) {
            switch sessions[sender].policy.overflow(of: channels[channel].name) {
            case .dropOldest where self[mailbox: channel].queue.count > 0:
                _ = dequeue(from: channel)
                drop(1, refusal.reason, channel, now)
            case .dropNewest:
                drop(1, refusal.reason, channel, now)
                return false
            default:
                drop(1, refusal.reason, channel, now)
                throw full(channel, refusal)
            }
        }
        lastOrder += 1
        enqueue(message, in: channel)
        return true
    }

    @inline(__always)
    private func refusalOfQueue(
        for content: Content,
        in channel: ChannelSlot,
        policyOf sender: SessionSlot
    ) -> Refusal? {
        let count = self[mailbox: channel].queue.count
        let capacity = capacity(of: channel, policyOf: sender)
        guard count < capacity else {
            return Refusal(why: "it holds \(count) unread messages, its capacity is \(capacity)")
        }
        return refusalOfBytes(for: content, in: channel)
    }

    @inline(__always)
    private func refusalOfBytes(for content: Content, in channel: ChannelSlot) -> Refusal? {
        let bytes = self[mailbox: channel].queuedBytes
        if bytes + content.bytes > limits.channelBytes {
            return Refusal(why: "it holds \(bytes) bytes, the limit \"channel_bytes\" is \(limits.channelBytes)")
        }
        if queuedBytes + content.bytes > limits.queuedBytes {
            let why = "the broker holds \(queuedBytes) bytes, its limit \"queued_bytes\" is \(limits.queuedBytes)"
            return Refusal(why: why)
        }
        return nil
    }

    // MARK: Process channels

    /// Pushes a message to the owner of `channel`, or does what the owner's overflow policy says.
    private mutating func offer(
        _ content: Content,
        until deadline: Instant,
        to channel: ChannelSlot,
        _ owner: SessionSlot,
        isAnswered: Bool,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) {
        guard let refusal = refusalOfOwner(for: content, in: channel, owner) ?? refusalOfMemory(for: content) else {
            return push(content, until: deadline, to: channel, owner, now, &effects)
        }
        var overflow = sessions[owner].policy.overflow(of: channels[channel].name)
        if refusal.isOfMemory {
            switch overflow {
            case .dropOldest: overflow = .dropNewest
            case .disconnect: overflow = .reject
            case .dropNewest, .reject: break
            }
        }
        if overflow == .dropOldest, refusal.reason == .full, hasMargin(channel, owner) {
            // The owner holds the oldest message and lets it fall when this one arrives.
            return push(content, until: deadline, to: channel, owner, now, &effects)
        }
        drop(1, refusal.reason, channel, now)
        switch overflow {
        case .dropOldest, .dropNewest:
            self[mailbox: channel].missed.add(1, refusal.reason)
        case .reject:
            // Who gets an answer knows, and may send again: that is no hole in what the owner was sent.
            if !isAnswered { self[mailbox: channel].missed.add(1, refusal.reason) }
            throw full(channel, refusal)
        case .disconnect:
            let failure = full(channel, refusal)
            let gap = Gap(name: channels[channel].name, count: 1, reason: refusal.reason, isClosed: true)
            counters.gaps += 1
            clear(channel, now)
            effects.reply(.gap(gap), to: sessions[owner].id)
            throw failure
        }
    }

    /// Why nothing may be pushed to the owner of `channel` now: the capacity is the owner's, it keeps the messages.
    @inline(__always)
    private func refusalOfOwner(for content: Content, in channel: ChannelSlot, _ owner: SessionSlot) -> Refusal? {
        if sessions[owner].isCongested {
            return Refusal(reason: .linkOverflow, why: "its process does not read what it is sent")
        }
        let isShared = sessions[owner].policy.capacityScope == .process
        let unread = isShared ? sessions[owner].unread : self[mailbox: channel].unread
        let capacity = capacity(of: channel, policyOf: owner)
        if unread >= UInt64(capacity) {
            let holder = isShared ? "its process holds" : "it holds"
            return Refusal(why: "\(holder) \(unread) unread messages, its capacity is \(capacity)")
        }
        let bytes = self[mailbox: channel].pushedBytes
        if bytes + content.bytes > limits.channelBytes {
            return Refusal(why: "it holds \(bytes) bytes, the limit \"channel_bytes\" is \(limits.channelBytes)")
        }
        return nil
    }

    /// Whether an owner that drops its oldest messages may be sent one more: as many again as its capacity, so that
    /// one that has stopped is not sent messages without end.
    private func hasMargin(_ channel: ChannelSlot, _ owner: SessionSlot) -> Bool {
        let capacity = sessions[owner].policy.capacity(of: channels[channel].name)
        let (unread, bytes) = (self[mailbox: channel].unread, self[mailbox: channel].pushedBytes)
        return unread < 2 * UInt64(capacity) && bytes < limits.channelBytes
    }

    private func full(_ channel: ChannelSlot, _ refusal: Refusal) -> Failure {
        Failure(.channelFull, "the channel \"\(channels[channel].name)\" is full: \(refusal.why)")
    }

    /// Unread messages `channel` may hold. Few policies look at the name.
    @inline(__always)
    private func capacity(of channel: ChannelSlot, policyOf session: SessionSlot) -> Int {
        guard !sessions[session].policy.channelCapacity.isEmpty else { return sessions[session].policy.capacity }
        return sessions[session].policy.capacity(of: channels[channel].name)
    }

    /// When a message of `sender` expires: the life it asks for, else its policy's, cut to the broker's longest.
    @inline(__always)
    func deadline(_ expiry: Milliseconds?, from sender: SessionSlot, _ now: Instant) -> Instant {
        now.advanced(by: min(expiry ?? sessions[sender].policy.expiry, limits.expiryMaximum))
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
        let known = channel(named: name, in: sessions[session].namespace)
        if known == nil { try checkChannelName(name) }
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
        let channel = if let known { known } else { try channelSlot(name, in: sessions[session].namespace) }
        lastTicket += 1
        sessions[session].receives[id] = Receive(channel: channel, ticket: lastTicket, count: count)
        self[mailbox: channel].readers.append(Reader(session: session, id: id, ticket: lastTicket))
        self[mailbox: channel].waitingReaders += 1
        receives += 1
        while self[mailbox: channel].waitingReaders > 0, let message = dequeue(from: channel) {
            _ = handOut(message, from: channel, now, &effects)
        }
        removeIfIdle(channel)
        return .silence
    }

    @inline(__always)
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
        while self[mailbox: channel].waitingReaders > 0, let reader = self[mailbox: channel].readers.popFirst() {
            guard let receive = waiting(reader) else { continue }
            if receive.count == 1 {
                sessions[reader.session].receives.removeValue(forKey: reader.id)
                self[mailbox: channel].waitingReaders -= 1
                receives -= 1
            } else {
                sessions[reader.session].receives[reader.id]?.count -= 1
                self[mailbox: channel].readers.append(reader)
            }
            counters.handOuts += 1
            noteHandOut(of: channel, until: message.deadline, to: reader.session, now)
            let remaining = now.milliseconds(until: message.deadline)
            let handOut = HandOut(
                body: message.content.body,
                order: message.order,
                deadline: message.deadline,
                remaining: remaining,
                trace: message.content.trace
            )
            effects.reply(.handOut(reader.id, handOut), to: sessions[reader.session].id)
            return true
        }
        return false
    }

    /// The receive a place in the line stands for, or `nil` when it has been cancelled or its session is gone.
    @inline(__always)
    func waiting(_ reader: Reader) -> Receive? {
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
        self[mailbox: channel].waitingReaders -= 1
        receives -= 1
        // Its place in the line is skipped when its turn comes; when places without receives prevail, they are swept.
        if self[mailbox: channel].readers.count > 2 * self[mailbox: channel].waitingReaders + 16 {
            let live = self[mailbox: channel].readers.filter { waiting($0) != nil }
            self[mailbox: channel].readers = live
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
        guard message.body.count <= limits.bodyBytes else {
            drop(1, .tooLarge, channel: name, namespace, now)
            throw tooLarge(message.body)
        }
        let hash = NameTable<Channel>.hash(name)
        guard message.deadline > now else {
            noteGivenBack(hash, from: session, now)
            drop(1, .expired, channel: name, namespace, now)
            return .acknowledge
        }
        guard let limit = sessions[session].handedOut.limit(of: hash, now) else {
            throw Failure(.notFound, "GIVE_BACK: this session holds no message that \"\(name)\" handed out to it")
        }
        let channel = try channelSlot(name, in: namespace)
        let queued = QueuedMessage(
            content: Content(body: message.body, trace: message.trace),
            // An order nobody gave must not pass what is still to come: each send would have to look for its place.
            order: min(message.order, lastOrder),
            deadline: min(message.deadline, limit),
            acceptedAt: now
        )
        defer { removeIfIdle(channel) }
        if handOut(queued, from: channel, now, &effects) {
            noteGivenBack(hash, from: session, now)
            return .acknowledge
        }
        // It goes back whatever the capacity, but what waits here must fit the memory all the same.
        if let refusal = refusalOfBytes(for: queued.content, in: channel) {
            drop(1, refusal.reason, channel, now)
            throw full(channel, refusal)
        }
        noteGivenBack(hash, from: session, now)
        enqueue(queued, in: channel)
        return .acknowledge
    }
}
