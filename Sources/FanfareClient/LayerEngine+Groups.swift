import FanfareModel

// Which channels of this process are in which groups.
extension LayerEngine {
    /// Adds channels; own ones count from the moment the answer passes.
    func groupAdd(_ channel: String, to group: String, _ done: @escaping (Result<MessageValue, Failure>) -> Void) {
        session.call({ .groupAdd(id: $0, group: group, channels: [channel], groupExpiry: nil) }) { result in
            if case .success = result, self.isOwn(channel) { self.join(channel, group) }
            done(result)
        }
    }

    /// Discards a channel; an own one stops counting when the answer passes.
    func groupDiscard(_ channel: String, from group: String, _ done: @escaping (Result<MessageValue, Failure>) -> Void)
    {
        session.call({ .groupDiscard(id: $0, group: group, channels: [channel]) }) { result in
            if case .success = result { self.leave(channel, group) }
            done(result)
        }
    }

    /// Registers members again after a reconnect, many to a frame.
    func add(_ members: [String], to group: String) {
        let most = session.welcome?.namesPerFrame ?? limits.namesPerFrame
        for start in stride(from: 0, to: members.count, by: most) {
            let names = Array(members[start..<min(start + most, members.count)])
            session.call({ .groupAdd(id: $0, group: group, channels: names, groupExpiry: nil) }) { result in
                self.addedAgain(names, to: group, result)
            }
        }
    }

    func join(_ channel: String, _ group: String) {
        guard !closing.contains(channel) else { return }
        groups[group, default: []].insert(channel)
        mailboxes[channel, default: Mailbox()].groups.insert(group)
    }

    func leave(_ channel: String, _ group: String) {
        groups[group]?.remove(channel)
        if groups[group]?.isEmpty == true { groups[group] = nil }
        mailboxes[channel]?.groups.remove(group)
        removeIfIdle(channel)
    }
}
