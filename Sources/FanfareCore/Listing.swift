import FanfareModel

/// A column of a listing, by its name on the wire. The first one orders the rows when nothing else is asked for.
protocol ListingColumn: RawRepresentable<String>, CaseIterable where AllCases == [Self] {
    /// Whether the sum of all rows says something.
    var addsUp: Bool { get }
    var ordersRows: Bool { get }
}

extension ListingColumn {
    var ordersRows: Bool { true }
}

/// A table as `INSPECT` lists it: places, each of which may hold a row. Made anew for each slice of an inspection.
protocol Listing {
    associatedtype Column: ListingColumn
    /// Places there are now, with a row or without.
    var placeCount: Int { get }
    /// Whether there is a row at a place; asked before anything else of it.
    func hasRow(_ place: Int) -> Bool
    /// Whether the row matches the query and may be shown.
    func isAsked(_ place: Int) -> Bool
    func identity(_ place: Int) -> RowIdentity
    func value(_ column: Column, _ place: Int) -> MessageValue
    /// What the row has besides its columns.
    func details(_ place: Int) -> [String: MessageValue]
}

extension Listing {
    func details(_ place: Int) -> [String: MessageValue] { [:] }
}

extension InspectionQuery {
    /// Whether a row is asked for and may be shown; `kind` is `nil` for names that no pattern of a credential is about.
    func matches(_ kind: Visibility.Kind?, _ name: String, _ namespace: String) -> Bool {
        if let asked = self.namespace, asked != namespace { return false }
        if let match, !match.matches(name) { return false }
        guard let kind else { return visibility.shows(namespace: namespace) }
        return visibility.shows(kind, name, in: namespace)
    }
}

extension Instant {
    /// How long ago it was, in whole milliseconds.
    func age(at now: Instant) -> MessageValue { .count(milliseconds(until: now).value) }
}

extension Optional<String> {
    /// The text, or nil.
    var value: MessageValue { map { .string($0) } ?? .null }
}

// MARK: Groups

struct GroupListing: Listing {
    enum Column: String, ListingColumn {
        case group, namespace, members, owners, messages, rate, drops
        case age = "age_milliseconds"

        var addsUp: Bool {
            switch self {
            case .members, .messages, .rate, .drops: true
            case .group, .namespace, .owners, .age: false
            }
        }
    }

    let core: Core
    let query: InspectionQuery
    let now: Instant

    var placeCount: Int { core.groups.placeCount }
    private func slot(_ place: Int) -> GroupSlot { GroupSlot(index: UInt32(place)) }
    private func space(_ slot: GroupSlot) -> String { core.namespaces[core.groups[slot].namespace].name }

    func hasRow(_ place: Int) -> Bool { core.groups.contains(slot(place)) }

    func isAsked(_ place: Int) -> Bool {
        query.matches(.group, core.groups[slot(place)].name, space(slot(place)))
    }

    func identity(_ place: Int) -> RowIdentity {
        RowIdentity(space: space(slot(place)), name: core.groups[slot(place)].name)
    }

    func value(_ column: Column, _ place: Int) -> MessageValue {
        let slot = slot(place)
        return switch column {
        case .group: .string(core.groups[slot].name)
        case .namespace: .string(space(slot))
        case .members: .count(core.groups[slot].memberCount)
        case .owners: .count(core.groups[slot].owners.count)
        case .messages: .count(core.groups[slot].messages)
        case .rate: .double(core.groups[slot].rate.perSecond(at: now))
        case .drops: .count(core.groups[slot].drops)
        case .age: core.groups[slot].openedAt.age(at: now)
        }
    }
}

/// The members of the groups of one name.
struct MemberListing: Listing {
    enum Column: String, ListingColumn {
        case channel, session, worker, namespace, group, remote
        case age = "age_milliseconds"
        case expires = "expires_milliseconds"

        var addsUp: Bool { false }
    }

    let core: Core
    let query: InspectionQuery
    let now: Instant
    let places: [UInt32]?
    /// Those that still are the ones asked for.
    let groups: [GroupSlot]

    init(_ core: Core, _ inspection: Inspection, _ now: Instant) {
        self.core = core
        query = inspection.query
        self.now = now
        places = inspection.places
        let name = inspection.query.name
        groups = inspection.groups.filter { core.groups.contains($0) && core.groups[$0].name == name }
    }

    var placeCount: Int { places?.count ?? core.memberships.placeCount }
    private func slot(_ place: Int) -> MembershipSlot {
        MembershipSlot(index: places.map { $0[place] } ?? UInt32(place))
    }

    private func channel(_ place: Int) -> ChannelSlot { core.memberships[slot(place)].channel }

    func hasRow(_ place: Int) -> Bool {
        let slot = slot(place)
        return core.memberships.contains(slot) && groups.contains(core.memberships[slot].group)
    }

    private func space(_ place: Int) -> String {
        core.namespaces[core.channels[channel(place)].namespace].name
    }

    func isAsked(_ place: Int) -> Bool {
        query.matches(.channel, core.channels[channel(place)].name, space(place))
    }

    func identity(_ place: Int) -> RowIdentity {
        RowIdentity(space: space(place), name: core.channels[channel(place)].name)
    }

    func value(_ column: Column, _ place: Int) -> MessageValue {
        let slot = slot(place)
        switch column {
        case .channel: return .string(core.channels[channel(place)].name)
        case .session: return core.ownerNumber(of: channel(place))
        case .worker: return core.ownerName(of: channel(place))
        case .namespace: return .string(space(place))
        case .group: return .string(core.groups[core.memberships[slot].group].name)
        case .remote: return core.channels[channel(place)].attributes?["remote"].value ?? .null
        case .age: return core.memberships[slot].joinedAt.age(at: now)
        case .expires:
            return core.deadlines[core.memberships[slot].timer].map { .count(now.milliseconds(until: $0).value) }
                ?? .null
        }
    }
}

// MARK: Channels

struct ChannelListing: Listing {
    enum Column: String, ListingColumn {
        case channel, namespace, depth
        case depthHigh = "depth_high"
        case bytes
        case oldest = "oldest_milliseconds"
        case capacity, readers, groups, session, worker, remote, messages, rate, drops

        var addsUp: Bool {
            switch self {
            case .depth, .bytes, .readers, .messages, .rate, .drops: true
            default: false
            }
        }
    }

    let core: Core
    let query: InspectionQuery
    let now: Instant
    let places: [UInt32]?

    var placeCount: Int { places?.count ?? core.channels.placeCount }
    private func slot(_ place: Int) -> ChannelSlot { ChannelSlot(index: places.map { $0[place] } ?? UInt32(place)) }
    private func space(_ slot: ChannelSlot) -> String { core.namespaces[core.channels[slot].namespace].name }

    func hasRow(_ place: Int) -> Bool { core.channels.contains(slot(place)) }

    func isAsked(_ place: Int) -> Bool {
        let name = core.channels[slot(place)].name
        return query.matches(.channel, name, space(slot(place))) && (query.name ?? name) == name
    }

    func identity(_ place: Int) -> RowIdentity {
        RowIdentity(space: space(slot(place)), name: core.channels[slot(place)].name)
    }

    func value(_ column: Column, _ place: Int) -> MessageValue {
        let slot = slot(place)
        let mailbox = core.channels[slot].mailbox
        return switch column {
        case .channel: .string(core.channels[slot].name)
        case .namespace: .string(space(slot))
        case .depth: .count(core.mailboxes[mailbox].unread)
        case .depthHigh: .count(core.mailboxes[mailbox].depthHigh)
        case .bytes: .count(core.mailboxes[mailbox].queuedBytes + core.mailboxes[mailbox].pushedBytes)
        case .oldest: core.mailboxes[mailbox].oldest?.age(at: now) ?? .null
        case .capacity: .count(core.capacity(of: slot))
        case .readers: .count(core.mailboxes[mailbox].waitingReaders)
        case .groups: .count(core.channels[slot].groups.count)
        case .session: core.ownerNumber(of: slot)
        case .worker: core.ownerName(of: slot)
        case .remote: core.channels[slot].attributes?["remote"].value ?? .null
        case .messages: .count(core.mailboxes[mailbox].messages)
        case .rate: .double(core.mailboxes[mailbox].rate.perSecond(at: now))
        case .drops: .count(core.mailboxes[mailbox].drops)
        }
    }

    /// Of one channel that was asked for by name.
    func details(_ place: Int) -> [String: MessageValue] {
        guard query.subject == .channel else { return [:] }
        let channel = core.channels[slot(place)]
        let names = channel.groups.lazy.map { core.groups[$0.group].name }
        let shown = names.filter { query.visibility.shows(.group, $0, in: space(slot(place))) }
        return [
            "attributes": .map((channel.attributes ?? [:]).mapValues { .string($0) }),
            "group_names": .array(shown.map { .string($0) }),
        ]
    }
}

extension Mailbox {
    /// When the oldest message that waits here was accepted.
    var oldest: Instant? { queue.first?.acceptedAt ?? pushed.first?.acceptedAt }
}

extension Core {
    /// The capacity shown for a channel: the owner's, else the broker's default, since senders may differ.
    func capacity(of slot: ChannelSlot) -> Int {
        guard let owner = channels[slot].owner else { return limits.capacityDefault }
        return sessions[owner].policy.capacity(of: channels[slot].name)
    }

    func ownerNumber(of slot: ChannelSlot) -> MessageValue {
        channels[slot].owner.map { .count(sessions[$0].id.value) } ?? .null
    }

    func ownerName(of slot: ChannelSlot) -> MessageValue {
        channels[slot].owner.map { .string(sessions[$0].hello.name) } ?? .null
    }
}
