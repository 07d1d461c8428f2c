package import FanfareModel

/// What a credential allows within its roles. Everything, unless patterns say otherwise.
package struct Permissions: Sendable, Equatable {
    /// The namespaces it may say hello to, look at and tail.
    package var namespaces = NamePatterns.all
    /// The nodes it may own: what is sent to a process channel reaches whoever owns its node.
    package var nodes = NamePatterns.all
    /// Channels it may send to, and put into groups or take out of them.
    package var sendChannels = NamePatterns.all
    /// Normal channels it may receive from, and tail.
    package var receiveChannels = NamePatterns.all
    /// Groups it may send to.
    package var sendGroups = NamePatterns.all
    /// Groups it may add channels to and take them out of, and tail.
    package var joinGroups = NamePatterns.all

    package init() {}

    var lists: [NamePatterns] { [namespaces, nodes, sendChannels, receiveChannels, sendGroups, joinGroups] }

    /// Whether the names of channels and groups are not looked at.
    var allowsAllNames: Bool {
        sendChannels.allowsAll && receiveChannels.allowsAll && sendGroups.allowsAll && joinGroups.allowsAll
    }
}

/// Stands between a session and the core: lets through what the patterns of its credential allow.
///
/// Pure. What a session owns, its process channels, is its own whatever the patterns say.
package final class Gate: Sendable {
    private let name: String
    private let permissions: Permissions
    private let node: String?
    private let namespace: String

    /// - Returns: `nil` for a session that needs none: its requests cost nothing.
    package init?(_ access: Access, _ hello: Hello) {
        // Namespaces bind sessions that only act in their own at the hello.
        let looksElsewhere = hello.role == .inspect || hello.role == .admin
        guard !access.permissions.allowsAllNames || (looksElsewhere && !access.permissions.namespaces.allowsAll) else {
            return nil
        }
        name = access.name
        permissions = access.permissions
        node = hello.node
        namespace = hello.namespace
    }

    /// What the core may be asked of `request`: the same, or with less to be seen.
    ///
    /// - Throws: `forbidden`, before the core is asked anything: whether a name exists makes no difference.
    package func admit(_ request: Request) throws(Failure) -> Request {
        switch request {
        case .hello, .ping, .pong, .goodbye, .cancel, .outcome: break
        // Only what the session owns; the core sees to that.
        case .openChannels, .closeChannels: break
        case .send(_, let channel, _, _): try send(to: channel)
        case .receive(_, let channel, _), .giveBack(_, let channel, _): try receive(from: channel)
        case .report(let report):
            // Drops of channels that are not its own are believed of who reads them.
            for dropped in report.dropped {
                if let channel = dropped.channel {
                    try receive(from: channel)
                } else if let group = dropped.group {
                    try check(group, "report drops of the group", permissions.joinGroups)
                }
            }
        case .groupAdd(_, let group, let channels, _), .groupDiscard(_, let group, let channels):
            try check(group, "add to or take from the group", permissions.joinGroups)
            // A member gets what is sent to the group: adding is a way of sending.
            for channel in channels { try send(to: channel) }
        case .groupSend(_, let group, _, _): try check(group, "send to the group", permissions.sendGroups)
        case .flush: try needsAllNames("flush the namespace, which has other names in it")
        case .inspect(let id, let query): return .inspect(id, try admit(query))
        case .tail(let id, let query): return .tail(id, try admit(query))
        case .admin: throw Failure(.forbidden, "the credential \"\(name)\" has patterns, and ADMIN knows none")
        }
        return request
    }

    private func send(to channel: String) throws(Failure) {
        if !isOwn(channel) { try check(channel, "send to the channel", permissions.sendChannels) }
    }

    private func receive(from channel: String) throws(Failure) {
        if !isOwn(channel) { try check(channel, "receive from the channel", permissions.receiveChannels) }
    }

    private func isOwn(_ channel: String) -> Bool {
        guard let node, let owner = Names.node(of: channel) else { return false }
        return owner == node
    }

    private func check(_ name: String, _ what: String, _ patterns: NamePatterns) throws(Failure) {
        guard !patterns.allow(name) else { return }
        throw Failure(.forbidden, "the credential \"\(self.name)\" may not \(what) \"\(name)\", only: \(patterns)")
    }

    private func needsAllNames(_ what: String) throws(Failure) {
        guard !permissions.allowsAllNames else { return }
        throw Failure(.forbidden, "the credential \"\(name)\" has patterns and may not \(what)")
    }

    // MARK: Looking

    private func admit(_ query: InspectionQuery) throws(Failure) -> InspectionQuery {
        let channels = permissions.sendChannels.union(permissions.receiveChannels)
        let groups = permissions.sendGroups.union(permissions.joinGroups)
        try checkNamespace(query.namespace)
        if let asked = query.name {
            if query.subject == .group { try check(asked, "inspect the group", groups) }
            if query.subject == .channel, !isOwn(asked) { try check(asked, "inspect the channel", channels) }
        }
        var admitted = query
        admitted.visibility = visibility(channels, groups)
        return admitted
    }

    /// Messages are shown to who might have got them anyway.
    private func admit(_ query: TailQuery) throws(Failure) -> TailQuery {
        try checkNamespace(query.namespace)
        var admitted = query
        admitted.visibility = visibility(permissions.receiveChannels, permissions.joinGroups)
        return admitted
    }

    private func visibility(_ channels: NamePatterns, _ groups: NamePatterns) -> Visibility {
        var visibility = Visibility()
        visibility.namespaces = permissions.namespaces
        visibility.channels = channels
        visibility.groups = groups
        visibility.node = node
        visibility.ownNamespace = namespace
        return visibility
    }

    private func checkNamespace(_ asked: String?) throws(Failure) {
        if let asked { try check(asked, "look into the namespace", permissions.namespaces) }
    }
}
