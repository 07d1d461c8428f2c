import FanfareModel
import NIOCore

// What the broker is told of what waits here, and what expires here.
extension LayerEngine {
    func drop(_ channel: String, _ group: String?, _ count: UInt64, _ reason: DropReason) {
        drops.append(Report.Dropped(channel: channel, group: group, count: count, reason: reason))
        scheduleReport()
    }

    /// Counts a message that was taken and could not be read.
    func dropUndecodable(_ channel: String) {
        drop(channel, nil, 1, .undecodable)
    }

    func note(_ channel: String) {
        guard mailboxes[channel]?.needsReport == true else { return }
        changed.insert(channel)
        scheduleReport()
    }

    func scheduleReport() {
        guard !isReportScheduled else { return }
        isReportScheduled = true
        loop.assumeIsolated().execute { self.report() }
    }

    /// Tells the broker what was taken and dropped since the last time, in as many frames as it takes. While there is no
    /// link it is kept: the session may go on, and a new one begins with what waits then.
    func report() {
        isReportScheduled = false
        guard !changed.isEmpty || !drops.isEmpty, session.isLinked else { return }
        var taken: [Report.Taken] = []
        for channel in changed {
            guard let mailbox = mailboxes[channel], mailbox.needsReport else { continue }
            taken.append(Report.Taken(channel: channel, taken: mailbox.taken, held: mailbox.held))
            mailboxes[channel]?.taken = 0
            mailboxes[channel]?.reportedHeld = mailbox.held
            removeIfIdle(channel)
        }
        changed.removeAll(keepingCapacity: true)
        let most = max((session.welcome?.namesPerFrame ?? limits.namesPerFrame) / 2, 1)
        while !taken.isEmpty || !drops.isEmpty {
            session.post(
                .report(
                    Report(
                        received: session.received,
                        taken: Array(taken.prefix(most)),
                        dropped: Array(drops.prefix(most))
                    )
                )
            )
            taken.removeFirst(min(most, taken.count))
            drops.removeFirst(min(most, drops.count))
        }
    }

    // MARK: Expiry of what nobody takes

    /// Arms the one timer for the next message that expires, and only when that comes closer.
    func scheduleExpiry(_ deadline: NIODeadline) {
        if let expiry, expiry.deadline <= deadline { return }
        expiry?.task.cancel()
        let task = loop.assumeIsolated().scheduleTask(deadline: deadline) {
            self.expiry = nil
            self.expire()
        }
        expiry = (deadline, task)
    }

    /// Mailboxes kept though nothing but a hole may be left in them; beyond them such mailboxes are forgotten.
    static let mailboxesKept = 16_384

    /// Turns what has expired into holes, so that its room is free again.
    func expire() {
        let now = loop.now
        var next: NIODeadline?
        for channel in Array(mailboxes.keys) {
            lose(.expired, of: channel) { $0.deadline <= now }
            removeIfIdle(channel)
            if let earliest = mailboxes[channel]?.earliestDeadline { next = next.map { min($0, earliest) } ?? earliest }
        }
        // Anybody may send to a channel of this process that was never made, and what expires there leaves a hole.
        if mailboxes.count > Self.mailboxesKept { mailboxes = mailboxes.filter { !$0.value.isForgettable } }
        // What was taken in time keeps no timer; a burst that expires bit by bit is looked at every few milliseconds.
        if let next { scheduleExpiry(max(next, now + .milliseconds(5))) }
    }
}
