package import FanfareModel

// INSPECT: what the tables hold, as rows. Reads only; `proto/PROTOCOL.md`, sections 5.13 and 9.
extension Core {
    /// Begins an inspection on behalf of a session.
    ///
    /// - Throws: `forbidden` when its role may not ask for it, and what ``beginInspection(_:)`` throws.
    package func beginInspection(_ query: InspectionQuery, for session: SessionID) throws(Failure) -> Inspection {
        guard let slot = slot(of: session) else { throw Failure(.notFound, "the session has ended") }
        try permit(.inspect(1, query), to: sessions[slot].hello.role)
        return try beginInspection(confined(query, to: slot))
    }

    /// Begins an inspection, which ``proceed(_:steps:now:_:)`` carries out.
    ///
    /// - Throws: `bad_request` for a bad order, limit or cursor, `not_found` for a name that does not exist.
    package func beginInspection(_ query: InspectionQuery) throws(Failure) -> Inspection {
        switch query.subject {
        case .status:
            var plain = InspectionQuery(.status)
            plain.budget = query.budget
            return try Inspection(plain, GroupListing.Column.self, limits)
        case .groups: return try Inspection(query, GroupListing.Column.self, limits)
        case .group:
            let found = try named(query, in: "group") { group(named: $1, in: $0) }
            return try Inspection(query, MemberListing.Column.self, places: members(of: found), groups: found, limits)
        case .channels: return try Inspection(query, ChannelListing.Column.self, limits)
        case .channel:
            let found = try named(query, in: "channel") { channel(named: $1, in: $0) }
            return try Inspection(query, ChannelListing.Column.self, places: found.map(\.index), limits)
        case .sessions: return try Inspection(query, SessionListing<NothingObserved>.Column.self, limits)
        case .drops: return try Inspection(query, DropListing.Column.self, limits)
        case .closed: return try Inspection(query, ClosedListing.Column.self, limits)
        }
    }

    /// Goes on with an inspection. What has changed since the last call is seen as it is now.
    ///
    /// - Parameters:
    ///   - steps: Rows to look at, about; what this call costs.
    ///   - shell: What only the shell knows.
    /// - Returns: The answer when it is complete; `nil` when there is more to do.
    package func proceed(
        _ inspection: inout Inspection,
        steps: Int,
        now: Instant,
        _ shell: some Observations
    ) -> MessageValue? {
        let (query, box) = (inspection.query, CoreBox(self))
        switch query.subject {
        case .status:
            guard inspection.proceed(through: mailboxes, steps) else { return nil }
            return status(inspection, now, shell)
        case .groups: return inspection.proceed(through: GroupListing(box: box, query: query, now: now), steps)
        case .group: return inspection.proceed(through: MemberListing(box, inspection, now), steps)
        case .channels, .channel:
            let places = inspection.places
            let rows = ChannelListing(box: box, query: query, now: now, places: places)
            return inspection.proceed(through: rows, steps)
        case .sessions:
            let rows = SessionListing(box: box, query: query, now: now, shell: shell)
            return inspection.proceed(through: rows, steps)
        case .drops: return inspection.proceed(through: DropListing(log: dropLog, query: query, now: now), steps)
        case .closed: return inspection.proceed(through: ClosedListing(log: closed, query: query, now: now), steps)
        }
    }

    /// Answers an inspection at once, whatever it costs.
    ///
    /// - Throws: What ``beginInspection(_:)`` throws.
    package func inspect(_ query: InspectionQuery, now: Instant) throws(Failure) -> MessageValue {
        var inspection = try beginInspection(query)
        while true {
            if let answer = proceed(&inspection, steps: .max, now: now, NothingObserved()) { return answer }
        }
    }

    /// A worker looks at its own namespace and no other; who may look at more asks for what it wants.
    func confined(_ query: InspectionQuery, to session: SessionSlot) throws(Failure) -> InspectionQuery {
        guard sessions[session].hello.role == .worker else { return query }
        let own = sessions[session].hello.namespace
        guard query.namespace ?? own == own else {
            throw Failure(.forbidden, "the role \"worker\" may inspect its own namespace only, \"\(own)\"")
        }
        var confined = query
        confined.namespace = own
        return confined
    }

    // MARK: By name

    /// What `query.name` names, in its namespace or in all.
    private func named<Element>(
        _ query: InspectionQuery,
        in kind: String,
        _ find: (NamespaceSlot, String) -> Slot<Element>?
    ) throws(Failure) -> [Slot<Element>] {
        guard let name = query.name else { throw Failure(.badRequest, "INSPECT \(kind): the query needs a name") }
        let shown: Visibility.Kind = kind == "group" ? .group : .channel
        var found: [Slot<Element>] = []
        for (space, slot) in namespaceSlots where query.namespace.map({ $0 == space }) ?? true {
            guard query.visibility.shows(shown, name, in: space), let element = find(slot, name) else { continue }
            found.append(element)
        }
        guard !found.isEmpty else { throw Failure(.notFound, "there is no \(kind) \"\(name)\"") }
        return found
    }

    /// Members that are listed one after the other; of larger groups they are sought among all memberships, in slices.
    private static var membersListed: Int { 2_048 }

    private func members(of groups: [GroupSlot]) -> [UInt32]? {
        guard groups.reduce(0, { $0 + self.groups[$1].memberCount }) <= Self.membersListed else { return nil }
        var places: [UInt32] = []
        for group in groups {
            for chain in self.groups[group].owners.map(\.members) + [self.groups[group].unowned] {
                places += memberships.slots(of: chain).map(\.index)
            }
        }
        return places
    }

    // MARK: Status

    private func status(_ inspection: Inspection, _ now: Instant, _ shell: some Observations) -> MessageValue {
        var status = shell.status
        status["broker"] = .string(broker)
        status["epoch"] = .count(epoch)
        status["sessions"] = .count(sessions.count)
        status["connections_by_role"] = .map(
            Dictionary(uniqueKeysWithValues: zip(Role.allCases, sessionsByRole).map { ($0.rawValue, .count($1)) })
        )
        status["namespaces"] = .count(namespaces.count)
        status["channels"] = .count(channels.count)
        status["groups"] = .count(groups.count)
        status["memberships"] = .count(memberships.count)
        status["queued_messages"] = .count(queuedMessages)
        status["queued_bytes"] = .count(queuedBytes)
        status["messages_high"] = .count(queuedMessagesHigh)
        status["bytes_high"] = .count(queuedBytesHigh)
        status["depth_high"] = .count(depthHigh)
        status["oldest_milliseconds"] = inspection.oldest?.age(at: now) ?? .null
        status["memory_bytes"] = .count(memoryInUse)
        status["memory_limit_bytes"] = .count(limits.memoryBytes)
        status["memory_refusals"] = .count(counters.memoryRefusals)
        status["receives"] = .count(receives)
        status["tails"] = .count(tails.count)
        status["sends"] = .count(counters.sends)
        status["group_sends"] = .count(counters.groupSends)
        status["group_deliver_frames"] = .count(counters.groupDeliverFrames)
        status["fan_out_members"] = counters.fanOutMembers.value
        status["delivers"] = .count(counters.delivers)
        status["hand_outs"] = .count(counters.handOuts)
        status["gaps"] = .count(counters.gaps)
        status["round_trip_every"] = .count(limits.roundTripEvery.value)
        status["closed"] = .map(
            Dictionary(closed.counts.map { ($0.key.name, .count($0.value)) }, uniquingKeysWith: { first, _ in first })
        )
        status["drops_by_class"] = .map(
            Dictionary(
                uniqueKeysWithValues: DropClass.allCases.map { sentTo in
                    let counts = DropReason.allCases.map { ($0.name, MessageValue.count(counters[drop: $0, sentTo])) }
                    return (sentTo.name, .map(Dictionary(uniqueKeysWithValues: counts)))
                }
            )
        )
        status["drops"] = .map(
            Dictionary(uniqueKeysWithValues: DropReason.allCases.map { ($0.name, .count(counters[drop: $0])) })
        )
        if inspection.isPartial { status["partial"] = true }
        return .map(status)
    }
}
