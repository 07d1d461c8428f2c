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
    /// Whether all that adds up is 0 in the row, where that is known at once.
    func addsNothing(_ place: Int) -> Bool
    /// What the row has besides its columns.
    func details(_ place: Int) -> [String: MessageValue]
}

extension Listing {
    func addsNothing(_ place: Int) -> Bool { false }
    func details(_ place: Int) -> [String: MessageValue] { [:] }
}

/// A core to look at, behind a reference: a listing that held it would be copied, all of it, at each call.
final class CoreBox {
    let core: Core

    init(_ core: Core) {
        self.core = core
    }
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

    let box: CoreBox
    let query: InspectionQuery
    let now: Instant

    var placeCount: Int { box.core.groups.placeCount }
    private func slot(_ place: Int) -> GroupSlot { GroupSlot(index: UInt32(place)) }
    private func space(_ slot: GroupSlot) -> String { box.core.namespaces[box.core.groups[slot].namespace].name }

    func hasRow(_ place: Int) -> Bool { box.core.groups.contains(slot(place)) }

    func isAsked(_ place: Int) -> Bool {
        query.matches(.group, box.core.groups[slot(place)].name, space(slot(place)))
    }

    func identity(_ place: Int) -> RowIdentity {
        RowIdentity(space: space(slot(place)), name: box.core.groups[slot(place)].name)
    }

    func value(_ column: Column, _ place: Int) -> MessageValue {
        let slot = slot(place)
        return switch column {
        case .group: .string(box.core.groups[slot].name)
        case .namespace: .string(space(slot))
        case .members: .count(box.core.groups[slot].memberCount)
        case .owners: .count(box.core.groups[slot].owners.count)
        case .messages: .count(box.core.groups[slot].messages)
        case .rate: .double(box.core.groups[slot].rate.perSecond(at: now))
        case .drops: .count(box.core.groups[slot].drops)
        case .age: box.core.groups[slot].openedAt.age(at: now)
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

    let box: CoreBox
    let query: InspectionQuery
    let now: Instant
    let places: [UInt32]?
    /// Those that still are the ones asked for.
    let groups: [GroupSlot]

    init(_ box: CoreBox, _ inspection: Inspection, _ now: Instant) {
        self.box = box
        query = inspection.query
        self.now = now
        places = inspection.places
        let name = inspection.query.name
        groups = inspection.groups.filter { box.core.groups.contains($0) && box.core.groups[$0].name == name }
    }

    var placeCount: Int { places?.count ?? box.core.memberships.placeCount }
    private func slot(_ place: Int) -> MembershipSlot {
        MembershipSlot(index: places.map { $0[place] } ?? UInt32(place))
    }

    private func channel(_ place: Int) -> ChannelSlot { box.core.memberships[slot(place)].channel }

    func hasRow(_ place: Int) -> Bool {
        let slot = slot(place)
        return box.core.memberships.contains(slot) && groups.contains(box.core.memberships[slot].group)
    }

    private func space(_ place: Int) -> String {
        box.core.namespaces[box.core.channels[channel(place)].namespace].name
    }

    func isAsked(_ place: Int) -> Bool {
        query.matches(.channel, box.core.channels[channel(place)].name, space(place))
    }

    func identity(_ place: Int) -> RowIdentity {
        RowIdentity(space: space(place), name: box.core.channels[channel(place)].name)
    }

    func value(_ column: Column, _ place: Int) -> MessageValue {
        let slot = slot(place)
        switch column {
        case .channel: return .string(box.core.channels[channel(place)].name)
        case .session: return box.core.ownerNumber(of: channel(place))
        case .worker: return box.core.ownerName(of: channel(place))
        case .namespace: return .string(space(place))
        case .group: return .string(box.core.groups[box.core.memberships[slot].group].name)
        case .remote: return box.core.channels[channel(place)].attributes?["remote"].value ?? .null
        case .age: return box.core.memberships[slot].joinedAt.age(at: now)
        case .expires:
            guard let deadline = box.core.deadlines[box.core.memberships[slot].timer] else { return .null }
            return .count(now.milliseconds(until: deadline).value)
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

    let box: CoreBox
    let query: InspectionQuery
    let now: Instant
    let places: [UInt32]?

    var placeCount: Int { places?.count ?? box.core.channels.placeCount }
    private func slot(_ place: Int) -> ChannelSlot { ChannelSlot(index: places.map { $0[place] } ?? UInt32(place)) }
    private func space(_ slot: ChannelSlot) -> String {
        box.core.namespaces[box.core.channels[slot].namespace].name
    }

    func hasRow(_ place: Int) -> Bool { box.core.channels.contains(slot(place)) }

    func isAsked(_ place: Int) -> Bool {
        let name = box.core.channels[slot(place)].name
        return query.matches(.channel, name, space(slot(place))) && (query.name ?? name) == name
    }

    func identity(_ place: Int) -> RowIdentity {
        RowIdentity(space: space(slot(place)), name: box.core.channels[slot(place)].name)
    }

    func value(_ column: Column, _ place: Int) -> MessageValue {
        let slot = slot(place)
        let mailbox = box.core.channels[slot].mailbox
        return switch column {
        case .channel: .string(box.core.channels[slot].name)
        case .namespace: .string(space(slot))
        case .depth: .count(box.core.mailboxes[mailbox].unread)
        case .depthHigh: .count(box.core.mailboxes[mailbox].depthHigh)
        case .bytes: .count(box.core.mailboxes[mailbox].queuedBytes + box.core.mailboxes[mailbox].pushedBytes)
        case .oldest: box.core.mailboxes[mailbox].oldest?.age(at: now) ?? .null
        case .capacity: .count(box.core.capacity(of: slot))
        case .readers: .count(box.core.mailboxes[mailbox].waitingReaders)
        case .groups: .count(box.core.channels[slot].groups.count)
        case .session: box.core.ownerNumber(of: slot)
        case .worker: box.core.ownerName(of: slot)
        case .remote: box.core.channels[slot].attributes?["remote"].value ?? .null
        case .messages: .count(box.core.mailboxes[mailbox].messages)
        case .rate: .double(box.core.mailboxes[mailbox].rate.perSecond(at: now))
        case .drops: .count(box.core.mailboxes[mailbox].drops)
        }
    }

    /// So with most channels: they are nothing but members.
    func addsNothing(_ place: Int) -> Bool { box.core.channels[slot(place)].mailbox == .none }

    /// Of one channel that was asked for by name.
    func details(_ place: Int) -> [String: MessageValue] {
        guard query.subject == .channel else { return [:] }
        let channel = box.core.channels[slot(place)]
        let names = channel.groups.lazy.map { box.core.groups[$0.group].name }
        let shown = names.filter { query.visibility.shows(.group, $0, in: space(slot(place))) }
        return [
            "attributes": .map((channel.attributes ?? [:]).mapValues { .string($0) }),
            "group_names": .array(shown.map { .string($0) }),
        ]
    }
}

extension Mailbox {
    /// When the oldest message that waits here was accepted.
    @inline(__always)
    var oldest: Instant? { queue.first?.acceptedAt ?? pushed.first?.acceptedAt }
}

// Inlined: a call would copy the core.
extension Core {
    /// The capacity shown for a channel: the owner's, else the broker's default, since senders may differ.
    @inline(__always)
    func capacity(of slot: ChannelSlot) -> Int {
        guard let owner = channels[slot].owner else { return limits.capacityDefault }
        return sessions[owner].policy.capacity(of: channels[slot].name)
    }

    @inline(__always)
    func ownerNumber(of slot: ChannelSlot) -> MessageValue {
        channels[slot].owner.map { .count(sessions[$0].id.value) } ?? .null
    }

    @inline(__always)
    func ownerName(of slot: ChannelSlot) -> MessageValue {
        channels[slot].owner.map { .string(sessions[$0].hello.name) } ?? .null
    }
}
