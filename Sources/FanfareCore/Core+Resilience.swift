package import FanfareModel

extension Core {
    /// Lets a message fall on purpose: acknowledged like any other, counted as `injected`, delivered to nobody.
    ///
    /// For the resilience mode; the decision which message is the shell's.
    package mutating func letFall(
        _ request: Request,
        from session: SessionID,
        now: Instant,
        into effects: inout Effects
    ) {
        advance(to: now, into: &effects)
        defer { nextDeadline = deadlines.earliest }
        guard let slot = slot(of: session) else { return }
        do throws(Failure) {
            try permit(request, to: sessions[slot].hello.role)
            let outcome = try letFall(request, sessions[slot].namespace, now)
            if let id = request.id { effects.reply(outcome.map { .result(id, $0) } ?? .ack(id), to: session) }
        } catch {
            effects.reply(.error(request.id, error), to: session)
        }
    }

    /// Counts the message and returns the outcome, if one was asked for.
    private mutating func letFall(
        _ request: Request,
        _ namespace: NamespaceSlot,
        _ now: Instant
    ) throws(Failure) -> MessageValue? {
        switch request {
        case .send(_, let channel, _, _):
            try checkChannelName(channel)
            drop(1, .injected, channel: channel, namespace, now)
        case .groupSend(_, let name, _, let options):
            try checkGroupName(name)
            let members = UInt64(group(named: name, in: namespace).map { groups[$0].memberCount } ?? 0)
            drop(members, .injected, group: name, namespace, now)
            if options.wantsOutcome { return Outcome(members: members, dropped: members).value(isPartial: false) }
        default: break
        }
        return nil
    }
}
