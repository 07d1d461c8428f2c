import DequeModule
package import FanfareModel

// A core made of what another one knew.
extension Core {
    /// Goes on where another core stopped: what that one would have done next, this one does.
    ///
    /// Sessions keep their numbers, not their places; ``liveSessions`` has them. Limits bound what comes, not what is
    /// there already. A state may come from a file: all of it is checked.
    ///
    /// - Parameters:
    ///   - moment: When the state was taken, on the clock of this core. What has ended since then ends with the first
    ///     call.
    /// - Throws: ``CoreState/Contradiction`` when the state contradicts itself.
    package init(
        restoring state: CoreState,
        limits: Limits,
        broker: String,
        at moment: Instant
    ) throws(CoreState.Contradiction) {
        self.init(limits: limits, epoch: state.epoch, broker: broker)
        lastSession = state.lastSession
        lastOrder = state.lastOrder
        lastToken = state.lastToken
        var spaces: [NamespaceSlot] = []
        for name in state.namespaces {
            try Self.require(Names.isGroup(name, limits) && namespaceSlots[name] == nil, "namespace", name)
            spaces.append(namespaceSlot(name))
        }
        for session in state.sessions { try restore(session, moment) }
        var places: [ChannelSlot] = []
        places.reserveCapacity(state.channels.count)
        for channel in state.channels { places.append(try restore(channel, in: spaces, moment)) }
        try restore(state.groups, of: places, in: spaces, moment)
        for collection in state.collections { try restore(collection, moment) }
        for place in places { removeIfIdle(place) }
        for space in spaces where namespaces.contains(space) { removeIfIdle(space) }
        nextDeadline = deadlines.earliest
    }

    private static func require(
        _ holds: Bool,
        _ kind: String,
        _ name: @autoclosure () -> String
    ) throws(CoreState.Contradiction) {
        guard holds else { throw CoreState.Contradiction(text: "\(kind) \"\(name())\" contradicts the rest") }
    }

    private mutating func restore(_ state: CoreState.Session, _ moment: Instant) throws(CoreState.Contradiction) {
        let hello = state.hello
        let last = sessions.count == 0 ? 0 : sessions[SessionSlot(index: UInt32(sessions.count - 1))].id.value
        let isKnown = namespaceSlots[hello.namespace] != nil && !hello.client.isEmpty && !hello.name.isEmpty
        // Every session comes with the next number: their places are as many as there are.
        let isInOrder = state.number > last && state.number <= lastSession
        try Self.require(isKnown && isInOrder && state.flushing ?? 0 <= lastToken, "session", "\(state.number)")
        let namespace = namespaceSlot(hello.namespace)
        let slot = sessions.insert(
            Session(
                id: SessionID(state.number, place: sessions.vacancy.index),
                hello: hello,
                policy: hello.policy.capped(by: limits),
                namespace: namespace,
                openedAt: moment.before(byNanoseconds: state.age)
            )
        )
        sessions[slot].flushing = state.flushing
        sessions[slot].isCongested = state.isCongested
        for missed in state.missed { sessions[slot].missed.add(missed.count, missed.reason) }
        let until = moment.advanced(byNanoseconds: state.handedOutLife)
        sessions[slot].handedOut.addOfEarlierStart(state.handedOut, until: until, moment)
        count(hello.role, 1)
        namespaces[namespace].sessions += 1
        guard let node = hello.node else { return }
        let isFree = Names.isNode(node, limits) && namespaces[namespace].owners[node] == nil
        try Self.require(isFree, "node", node)
        namespaces[namespace].owners[node] = slot
    }

    /// The place of a restored session: they were inserted one after the other.
    private func sessionSlot(_ index: Int) -> SessionSlot? {
        (0..<sessions.count).contains(index) ? SessionSlot(index: UInt32(index)) : nil
    }

    // MARK: Channels

    private mutating func restore(
        _ state: CoreState.Channel,
        in spaces: [NamespaceSlot],
        _ moment: Instant
    ) throws(CoreState.Contradiction) -> ChannelSlot {
        let isNamed = spaces.indices.contains(state.namespace) && Names.isChannel(state.name, limits)
        try Self.require(isNamed, "channel", state.name)
        let (namespace, hash) = (spaces[state.namespace], NameTable<Channel>.hash(state.name))
        try Self.require(channel(named: state.name, hash, in: namespace) == nil, "channel", state.name)
        let slot = makeChannel(state.name, hash, in: namespace)
        let isOwned = channels[slot].owner != nil
        let isSound =
            isOwned
            ? state.queue.isEmpty && state.readers.isEmpty
            : state.pushed.isEmpty && state.held == 0 && state.missed.isEmpty && state.attributes == nil
        let isOneSided = state.queue.isEmpty || state.readers.isEmpty
        let isReadable = state.readers.isEmpty || Names.node(of: state.name) == nil
        try Self.require(isSound && isOneSided && isReadable, "channel", state.name)
        channels[slot].attributes = state.attributes
        try restore(queue: state.queue, of: slot, moment)
        for reader in state.readers { try restore(reader, of: slot) }
        for message in state.pushed {
            try Self.require((0...Self.bytesMaximum).contains(message.bytes), "channel", state.name)
            let acceptedAt = moment.before(byNanoseconds: message.age)
            self[mailbox: slot].pushed.append(PushedMessage(bytes: message.bytes, acceptedAt: acceptedAt))
            self[mailbox: slot].pushedBytes += message.bytes
        }
        if let owner = channels[slot].owner { sessions[owner].unread += UInt64(state.pushed.count) }
        hold(state.held, in: slot)
        for missed in state.missed { self[mailbox: slot].missed.add(missed.count, missed.reason) }
        if state.messages > 0 { self[mailbox: slot].messages = state.messages }
        if state.drops > 0 { self[mailbox: slot].drops = state.drops }
        return slot
    }

    /// More than any body has; as many of them as there is memory do not overflow their sum.
    private static var bytesMaximum: Int { Int(UInt32.max) }

    private mutating func restore(
        queue: [CoreState.Message],
        of channel: ChannelSlot,
        _ moment: Instant
    ) throws(CoreState.Contradiction) {
        guard !queue.isEmpty else { return }
        var (order, bytes, first) = (UInt64(0), 0, Instant(nanoseconds: .max))
        var messages: Deque<QueuedMessage> = []
        messages.reserveCapacity(queue.count)
        for message in queue {
            let isInOrder = message.order >= order && message.order <= lastOrder
            try Self.require(isInOrder, "channel", channels[channel].name)
            order = message.order
            let content = Content(body: message.body, trace: message.trace)
            bytes += content.bytes
            let deadline = moment.advanced(byNanoseconds: message.life)
            first = min(first, deadline)
            messages.append(
                QueuedMessage(
                    content: content,
                    order: order,
                    deadline: deadline,
                    acceptedAt: moment.before(byNanoseconds: message.age)
                )
            )
        }
        self[mailbox: channel].queue = messages
        self[mailbox: channel].queuedBytes = bytes
        queuedMessages += messages.count
        queuedBytes += bytes
        let mailbox = channels[channel].mailbox
        deadlines.set(&mailboxes[mailbox].timer, of: .queue(channel), to: first)
    }

    private mutating func restore(
        _ reader: CoreState.Reader,
        of channel: ChannelSlot
    ) throws(CoreState.Contradiction) {
        let isWaiting = (1...65_535).contains(reader.count)
        guard isWaiting, let session = sessionSlot(reader.session), sessions[session].receives[reader.id] == nil,
            sessions[session].namespace == channels[channel].namespace
        else { throw CoreState.Contradiction(text: "a reader of \"\(channels[channel].name)\" contradicts the rest") }
        lastTicket += 1
        sessions[session].receives[reader.id] = Receive(channel: channel, ticket: lastTicket, count: reader.count)
        self[mailbox: channel].readers.append(Reader(session: session, id: reader.id, ticket: lastTicket))
        self[mailbox: channel].waitingReaders += 1
        receives += 1
    }

    // MARK: Groups

    private mutating func restore(
        _ states: [CoreState.Group],
        of places: [ChannelSlot],
        in spaces: [NamespaceSlot],
        _ moment: Instant
    ) throws(CoreState.Contradiction) {
        /// Memberships in groups that are not their channel's first: appended when the ones before them are.
        var further: [(rank: Int, channel: ChannelSlot, group: GroupSlot, membership: MembershipSlot)] = []
        /// The group in which a channel was seen last, by the channel's place: it is in none twice.
        var seen = [GroupSlot](repeating: .nowhere, count: places.count)
        for state in states {
            let isNamed = spaces.indices.contains(state.namespace) && Names.isGroup(state.name, limits)
            try Self.require(isNamed && !state.members.isEmpty, "group", state.name)
            let (namespace, hash) = (spaces[state.namespace], NameTable<Group>.hash(state.name))
            try Self.require(group(named: state.name, in: namespace) == nil, "group", state.name)
            let openedAt = moment.before(byNanoseconds: state.age)
            let group = groups.insert(
                Group(name: state.name, hash: hash, namespace: namespace, openedAt: openedAt)
            )
            groups[group].messages = state.messages
            namespaces[namespace].groups.insert(group, hash)
            for member in state.members {
                let isFirst = places.indices.contains(member.channel) && seen[member.channel] != group
                try Self.require(isFirst && member.rank >= 0, "group", state.name)
                seen[member.channel] = group
                let channel = places[member.channel]
                let membership = try restore(member, channel, of: group, moment)
                if member.rank == 0 {
                    try Self.require(channels[channel].groups.isEmpty, "group", state.name)
                    channels[channel].groups.append(group, membership)
                } else {
                    further.append((member.rank, channel, group, membership))
                }
            }
        }
        for (rank, channel, group, membership) in further.sorted(by: { $0.rank < $1.rank }) {
            try Self.require(channels[channel].groups.count == rank, "channel", channels[channel].name)
            channels[channel].groups.append(group, membership)
        }
    }

    private mutating func restore(
        _ state: CoreState.Member,
        _ channel: ChannelSlot,
        of group: GroupSlot,
        _ moment: Instant
    ) throws(CoreState.Contradiction) -> MembershipSlot {
        let isMortal = channels[channel].owner != nil && !state.isLiteral || state.life != nil
        let isInReach = channels[channel].namespace == groups[group].namespace
        try Self.require(isMortal && isInReach, "group", groups[group].name)
        let joinedAt = moment.before(byNanoseconds: state.age)
        let membership = memberships.insert(Membership(channel: channel, group: group, joinedAt: joinedAt))
        memberships[membership].isLiteral = state.isLiteral
        if let life = state.life {
            let deadline = moment.advanced(byNanoseconds: life)
            deadlines.set(&memberships[membership].timer, of: .membership(membership), to: deadline)
        }
        link(membership, to: channels[channel].owner)
        return membership
    }

    // MARK: Collections

    private mutating func restore(_ state: CoreState.Collection, _ moment: Instant) throws(CoreState.Contradiction) {
        let awaited = state.awaited.compactMap { awaited in
            sessionSlot(awaited.session).map { (owner: $0, members: awaited.members) }
        }
        let isNew = state.token <= lastToken && collections[state.token] == nil
        let isWhole = !awaited.isEmpty && awaited.count == state.awaited.count
        let isOnceEach = Set(awaited.map(\.owner)).count == awaited.count
        guard isNew, isWhole, isOnceEach, let requester = sessionSlot(state.session) else {
            throw CoreState.Contradiction(text: "the wait \(state.token) contradicts the rest")
        }
        let purpose: Collection.Purpose =
            state.outcome.map {
                .groupSend(Outcome(members: $0.members, accepted: $0.accepted, dropped: $0.dropped))
            } ?? .flush
        var collection = Collection(purpose: purpose, id: state.id, requester: requester, awaited: awaited)
        let deadline = moment.advanced(byNanoseconds: state.life)
        deadlines.set(&collection.timer, of: .collection(state.token), to: deadline)
        collections[state.token] = collection
    }
}
