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
        guard let slot = sessionSlots[session] else { return }
        let namespace = sessions[slot].namespace
        switch request {
        case .send(_, let channel, _, _): drop(1, .injected, channel: channel, namespace, now)
        case .groupSend(_, let name, _, _):
            let members = namespaces[namespace].groups[name].map { groups[$0].memberCount } ?? 0
            drop(UInt64(members), .injected, group: name, namespace, now)
        default: return
        }
        if let id = request.id { effects.reply(.ack(id), to: session) }
    }
}
