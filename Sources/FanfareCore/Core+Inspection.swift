import DequeModule
package import FanfareModel

// INSPECT: what the tables hold, as rows. Reads only; bounded by `rows_scanned` and `rows_returned`.
extension Core {
    /// Answers an inspection; see `proto/PROTOCOL.md`, sections 5.13 and 9.
    ///
    /// - Throws: `bad_request` for a bad order, limit or cursor, `not_found` for a name that does not exist.
    package func inspect(_ query: InspectionQuery, now: Instant) throws(Failure) -> MessageValue {
        switch query.subject {
        case .status: status()
        case .groups: try groupRows(query, now)
        case .group: try memberRows(query, now)
        case .channels: try channelRows(query, now)
        case .channel: try channelDetails(query, now)
        case .sessions: try sessionRows(query, now)
        case .drops: try dropRows(query, now)
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

    private func status() -> MessageValue {
        var status = observed.status
        status["broker"] = .string(broker)
        status["epoch"] = .count(epoch)
        status["sessions"] = .count(sessions.count)
        status["namespaces"] = .count(namespaces.count)
        status["channels"] = .count(channels.count)
        status["groups"] = .count(groups.count)
        status["memberships"] = .count(memberships.count)
        status["queued_messages"] = .count(queuedMessages)
        status["queued_bytes"] = .count(queuedBytes)
        status["memory_bytes"] = .count(memoryInUse)
        status["memory_refusals"] = .count(counters.memoryRefusals)
        status["receives"] = .count(receives)
        status["tails"] = .count(tails.count)
        status["sends"] = .count(counters.sends)
        status["group_sends"] = .count(counters.groupSends)
        status["group_deliver_frames"] = .count(counters.groupDeliverFrames)
        status["delivers"] = .count(counters.delivers)
        status["hand_outs"] = .count(counters.handOuts)
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
        return .map(status)
    }

    // MARK: Groups

    private func groupRows(_ query: InspectionQuery, _ now: Instant) throws(Failure) -> MessageValue {
        var page = try Page(query, columns: groupColumns(now), limits: limits)
        for slot in groups.slots {
            let (name, space) = (groups[slot].name, namespaces[groups[slot].namespace].name)
            let matches = matches(query, .group, name, space)
            guard page.consider(slot, identity: "\(space) \(name)", matches: matches) else { break }
        }
        return try page.answer { slot in
            [
                "namespace": .string(namespaces[groups[slot].namespace].name), "group": .string(groups[slot].name),
                "members": .count(groups[slot].memberCount), "owners": .count(groups[slot].owners.count),
                "messages": .count(groups[slot].messages), "rate": .double(groups[slot].rate.perSecond(at: now)),
                "age_milliseconds": age(since: groups[slot].openedAt, now),
            ]
        }
    }

    private func groupColumns(_ now: Instant) -> [Column<GroupSlot>] {
        [
            Column(name: "group") { .text(groups[$0].name) },
            Column(name: "namespace") { .text(namespaces[groups[$0].namespace].name) },
            Column(name: "members") { .number(Double(groups[$0].memberCount)) },
            Column(name: "owners") { .number(Double(groups[$0].owners.count)) },
            Column(name: "messages") { .number(Double(groups[$0].messages)) },
            Column(name: "rate") { .number(groups[$0].rate.perSecond(at: now)) },
            Column(name: "age_milliseconds") { .number(elapsed(since: groups[$0].openedAt, now)) },
        ]
    }

    private func memberRows(_ query: InspectionQuery, _ now: Instant) throws(Failure) -> MessageValue {
        let found = try named(query, in: "group") { group(named: $1, in: $0) }
        var page = try Page(query, columns: memberColumns(now), limits: limits)
        for group in found {
            let space = namespaces[groups[group].namespace].name
            for chain in groups[group].owners.map(\.members) + [groups[group].unowned] {
                var next = chain.first
                while next != .nowhere {
                    let (member, name) = (next, channels[memberships[next].channel].name)
                    next = memberships[next].next
                    let matches = matches(query, .channel, name, space)
                    guard page.consider(member, identity: "\(space) \(name)", matches: matches) else { break }
                }
            }
        }
        return try page.answer { member in
            var row = whereabouts(of: memberships[member].channel)
            row["group"] = .string(groups[memberships[member].group].name)
            row["age_milliseconds"] = age(since: memberships[member].joinedAt, now)
            row["expires_milliseconds"] =
                deadlines[memberships[member].timer].map { .count(now.milliseconds(until: $0).value) } ?? .null
            return row
        }
    }

    private func memberColumns(_ now: Instant) -> [Column<MembershipSlot>] {
        [
            Column(name: "channel") { .text(channels[memberships[$0].channel].name) },
            Column(name: "session") { .number(Double(ownerID(of: memberships[$0].channel))) },
            Column(name: "worker") { .text(ownerName(of: memberships[$0].channel)) },
            Column(name: "age_milliseconds") { .number(elapsed(since: memberships[$0].joinedAt, now)) },
        ]
    }

    // MARK: Channels

    private func channelRows(_ query: InspectionQuery, _ now: Instant) throws(Failure) -> MessageValue {
        var page = try Page(query, columns: channelColumns(now), limits: limits)
        for slot in channels.slots {
            let (name, space) = (channels[slot].name, namespaces[channels[slot].namespace].name)
            let matches = matches(query, .channel, name, space)
            guard page.consider(slot, identity: "\(space) \(name)", matches: matches) else { break }
        }
        return try page.answer { row(of: $0, now) }
    }

    private func channelColumns(_ now: Instant) -> [Column<ChannelSlot>] {
        [
            Column(name: "channel") { .text(channels[$0].name) },
            Column(name: "namespace") { .text(namespaces[channels[$0].namespace].name) },
            Column(name: "depth") { .number(Double(self[mailbox: $0].unread)) },
            Column(name: "bytes") { .number(Double(self[mailbox: $0].queuedBytes + self[mailbox: $0].pushedBytes)) },
            Column(name: "oldest_milliseconds") { .number(elapsed(since: oldest($0), now)) },
            Column(name: "readers") { .number(Double(self[mailbox: $0].waitingReaders)) },
            Column(name: "groups") { .number(Double(channels[$0].groups.count)) },
            Column(name: "session") { .number(Double(ownerID(of: $0))) },
            Column(name: "worker") { .text(ownerName(of: $0)) },
            Column(name: "messages") { .number(Double(self[mailbox: $0].messages)) },
            Column(name: "drops") { .number(Double(self[mailbox: $0].drops)) },
        ]
    }

    private func row(of slot: ChannelSlot, _ now: Instant) -> [String: MessageValue] {
        var row = whereabouts(of: slot)
        row["depth"] = .count(self[mailbox: slot].unread)
        row["bytes"] = .count(self[mailbox: slot].queuedBytes + self[mailbox: slot].pushedBytes)
        row["oldest_milliseconds"] = oldest(slot).map { age(since: $0, now) } ?? .null
        row["capacity"] = .count(capacity(of: slot))
        row["readers"] = .count(self[mailbox: slot].waitingReaders)
        row["groups"] = .count(channels[slot].groups.count)
        row["messages"] = .count(self[mailbox: slot].messages)
        row["drops"] = .count(self[mailbox: slot].drops)
        return row
    }

    private func channelDetails(_ query: InspectionQuery, _ now: Instant) throws(Failure) -> MessageValue {
        let found = try named(query, in: "channel") { channel(named: $1, in: $0) }
        let rows = found.map { slot -> MessageValue in
            var row = row(of: slot, now)
            row["attributes"] = .map((channels[slot].attributes ?? [:]).mapValues { .string($0) })
            let space = namespaces[channels[slot].namespace].name
            let names = channels[slot].groups.map { groups[$0.group].name }
            row["group_names"] = .array(
                names.filter { query.visibility.shows(.group, $0, in: space) }.map { .string($0) }
            )
            return .map(row)
        }
        return .map(["rows": .array(rows), "total": .count(rows.count)])
    }

    /// The capacity shown for a channel: the owner's, else the broker's default, since senders may differ.
    private func capacity(of slot: ChannelSlot) -> Int {
        channels[slot].owner.map { sessions[$0].policy.capacity(of: channels[slot].name) } ?? limits.capacityDefault
    }

    /// When the oldest message that waits here was accepted.
    private func oldest(_ slot: ChannelSlot) -> Instant? {
        self[mailbox: slot].queue.first?.acceptedAt ?? self[mailbox: slot].pushed.first?.acceptedAt
    }

    // MARK: Sessions and drops

    private func sessionRows(_ query: InspectionQuery, _ now: Instant) throws(Failure) -> MessageValue {
        var page = try Page(query, columns: sessionColumns(now), limits: limits)
        for slot in sessions.slots {
            let (name, space) = (sessions[slot].hello.name, sessions[slot].hello.namespace)
            // Ids in decimal order even as text.
            let digits = String(sessions[slot].id.value)
            let identity = String(repeating: "0", count: 20 - digits.count) + digits
            guard page.consider(slot, identity: identity, matches: matches(query, nil, name, space)) else { break }
        }
        return try page.answer { row(of: $0, now) }
    }

    private func sessionColumns(_ now: Instant) -> [Column<SessionSlot>] {
        func traffic(_ slot: SessionSlot) -> Observed.Traffic {
            observed.traffic[sessions[slot].id] ?? Observed.Traffic()
        }
        return [
            Column(name: "name") { .text(sessions[$0].hello.name) },
            Column(name: "session") { .number(Double(sessions[$0].id.value)) },
            Column(name: "client") { .text(sessions[$0].hello.client) },
            Column(name: "role") { .text(sessions[$0].hello.role.rawValue) },
            Column(name: "namespace") { .text(sessions[$0].hello.namespace) },
            Column(name: "node") { .text(sessions[$0].hello.node ?? "") },
            Column(name: "channels") { .number(Double(sessions[$0].channels.count)) },
            Column(name: "memberships") { .number(Double(sessions[$0].memberships)) },
            Column(name: "receives") { .number(Double(sessions[$0].receives.count)) },
            Column(name: "frames_in") { .number(Double(traffic($0).framesIn)) },
            Column(name: "frames_out") { .number(Double(traffic($0).framesOut)) },
            Column(name: "bytes_in") { .number(Double(traffic($0).bytesIn)) },
            Column(name: "bytes_out") { .number(Double(traffic($0).bytesOut)) },
            Column(name: "link") { .number(traffic($0).away.map { Double($0.value) } ?? -1) },
            Column(name: "link_bytes") { .number(Double(traffic($0).linkBytes)) },
            Column(name: "age_milliseconds") { .number(elapsed(since: sessions[$0].openedAt, now)) },
        ]
    }

    private func row(of slot: SessionSlot, _ now: Instant) -> [String: MessageValue] {
        let (id, hello) = (sessions[slot].id, sessions[slot].hello)
        let traffic = observed.traffic[id] ?? Observed.Traffic()
        return [
            "session": .count(id.value), "name": .string(hello.name), "client": .string(hello.client),
            "role": .string(hello.role.rawValue), "namespace": .string(hello.namespace),
            "node": hello.node.map { .string($0) } ?? .null, "channels": .count(sessions[slot].channels.count),
            "memberships": .count(sessions[slot].memberships), "receives": .count(sessions[slot].receives.count),
            "frames_in": .count(traffic.framesIn), "frames_out": .count(traffic.framesOut),
            "bytes_in": .count(traffic.bytesIn), "bytes_out": .count(traffic.bytesOut),
            "link": traffic.away.map { .count($0.value) } ?? "up", "link_bytes": .count(traffic.linkBytes),
            "age_milliseconds": age(since: sessions[slot].openedAt, now),
            "attributes": .map(hello.attributes.mapValues { .string($0) }),
        ]
    }

    private func dropRows(_ query: InspectionQuery, _ now: Instant) throws(Failure) -> MessageValue {
        typealias Row = (key: DropLog.Key, entry: DropLog.Entry)
        let columns: [Column<Row>] = [
            // First, so that the newest come first when nothing else is asked for.
            Column(name: "age_milliseconds") { .number(elapsed(since: $0.entry.last, now)) },
            Column(name: "count") { .number(Double($0.entry.count)) },
            Column(name: "name") { .text($0.key.name) },
            Column(name: "namespace") { .text($0.key.namespace) },
            Column(name: "kind") { .text($0.key.kind.rawValue) },
            Column(name: "worker") { .text($0.key.worker) },
            Column(name: "reason") { .text($0.key.reason.name) },
        ]
        var page = try Page(query, columns: columns, limits: limits)
        for (key, entry) in dropLog.entries {
            let identity = "\(key.namespace) \(key.kind.rawValue) \(key.name) \(key.worker) \(key.reason.name)"
            let matches = matches(query, key.kind == .group ? .group : .channel, key.name, key.namespace)
            guard page.consider((key, entry), identity: identity, matches: matches) else { break }
        }
        return try page.answer { row in
            [
                "namespace": .string(row.key.namespace), "kind": .string(row.key.kind.rawValue),
                "name": .string(row.key.name), "worker": row.key.worker.isEmpty ? .null : .string(row.key.worker),
                "reason": .string(row.key.reason.name), "count": .count(row.entry.count),
                "age_milliseconds": age(since: row.entry.last, now),
            ]
        }
    }

    // MARK: Shared by the subjects

    /// Whether a row is asked for and may be shown; `kind` is `nil` for names that no pattern of a credential is about.
    private func matches(
        _ query: InspectionQuery,
        _ kind: Visibility.Kind?,
        _ name: String,
        _ namespace: String
    ) -> Bool {
        guard query.namespace.map({ $0 == namespace }) ?? true, query.match?.matches(name) ?? true else { return false }
        guard let kind else { return query.visibility.shows(namespace: namespace) }
        return query.visibility.shows(kind, name, in: namespace)
    }

    /// What `query.name` names, in its namespace or in all, ordered by namespace.
    private func named<Element>(
        _ query: InspectionQuery,
        in kind: String,
        _ find: (NamespaceSlot, String) -> Slot<Element>?
    ) throws(Failure) -> [Slot<Element>] {
        guard let name = query.name else { throw Failure(.badRequest, "INSPECT \(kind): the query needs a name") }
        let spaces = namespaceSlots.filter { space, _ in
            (query.namespace.map { $0 == space } ?? true)
                && query.visibility.shows(kind == "group" ? .group : .channel, name, in: space)
        }
        let found = spaces.sorted { $0.key < $1.key }.compactMap { find($0.value, name) }
        guard !found.isEmpty else { throw Failure(.notFound, "there is no \(kind) \"\(name)\"") }
        return found
    }

    private func whereabouts(of slot: ChannelSlot) -> [String: MessageValue] {
        [
            "namespace": .string(namespaces[channels[slot].namespace].name),
            "channel": .string(channels[slot].name),
            "session": channels[slot].owner.map { .count(sessions[$0].id.value) } ?? .null,
            "worker": channels[slot].owner.map { .string(sessions[$0].hello.name) } ?? .null,
            "remote": channels[slot].attributes?["remote"].map { .string($0) } ?? .null,
        ]
    }

    private func ownerID(of slot: ChannelSlot) -> UInt64 { channels[slot].owner.map { sessions[$0].id.value } ?? 0 }
    private func ownerName(of slot: ChannelSlot) -> String {
        channels[slot].owner.map { sessions[$0].hello.name } ?? ""
    }

    private func age(since start: Instant, _ now: Instant) -> MessageValue {
        .count(start.milliseconds(until: now).value)
    }

    private func elapsed(since start: Instant?, _ now: Instant) -> Double {
        start.map { Double($0.milliseconds(until: now).value) } ?? -1
    }
}
