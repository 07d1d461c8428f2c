import FanfareModel

extension Core {
    /// Lets a message fall: acknowledged like any other, counted as `injected`, delivered to nobody.
    mutating func lose(_ request: Request, _ session: SessionSlot, _ now: Instant) throws(Failure) -> Answer {
        let namespace = sessions[session].namespace
        switch request {
        case .send(_, let channel, _, _):
            try checkChannelName(channel)
            drop(1, .injected, channel: channel, namespace, now)
        case .groupSend(_, let name, _, let options):
            try checkGroupName(name)
            let members = UInt64(group(named: name, in: namespace).map { groups[$0].memberCount } ?? 0)
            drop(members, .injected, group: name, namespace, now)
            if options.wantsOutcome {
                return .result(Outcome(members: members, dropped: members).value(isPartial: false))
            }
        default: break
        }
        return .acknowledge
    }
}
