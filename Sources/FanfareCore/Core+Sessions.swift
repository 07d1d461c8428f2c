import DequeModule
package import FanfareModel

extension Core {
    /// Accepts a hello: the first effect is the session's `WELCOME`; then it gets what waited for its node.
    ///
    /// - Parameter resumption: What the welcome says about going on with the session; the shell's matter.
    /// - Throws: `unsupported_protocol`, `bad_hello`, `node_taken` or `limit_reached`; nothing has changed then.
    package mutating func open(
        _ hello: Hello,
        resumption: Welcome.Resumption? = nil,
        now: Instant,
        into effects: inout Effects
    ) throws(Failure) -> SessionID {
        advance(to: now, into: &effects)
        defer { nextDeadline = deadlines.earliest }
        try check(hello)
        try checkMemory()
        lastSession += 1
        let id = SessionID(lastSession, place: sessions.vacancy.index)
        let namespace = namespaceSlot(hello.namespace)
        let policy = hello.policy.capped(by: limits)
        let slot = sessions.insert(
            Session(id: id, hello: hello, policy: policy, namespace: namespace, openedAt: now)
        )
        count(hello.role, 1)
        namespaces[namespace].sessions += 1
        var welcome = Welcome(session: id, epoch: epoch, broker: broker, policy: policy, limits: limits)
        welcome.resumption = resumption
        effects.reply(.welcome(welcome), to: id)
        if let node = hello.node {
            namespaces[namespace].owners[node] = slot
            adopt(node, in: namespace, by: slot, now, &effects)
        }
        return id
    }

    /// Ends a session: its channels and memberships go with it, at once.
    ///
    /// - Parameters:
    ///   - reason: Why, for ``closed``.
    ///   - detail: The same for people; may be empty.
    package mutating func close(
        _ session: SessionID,
        _ reason: EndReason = .connectionLost,
        _ detail: String = "",
        now: Instant,
        into effects: inout Effects
    ) {
        advance(to: now, into: &effects)
        defer { nextDeadline = deadlines.earliest }
        guard let slot = slot(of: session) else { return }
        let receives = sessions[slot].receives.sorted { $0.key < $1.key }
        sessions[slot].receives.removeAll()
        for receive in receives { leave(receive.value) }
        for id in sessions[slot].tails { removeTail(id, of: slot) }
        while sessions[slot].channels.first != .nowhere { forget(sessions[slot].channels.first, now) }
        forsake(collectionsOf: slot, &effects)
        let namespace = sessions[slot].namespace
        if let node = sessions[slot].hello.node { namespaces[namespace].owners.removeValue(forKey: node) }
        namespaces[namespace].sessions -= 1
        noteClosed(slot, reason, detail, now)
        count(sessions[slot].hello.role, -1)
        handedOutChannels -= sessions[slot].handedOut.channelCount
        sessions.remove(slot)
        removeIfIdle(namespace)
    }

    private mutating func noteClosed(_ slot: SessionSlot, _ reason: EndReason, _ detail: String, _ now: Instant) {
        let session = sessions[slot]
        let isLeaving = session.isDrained && (reason == .goodbye || reason == .connectionLost)
        var entry = ClosedConnection(
            isLeaving ? .drained : reason,
            session.hello,
            openedAt: session.openedAt,
            endedAt: now
        )
        entry.session = session.id
        entry.detail = detail
        entry.drops = session.drops
        closed.add(entry)
    }

    mutating func count(_ role: Role, _ change: Int) {
        if let index = Role.allCases.firstIndex(of: role) { sessionsByRole[index] += change }
    }

    /// A live session's hello, and the welcome of a link that goes on with it.
    package func introduction(of session: SessionID) -> (hello: Hello, welcome: Welcome)? {
        guard let slot = slot(of: session) else { return nil }
        let policy = sessions[slot].policy
        let welcome = Welcome(session: session, epoch: epoch, broker: broker, policy: policy, limits: limits)
        return (sessions[slot].hello, welcome)
    }

    /// Ends a session's tails: its link is gone, and nobody watches.
    package mutating func endTails(of session: SessionID) {
        guard let slot = slot(of: session) else { return }
        for id in sessions[slot].tails { removeTail(id, of: slot) }
    }

    /// Where a live session is; its place may be another's by now.
    @inline(__always)
    func slot(of session: SessionID) -> SessionSlot? {
        guard let slot = sessions.slot(session.place), sessions[slot].id == session else { return nil }
        return slot
    }

    private func check(_ hello: Hello) throws(Failure) {
        guard hello.protocolVersion == Protocol.version else {
            throw Failure(
                .unsupportedProtocol,
                "protocol \(hello.protocolVersion) is not spoken here; this broker speaks \(Protocol.version)"
            )
        }
        guard !hello.client.isEmpty, !hello.name.isEmpty else {
            throw Failure(.badHello, "HELLO needs a client and a name that are not empty")
        }
        guard Names.isGroup(hello.namespace, limits) else {
            throw Failure(.badHello, "the namespace \"\(hello.namespace)\" is no valid name")
        }
        if let node = hello.node {
            guard Names.isNode(node, limits) else { throw Failure(.badHello, "the node \"\(node)\" is no valid name") }
            if let space = namespaceSlots[hello.namespace], let owner = namespaces[space].owners[node] {
                throw Failure(.nodeTaken, "the node \"\(node)\" belongs to session \(sessions[owner].id.value)")
            }
        }
        guard sessions.count < limits.sessions else {
            throw Failure(.limitReached, "the broker holds \(limits.sessions) sessions, its limit \"sessions\"")
        }
    }

    /// Gives the new owner of `node` what waited for it: memberships first, so that the client can route, then messages.
    private mutating func adopt(
        _ node: String,
        in namespace: NamespaceSlot,
        by session: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) {
        guard let unowned = namespaces[namespace].unowned.removeValue(forKey: node) else { return }
        let adopted = channels.slots(of: unowned)
        sessions[session].channels = unowned
        var notices: [(group: GroupSlot, names: [String])] = []
        var noticeOf: [GroupSlot: Int] = [:]
        for channel in adopted {
            channels[channel].owner = session
            for (group, membership) in channels[channel].groups {
                handOver(membership, to: session)
                if let index = noticeOf[group] {
                    notices[index].names.append(channels[channel].name)
                } else {
                    noticeOf[group] = notices.count
                    notices.append((group, [channels[channel].name]))
                }
            }
        }
        let id = sessions[session].id
        for notice in notices {
            for start in stride(from: 0, to: notice.names.count, by: limits.namesPerFrame) {
                let names = Array(notice.names[start..<min(start + limits.namesPerFrame, notice.names.count)])
                effects.reply(.members(group: groups[notice.group].name, added: names, removed: []), to: id)
            }
        }
        for channel in adopted {
            let queue = self[mailbox: channel].queue
            if !queue.isEmpty {
                let mailbox = channels[channel].mailbox
                deadlines.cancel(&mailboxes[mailbox].timer)
                emptyQueue(of: channel)
            }
            for message in queue {
                push(message.content, until: message.deadline, to: channel, session, now, &effects)
            }
            removeIfIdle(channel)
        }
    }

    private mutating func handOver(_ membership: MembershipSlot, to session: SessionSlot) {
        memberships.unlink(membership, from: &groups[memberships[membership].group].unowned)
        if !memberships[membership].isLiteral { deadlines.cancel(&memberships[membership].timer) }
        link(membership, to: session)
    }

    mutating func namespaceSlot(_ name: String) -> NamespaceSlot {
        if let slot = namespaceSlots[name] { return slot }
        let slot = namespaces.insert(Namespace(name: name))
        namespaceSlots[name] = slot
        return slot
    }

    mutating func removeIfIdle(_ namespace: NamespaceSlot) {
        guard namespaces[namespace].isIdle else { return }
        namespaceSlots.removeValue(forKey: namespaces[namespace].name)
        namespaces.remove(namespace)
    }
}
