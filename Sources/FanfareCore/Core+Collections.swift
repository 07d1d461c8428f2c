import DequeModule
import FanfareModel

/// A request that is answered when every owner it concerns has answered: `FLUSH`, and `GROUP_SEND` with outcome.
struct Collection {
    enum Purpose {
        case flush
        case groupSend(Outcome)
    }

    var purpose: Purpose
    let id: RequestID
    let requester: SessionSlot
    /// Owners that have not answered, and how many members a group send had there.
    var awaited: [(owner: SessionSlot, members: UInt64)]
    /// When it is answered whoever has not.
    var timer = Core.Timer.nowhere
}

/// What became of a group send.
struct Outcome {
    var members: UInt64 = 0
    var accepted: UInt64 = 0
    var dropped: UInt64 = 0

    func value(isPartial: Bool) -> MessageValue {
        var map: [String: MessageValue] = [
            "members": .count(members), "accepted": .count(accepted), "dropped": .count(dropped),
        ]
        if isPartial { map["partial"] = true }
        return .map(map)
    }
}

extension Core {
    mutating func newToken() throws(Failure) -> UInt64 {
        guard collections.count < limits.collections else {
            throw Failure(.limitReached, "\(limits.collections) requests wait for owners, the limit \"collections\"")
        }
        lastToken += 1
        return lastToken
    }

    mutating func collect(
        _ token: UInt64,
        _ purpose: Collection.Purpose,
        for id: RequestID,
        of requester: SessionSlot,
        from awaited: [(owner: SessionSlot, members: UInt64)],
        _ now: Instant
    ) {
        var collection = Collection(purpose: purpose, id: id, requester: requester, awaited: awaited)
        deadlines.set(&collection.timer, of: .collection(token), to: now.advanced(by: limits.collectWithin))
        collections[token] = collection
    }

    mutating func outcome(
        _ token: UInt64,
        _ accepted: UInt64,
        _ dropped: UInt64,
        _ session: SessionSlot,
        _ effects: inout Effects
    ) -> Answer {
        if sessions[session].flushing == token { sessions[session].flushing = nil }
        answer(token, by: session, accepted: accepted, dropped: dropped, &effects)
        return .silence
    }

    private mutating func answer(
        _ token: UInt64,
        by session: SessionSlot,
        accepted: UInt64,
        dropped: UInt64,
        _ effects: inout Effects
    ) {
        guard let index = collections[token]?.awaited.firstIndex(where: { $0.owner == session }) else { return }
        collections[token]?.awaited.remove(at: index)
        if case .groupSend(var outcome)? = collections[token]?.purpose {
            // The numbers come from a peer: they saturate, they do not trap.
            outcome.accepted = outcome.accepted.addingClamped(accepted)
            outcome.dropped = outcome.dropped.addingClamped(dropped)
            collections[token]?.purpose = .groupSend(outcome)
        }
        if collections[token]?.awaited.isEmpty == true { settle(token, isPartial: false, &effects) }
    }

    /// Answers the requester, complete or not.
    mutating func settle(_ token: UInt64, isPartial: Bool, _ effects: inout Effects) {
        guard let collection = removeCollection(token) else { return }
        let requester = sessions[collection.requester].id
        switch collection.purpose {
        case .flush: effects.reply(.ack(collection.id), to: requester)
        case .groupSend(let outcome):
            effects.reply(.result(collection.id, outcome.value(isPartial: isPartial)), to: requester)
        }
    }

    @discardableResult
    private mutating func removeCollection(_ token: UInt64) -> Collection? {
        guard var collection = collections.removeValue(forKey: token) else { return nil }
        deadlines.cancel(&collection.timer)
        return collection
    }

    /// Forgets what a leaving session asked for and answers for it where it was asked.
    mutating func forsake(collectionsOf session: SessionSlot, _ effects: inout Effects) {
        for token in collections.keys.sorted() {
            if collections[token]?.requester == session {
                removeCollection(token)
            } else {
                let members = collections[token]?.awaited.first { $0.owner == session }?.members ?? 0
                answer(token, by: session, accepted: 0, dropped: members, &effects)
            }
        }
    }

    mutating func flush(
        _ id: RequestID,
        _ session: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) -> Answer {
        let namespace = sessions[session].namespace
        let owners = namespaces[namespace].owners.values.sorted { sessions[$0].id < sessions[$1].id }
        let token = owners.isEmpty ? nil : try newToken()
        for channel in namespaces[namespace].channels.slots.sorted(by: { channels[$0].name < channels[$1].name }) {
            empty(channel, now)
        }
        guard let token else { return .acknowledge }
        for owner in owners {
            sessions[owner].flushing = token
            effects.reply(.flushed(token: token), to: sessions[owner].id)
        }
        collect(token, .flush, for: id, of: session, from: owners.map { ($0, 0) }, now)
        return .silence
    }

    /// Takes everything but its readers and its declaration from a channel.
    private mutating func empty(_ channel: ChannelSlot, _ now: Instant) {
        let messages = self[mailbox: channel].queue.count + self[mailbox: channel].pushed.count
        drop(UInt64(messages), .flushed, channel, now)
        emptyQueue(of: channel)
        emptyOwnersBuffer(of: channel)
        leaveGroups(channel)
        removeIfIdle(channel)
    }
}
