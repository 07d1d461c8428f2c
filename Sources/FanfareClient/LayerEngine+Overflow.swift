import FanfareModel

// What becomes of messages there is no room for.
extension LayerEngine {
    /// Whether a member takes one more group message; when it does not, its overflow policy has been carried out.
    func hasRoom(_ channel: String, for delivery: GroupDelivery) -> Bool {
        let group = delivery.group
        let policy = session.welcome?.policy ?? policy
        let waiting = policy.capacityScope == .process ? unread : mailboxes[channel]?.unread ?? 0
        let bytes = (mailboxes[channel]?.bytes ?? 0) + delivery.body.count + delivery.trace.heldBytes
        guard waiting >= policy.capacity(of: channel) || bytes > limits.channelBytes else { return true }
        switch policy.overflow(of: channel) {
        case .dropOldest where (mailboxes[channel]?.unread ?? 0) > 0:
            loseOldest(1, of: channel)
            return hasRoom(channel, for: delivery)
        case .disconnect:
            close(channel) { _ in }
            discard(channel)
            drop(channel, group, 1, .full)
            missed(Gap(name: channel, count: 1, reason: .full, isClosed: true), by: channel)
        default:
            drop(channel, group, 1, .full)
            missed(Gap(name: channel, count: 1, reason: .full), by: channel)
        }
        return false
    }

    /// Lets the oldest messages of a channel whose policy says so fall until it, or its process, is within its capacity.
    func loseSurplus(of channel: String) {
        let policy = session.welcome?.policy ?? policy
        guard policy.overflow(of: channel) == .dropOldest else { return }
        let waiting = policy.capacityScope == .process ? unread : mailboxes[channel]?.unread ?? 0
        loseOldest(waiting - policy.capacity(of: channel), of: channel)
    }

    private func loseOldest(_ count: Int, of channel: String) {
        guard count > 0 else { return }
        var surplus = count
        lose(.full, of: channel) { _ in
            defer { surplus -= 1 }
            return surplus > 0
        }
    }

    // MARK: Closing

    /// Asks the broker to close a channel, behind the reports that say what was taken. What it still sends to the
    /// channel until it answers is lost: it counts that as `owner_gone`.
    func close(_ channel: String, _ done: @escaping (Result<MessageValue, Failure>) -> Void) {
        closing.insert(channel)
        call({ .closeChannels(id: $0, [channel]) }) { result in
            self.closing.remove(channel)
            done(result)
        }
    }

    /// Takes a channel that is closed out of its groups and lets fall what waits in it. The broker has counted the
    /// messages it knew of; those only this process knew of are counted here.
    func discard(_ channel: String) {
        leaveAll(channel)
        guard let lost = mailboxes[channel]?.lose(.ownerGone, where: { _ in true }) else { return }
        unread -= lost.count
        for message in lost where message.isHeld { drop(channel, message.group, 1, .ownerGone) }
        mailboxes[channel]?.forgetAccount()
        changed.remove(channel)
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
