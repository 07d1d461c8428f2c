import FanfareModel

/// The live sessions, with what the shell knows of them.
struct SessionListing<Shell: Observations>: Listing {
    enum Column: String, ListingColumn {
        case name, session, client, role, namespace, node, remote, channels, memberships, receives
        case framesIn = "frames_in"
        case framesOut = "frames_out"
        case bytesIn = "bytes_in"
        case bytesOut = "bytes_out"
        case messagesIn = "messages_in"
        case messagesOut = "messages_out"
        case rateIn = "rate_in"
        case rateOut = "rate_out"
        case drops
        case lag = "lag_milliseconds"
        case link
        case linkBytes = "link_bytes"
        case age = "age_milliseconds"
        case attributes

        var addsUp: Bool {
            switch self {
            case .name, .session, .client, .role, .namespace, .node, .remote, .lag, .link, .age, .attributes: false
            default: true
            }
        }

        var ordersRows: Bool { self != .attributes }
    }

    let box: CoreBox
    let query: InspectionQuery
    let now: Instant
    let shell: Shell

    var placeCount: Int { box.core.sessions.placeCount }
    private func slot(_ place: Int) -> SessionSlot { SessionSlot(index: UInt32(place)) }

    func hasRow(_ place: Int) -> Bool { box.core.sessions.contains(slot(place)) }

    func isAsked(_ place: Int) -> Bool {
        let slot = slot(place)
        return query.matches(nil, box.core.sessions[slot].hello.name, box.core.sessions[slot].hello.namespace)
    }

    func identity(_ place: Int) -> RowIdentity { RowIdentity(number: box.core.sessions[slot(place)].id.value) }

    func value(_ column: Column, _ place: Int) -> MessageValue {
        let slot = slot(place)
        return switch column {
        case .name: .string(box.core.sessions[slot].hello.name)
        case .session: .count(box.core.sessions[slot].id.value)
        case .client: .string(box.core.sessions[slot].hello.client)
        case .role: .string(box.core.sessions[slot].hello.role.rawValue)
        case .namespace: .string(box.core.sessions[slot].hello.namespace)
        case .node: box.core.sessions[slot].hello.node.value
        case .channels: .count(box.core.sessions[slot].channels.count)
        case .memberships: .count(box.core.sessions[slot].memberships)
        case .receives: .count(box.core.sessions[slot].receives.count)
        case .drops: .count(box.core.sessions[slot].drops)
        case .age: box.core.sessions[slot].openedAt.age(at: now)
        case .attributes: .map(box.core.sessions[slot].hello.attributes.mapValues { .string($0) })
        default: observed(column, shell.observation(of: box.core.sessions[slot].id))
        }
    }

    private func observed(_ column: Column, _ seen: SessionObservation) -> MessageValue {
        switch column {
        case .remote: seen.remote.isEmpty ? .null : .string(seen.remote)
        case .framesIn: .count(seen.traffic.framesIn)
        case .framesOut: .count(seen.traffic.framesOut)
        case .bytesIn: .count(seen.traffic.bytesIn)
        case .bytesOut: .count(seen.traffic.bytesOut)
        case .messagesIn: .count(seen.traffic.messagesIn)
        case .messagesOut: .count(seen.traffic.messagesOut)
        case .rateIn: .double(seen.rateIn.perSecond(at: now))
        case .rateOut: .double(seen.rateOut.perSecond(at: now))
        case .lag: seen.lagMilliseconds.map { .double($0) } ?? .null
        case .link: seen.away.map { .count($0.value) } ?? "up"
        case .linkBytes: .count(seen.linkBytes)
        default: .null
        }
    }
}

// MARK: What is over

/// The connections that ended last.
struct ClosedListing: Listing {
    enum Column: String, ListingColumn {
        case age = "age_milliseconds"
        case session, name, client, role, namespace, node, remote, reason, detail
        case lived = "lived_milliseconds"
        case framesIn = "frames_in"
        case framesOut = "frames_out"
        case bytesIn = "bytes_in"
        case bytesOut = "bytes_out"
        case messagesIn = "messages_in"
        case messagesOut = "messages_out"
        case drops

        var addsUp: Bool {
            switch self {
            case .framesIn, .framesOut, .bytesIn, .bytesOut, .messagesIn, .messagesOut, .drops: true
            default: false
            }
        }
    }

    let log: ClosedLog
    let query: InspectionQuery
    let now: Instant

    var placeCount: Int { log.entries.count }
    func hasRow(_ place: Int) -> Bool { true }

    func isAsked(_ place: Int) -> Bool {
        let closed = log.entries[place]
        guard query.matches(nil, closed.name, closed.namespace) else { return false }
        return query.reason.map { $0 == closed.reason.name } ?? true
    }

    /// Counted down: of those that ended at the same moment the last comes first.
    func identity(_ place: Int) -> RowIdentity { RowIdentity(number: .max - log.entries[place].number) }

    func value(_ column: Column, _ place: Int) -> MessageValue {
        let closed = log.entries[place]
        return switch column {
        case .age: closed.endedAt.age(at: now)
        case .session: closed.session.map { .count($0.value) } ?? .null
        case .name: closed.name.isEmpty ? .null : .string(closed.name)
        case .client: closed.client.isEmpty ? .null : .string(closed.client)
        case .role: closed.role.map { .string($0.rawValue) } ?? .null
        case .namespace: closed.namespace.isEmpty ? .null : .string(closed.namespace)
        case .node: closed.node.value
        case .remote: closed.remote.isEmpty ? .null : .string(closed.remote)
        case .reason: .string(closed.reason.name)
        case .detail: closed.detail.isEmpty ? .null : .string(closed.detail)
        case .lived: closed.openedAt.age(at: closed.endedAt)
        case .framesIn: .count(closed.traffic.framesIn)
        case .framesOut: .count(closed.traffic.framesOut)
        case .bytesIn: .count(closed.traffic.bytesIn)
        case .bytesOut: .count(closed.traffic.bytesOut)
        case .messagesIn: .count(closed.traffic.messagesIn)
        case .messagesOut: .count(closed.traffic.messagesOut)
        case .drops: .count(closed.drops)
        }
    }
}

/// The names that lost something last.
struct DropListing: Listing {
    enum Column: String, ListingColumn {
        // First, so that the newest come first when nothing else is asked for.
        case age = "age_milliseconds"
        case count, name, namespace, kind, worker, reason

        var addsUp: Bool { self == .count }
    }

    let log: DropLog
    let query: InspectionQuery
    let now: Instant

    var placeCount: Int { log.entries.placeCount }
    private func slot(_ place: Int) -> Slot<DropLog.Entry> { Slot(index: UInt32(place)) }
    private func key(_ place: Int) -> DropLog.Key { log.entries[slot(place)].key }

    func hasRow(_ place: Int) -> Bool { log.entries.contains(slot(place)) }

    func isAsked(_ place: Int) -> Bool {
        let key = key(place)
        guard query.matches(key.kind == .group ? .group : .channel, key.name, key.namespace) else { return false }
        return query.reason.map { $0 == key.reason.name } ?? true
    }

    func identity(_ place: Int) -> RowIdentity {
        let key = key(place)
        let name = "\(key.kind.rawValue) \(key.name) \(key.worker) \(key.reason.name)"
        return RowIdentity(space: key.namespace, name: name)
    }

    func value(_ column: Column, _ place: Int) -> MessageValue {
        let entry = log.entries[slot(place)]
        return switch column {
        case .age: entry.last.age(at: now)
        case .count: .count(entry.count)
        case .name: .string(entry.key.name)
        case .namespace: .string(entry.key.namespace)
        case .kind: .string(entry.key.kind.rawValue)
        case .worker: entry.key.worker.isEmpty ? .null : .string(entry.key.worker)
        case .reason: .string(entry.key.reason.name)
        }
    }
}
