package import FanfareModel

// What outlives the process: taken here, made into a core again in Core+Restoring.
extension Core {
    /// Everything that matters to what comes after, for ``init(restoring:limits:broker:at:)``.
    ///
    /// Sessions that cannot go on are closed before; the others' tails are left out. What has come due by now and was
    /// not carried out is carried out by the core made of it. Costs a walk over everything.
    ///
    /// - Parameter now: The time of the last call, or later.
    package func state(at now: Instant) -> CoreState {
        var state = CoreState(epoch: epoch, lastSession: lastSession, lastOrder: lastOrder, lastToken: lastToken)
        var places = Places()
        for slot in namespaces.slots {
            places.namespaces[slot] = state.namespaces.count
            state.namespaces.append(namespaces[slot].name)
        }
        for slot in sessions.slots.sorted(by: { sessions[$0].id < sessions[$1].id }) {
            places.sessions[slot] = state.sessions.count
            state.sessions.append(self.state(of: sessions[slot], now))
        }
        for slot in channelsInOrder {
            places.channels[slot] = state.channels.count
            state.channels.append(self.state(of: channels[slot], places, now))
            for (rank, joined) in channels[slot].groups.enumerated() where rank > 0 {
                places.ranks[joined.membership] = rank
            }
        }
        for slot in groups.slots { state.groups.append(self.state(of: groups[slot], places, now)) }
        for token in collections.keys.sorted() {
            if let collection = collections[token] {
                state.collections.append(self.state(of: collection, token, places, now))
            }
        }
        return state
    }

    /// Every live session, by number.
    package var liveSessions: [SessionID] { sessions.slots.map { sessions[$0].id }.sorted() }

    /// Where what is referred to is in the lists of the state.
    private struct Places {
        var namespaces: [NamespaceSlot: Int] = [:]
        var sessions: [SessionSlot: Int] = [:]
        var channels: [ChannelSlot: Int] = [:]
        /// Which of its channel's groups a membership is in, for those that are not in the first.
        var ranks: [MembershipSlot: Int] = [:]
    }

    /// Every channel; those of one process in the order they came to be.
    private var channelsInOrder: [ChannelSlot] {
        var ordered: [ChannelSlot] = []
        ordered.reserveCapacity(channels.count)
        for slot in sessions.slots { ordered += channels.slots(of: sessions[slot].channels) }
        for slot in namespaces.slots {
            for node in namespaces[slot].unowned.keys.sorted() {
                ordered += channels.slots(of: namespaces[slot].unowned[node, default: Chain()])
            }
        }
        return ordered + channels.slots.filter { Names.node(of: channels[$0].name) == nil }
    }

    private func state(of session: Session, _ now: Instant) -> CoreState.Session {
        var hello = session.hello
        hello.token = nil
        hello.resume = nil
        hello.policy = session.policy
        let age = session.openedAt.nanoseconds(until: now)
        var state = CoreState.Session(number: session.id.value, hello: hello, age: age)
        state.flushing = session.flushing
        state.isCongested = session.isCongested
        state.missed = session.missed.map { CoreState.Missed(reason: $0.reason, count: $0.count) }
        let (handedOut, until) = session.handedOut.total(now)
        state.handedOut = handedOut
        state.handedOutLife = now.nanoseconds(until: until)
        return state
    }

    private func state(of channel: Channel, _ places: Places, _ now: Instant) -> CoreState.Channel {
        var state = CoreState.Channel(namespace: places.namespaces[channel.namespace]!, name: channel.name)
        state.attributes = channel.attributes
        guard channel.mailbox != .none else { return state }
        let mailbox = mailboxes[channel.mailbox]
        state.queue = mailbox.queue.map {
            CoreState.Message(
                body: $0.content.body,
                trace: $0.content.trace,
                order: $0.order,
                life: now.nanoseconds(until: $0.deadline),
                age: $0.acceptedAt.nanoseconds(until: now)
            )
        }
        state.readers = mailbox.readers.compactMap { reader in
            guard let receive = waiting(reader), let session = places.sessions[reader.session] else { return nil }
            return CoreState.Reader(session: session, id: reader.id, count: receive.count)
        }
        state.pushed = mailbox.pushed.map {
            CoreState.Pushed(bytes: $0.bytes, age: $0.acceptedAt.nanoseconds(until: now))
        }
        state.held = mailbox.held
        state.missed = mailbox.missed.map { CoreState.Missed(reason: $0.reason, count: $0.count) }
        state.messages = mailbox.messages
        state.drops = mailbox.drops
        return state
    }

    private func state(of group: Group, _ places: Places, _ now: Instant) -> CoreState.Group {
        var state = CoreState.Group(
            namespace: places.namespaces[group.namespace]!,
            name: group.name,
            age: group.openedAt.nanoseconds(until: now),
            messages: group.messages
        )
        state.members.reserveCapacity(group.memberCount)
        for chain in group.owners.map(\.members) + [group.unowned] {
            for slot in memberships.slots(of: chain) {
                state.members.append(
                    CoreState.Member(
                        channel: places.channels[memberships[slot].channel]!,
                        rank: places.ranks[slot] ?? 0,
                        age: memberships[slot].joinedAt.nanoseconds(until: now),
                        life: deadlines[memberships[slot].timer].map { now.nanoseconds(until: $0) },
                        isLiteral: memberships[slot].isLiteral
                    )
                )
            }
        }
        return state
    }

    private func state(
        of collection: Collection,
        _ token: UInt64,
        _ places: Places,
        _ now: Instant
    ) -> CoreState.Collection {
        var state = CoreState.Collection(
            token: token,
            session: places.sessions[collection.requester]!,
            id: collection.id,
            life: deadlines[collection.timer].map { now.nanoseconds(until: $0) } ?? 0
        )
        if case .groupSend(let outcome) = collection.purpose {
            state.outcome = CoreState.Outcome(
                members: outcome.members,
                accepted: outcome.accepted,
                dropped: outcome.dropped
            )
        }
        state.awaited = collection.awaited.map {
            CoreState.Awaited(session: places.sessions[$0.owner]!, members: $0.members)
        }
        return state
    }
}
