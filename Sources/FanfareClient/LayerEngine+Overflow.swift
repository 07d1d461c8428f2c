import FanfareModel

// What becomes of messages there is no room for.
extension LayerEngine {
    /// Whether a member takes one more group message; when it does not, its overflow policy has been carried out.
    func hasRoom(_ channel: String, for group: String) -> Bool {
        let policy = session.welcome?.policy ?? policy
        let waiting = policy.capacityScope == .process ? unread : mailboxes[channel]?.unread ?? 0
        let capacity = policy.capacity(of: channel)
        guard waiting >= capacity else { return true }
        switch policy.overflow(of: channel) {
        case .dropOldest where (mailboxes[channel]?.unread ?? 0) > 0:
            loseOldest(of: channel, beyond: (mailboxes[channel]?.unread ?? 1) - 1)
            return true
        case .disconnect:
            session.post(.closeChannels(id: nil, [channel]))
            leaveAll(channel)
            drop(channel, group, 1, .full)
            missed(Gap(name: channel, count: 1, reason: .full, isClosed: true), by: channel)
        default:
            drop(channel, group, 1, .full)
            missed(Gap(name: channel, count: 1, reason: .full), by: channel)
        }
        return false
    }

    /// Lets the oldest messages of a channel fall until `most` are left.
    func loseOldest(of channel: String, beyond most: Int) {
        var surplus = (mailboxes[channel]?.unread ?? 0) - most
        guard surplus > 0 else { return }
        lose(.full, of: channel) { _ in
            defer { surplus -= 1 }
            return surplus > 0
        }
    }

    /// Puts holes in the place of messages that are lost, and counts them.
    func lose(_ reason: DropReason, of channel: String, where isLost: (Mailbox.Message) -> Bool) {
        guard let lost = mailboxes[channel]?.lose(reason, where: isLost), !lost.isEmpty else { return }
        unread -= lost.count
        for message in lost { drop(channel, message.group, 1, reason) }
        note(channel)
    }

    func leaveAll(_ channel: String) {
        for group in mailboxes[channel]?.groups ?? [] { leave(channel, group) }
    }
}
