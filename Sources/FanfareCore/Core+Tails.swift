package import FanfareModel

/// A `TAIL`: copies of messages as they pass, thinned by sample and rate.
struct Tail {
    let id: RequestID
    /// Whose it is; `nil`: the shell's own.
    let session: SessionSlot?
    let query: TailQuery
    var matched: UInt64 = 0
    var skipped: UInt64 = 0
    var second: UInt64 = 0
    var copiedThisSecond: UInt64 = 0

    /// Whether the next matching message is copied; counts it as skipped otherwise.
    mutating func takes(at now: Instant) -> Bool {
        defer { matched &+= 1 }
        let second = now.nanoseconds / 1_000_000_000
        if second != self.second { (self.second, copiedThisSecond) = (second, 0) }
        guard matched % max(query.sample, 1) == 0, copiedThisSecond < query.ratePerSecond else {
            skipped &+= 1
            return false
        }
        copiedThisSecond += 1
        return true
    }
}

extension Core {
    mutating func tail(_ id: RequestID, _ query: TailQuery, _ session: SessionSlot) throws(Failure) -> Answer {
        guard sessions[session].receives[id] == nil, !sessions[session].tails.contains(id) else {
            throw Failure(.duplicateID, "the id \(id) still waits; choose another or CANCEL it")
        }
        try checkTails()
        tails.append(Tail(id: id, session: session, query: query))
        sessions[session].tails.insert(id)
        return .silence
    }

    /// Starts a tail of the shell's own; its copies are replies to ``SessionID/broker``.
    ///
    /// - Parameter id: Tells it from other tails of the shell.
    /// - Throws: `limit_reached`: the shell's tails and those of sessions count together.
    package mutating func openTail(_ id: RequestID, _ query: TailQuery) throws(Failure) {
        try checkTails()
        tails.append(Tail(id: id, session: nil, query: query))
    }

    /// Ends a tail of the shell's own.
    package mutating func closeTail(_ id: RequestID) {
        tails.removeAll { $0.id == id && $0.session == nil }
    }

    private func checkTails() throws(Failure) {
        guard tails.count < limits.tails else {
            throw Failure(.limitReached, "\(limits.tails) tails are running, the limit \"tails\"; end one")
        }
    }

    mutating func removeTail(_ id: RequestID, of session: SessionSlot) {
        guard sessions[session].tails.remove(id) != nil else { return }
        tails.removeAll { $0.id == id && $0.session == session }
    }

    /// Counts copies a tail's connection had no room for.
    package mutating func skipCopies(_ count: UInt64, of tail: RequestID, _ session: SessionID) {
        let slot = slot(of: session)
        guard slot != nil || session == .broker,
            let index = tails.firstIndex(where: { $0.id == tail && $0.session == slot })
        else { return }
        tails[index].skipped = tails[index].skipped.addingClamped(count)
    }

    /// Copies a passing message to the tails that want it. Costs one comparison when there are none.
    mutating func copyToTails(
        _ kind: TailQuery.Kind,
        _ name: String,
        _ namespace: NamespaceSlot,
        _ body: Body,
        _ now: Instant,
        _ effects: inout Effects
    ) {
        guard !tails.isEmpty else { return }
        let space = namespaces[namespace].name
        for index in tails.indices {
            let query = tails[index].query
            guard query.kind == kind, query.namespace.map({ $0 == space }) ?? true, query.match.matches(name),
                query.visibility.shows(kind == .group ? .group : .channel, name, in: space),
                tails[index].takes(at: now)
            else { continue }
            let copy = Tailed(
                kind: kind,
                name: name,
                namespace: space,
                body: body,
                skipped: tails[index].skipped
            )
            tails[index].skipped = 0
            let reader = tails[index].session.map { sessions[$0].id } ?? .broker
            effects.reply(.tailed(tails[index].id, copy), to: reader)
        }
    }
}
