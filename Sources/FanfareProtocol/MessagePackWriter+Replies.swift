import FanfareModel

extension MessagePackWriter {
    /// Writes the payload of a reply or notice. Optional fields that say nothing are left out.
    mutating func write(_ reply: Reply) {
        switch reply {
        case .welcome(let welcome): self.welcome(welcome)
        case .ping(let id): single(.ping, id)
        case .pong(let id): single(.pong, id)
        case .clock(let time): single(.clock, time.value)
        case .ack(let id): single(.ack, id)
        case .error(let id, let failure):
            begin(.error, fields: 4)
            self.id(id)
            int(UInt64(failure.code.rawValue))
            text(failure.text)
            bool(failure.code.isRetryable)
        case .result(let id, let value):
            begin(.result, fields: 2)
            int(id)
            self.value(value)
        case .deliver(let channel, let body, let remaining, let trace):
            begin(.deliver, fields: trace == nil ? 3 : 4)
            string(channel)
            binary(body)
            milliseconds(remaining)
            options(trace)
        case .handOut(let id, let message): handOut(id, message)
        case .gap(let gap):
            begin(.gap, fields: gap.isClosed ? 4 : 3)
            if let name = gap.name { string(name) } else { null() }
            int(gap.count)
            int(UInt64(gap.reason.rawValue))
            if gap.isClosed {
                map(1)
                string("closed")
                bool(true)
            }
        case .groupDeliver(let delivery): groupDeliver(delivery)
        case .members(let group, let added, let removed):
            begin(.members, fields: 3)
            string(group)
            strings(added)
            strings(removed)
        case .flushed(let token): single(.flushed, token)
        case .tailed(let id, let copy): tailed(id, copy)
        case .goAway(let within, let reason, let drains):
            begin(.goAway, fields: drains ? 3 : 2)
            milliseconds(within)
            text(reason)
            if drains {
                map(1)
                string("drain")
                bool(true)
            }
        }
    }

    private mutating func handOut(_ id: RequestID, _ message: HandOut) {
        begin(.handOut, fields: message.trace == nil ? 5 : 6)
        int(id)
        binary(message.body)
        int(message.order)
        int(message.deadline.nanoseconds)
        milliseconds(message.remaining)
        options(message.trace)
    }

    private mutating func groupDeliver(_ delivery: GroupDelivery) {
        let entries =
            (delivery.exclude.isEmpty ? 0 : 1) + (delivery.outcome == nil ? 0 : 1) + (delivery.trace == nil ? 0 : 1)
        begin(.groupDeliver, fields: entries == 0 ? 3 : 4)
        string(delivery.group)
        binary(delivery.body)
        milliseconds(delivery.remaining)
        guard entries > 0 else { return }
        map(entries)
        if !delivery.exclude.isEmpty {
            string("exclude")
            strings(delivery.exclude)
        }
        if let token = delivery.outcome {
            string("outcome")
            int(token)
        }
        if let trace = delivery.trace { self.trace(trace) }
    }

    private mutating func tailed(_ id: RequestID, _ copy: Tailed) {
        begin(.tailed, fields: 6)
        int(id)
        string(copy.kind.rawValue)
        string(copy.name)
        string(copy.namespace)
        binary(copy.body)
        int(copy.skipped)
    }
}
