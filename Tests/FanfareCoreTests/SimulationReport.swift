import FanfareCore
import FanfareModel

/// Short descriptions: bodies as numbers, nil ids as "-".
extension Simulation {
    func brief(_ event: Event) -> String {
        switch event {
        case .open(let hello):
            "open \(hello.role) node \(hello.node ?? "-") in \(hello.namespace), protocol \(hello.protocolVersion), "
                + "client '\(hello.client)', name '\(hello.name)', \(brief(hello.policy))"
        case .apply(let request, let session): "\(session.value) -> \(brief(request))"
        case .close(let session): "close \(session.value)"
        case .congestion(let session, let isCongested):
            "\(session.value) \(isCongested ? "does not read" : "reads again")"
        case .restart(let origin): "planned restart, clock ahead by \(origin) ns"
        case .pass: "time passes"
        }
    }

    private func brief(_ policy: Policy) -> String {
        let patterns = policy.channelCapacity.map { "\($0.pattern.pattern)=\($0.capacity)" }.joined(separator: ",")
        let overflow = policy.overflow.map { "\($0.pattern.pattern)=\($0.overflow)" }.joined(separator: ",")
        let literal = policy.groupExpiryIsLiteral ? " literal" : ""
        return "capacity \(policy.capacity) [\(patterns)] by \(policy.capacityScope), "
            + "overflow [\(overflow)], expiry \(policy.expiry.value), group expiry \(policy.groupExpiry.value)\(literal)"
    }

    private func brief(_ request: Request) -> String {
        let id = brief(request.id)
        return switch request {
        case .hello(let hello): "hello again as \(hello.role)"
        case .ping: "ping \(id)"
        case .pong(let id): "pong \(id)"
        case .goodbye: "goodbye"
        case .send(_, let channel, let body, let options):
            "send \(id) \(channel) \(brief(body)) expiry \(brief(options.expiry?.value))"
        case .receive(_, let channel, let count): "receive \(id) \(channel) x \(count)"
        case .cancel(_, let target): "cancel \(id) of \(target)"
        case .giveBack(_, let channel, let message):
            "give back \(id) \(channel) \(brief(message.body)) order \(message.order) "
                + "until \(message.deadline.nanoseconds)"
        case .report(let report): brief(report)
        case .openChannels(_, let opened): "open channels \(id) \(opened.map(\.name))"
        case .closeChannels(_, let names): "close channels \(id) \(names)"
        case .groupAdd(_, let group, let names, let expiry):
            "group add \(id) \(group) \(names) expiry \(brief(expiry?.value))"
        case .groupDiscard(_, let group, let names): "group discard \(id) \(group) \(names)"
        case .groupSend(_, let group, let body, let options):
            "group send \(id) \(group) \(brief(body)) expiry \(brief(options.expiry?.value)) "
                + "exclude \(options.exclude) outcome \(options.wantsOutcome)"
        case .outcome(let token, let accepted, let dropped):
            "outcome \(token): \(accepted) accepted, \(dropped) dropped"
        case .flush: "flush \(id)"
        case .inspect, .tail, .admin: "\(request)"
        }
    }

    private func brief(_ report: Report) -> String {
        let taken = report.taken.map { "\($0.channel) taken \($0.taken) held \($0.held)" }
        let dropped = report.dropped.map { "\($0.channel ?? $0.group ?? "nobody") dropped \($0.count) \($0.reason)" }
        return "report \((taken + dropped).joined(separator: ", "))"
    }

    func brief(_ effect: Effects.Effect, _ targets: [SessionID]) -> String {
        switch effect {
        case .reply(let reply, let session): "\(session.value) <- \(brief(reply))"
        case .fanOut(let reply, let range): "\(targets[range].map(\.value)) <- \(brief(reply))"
        case .close(let session, _): "close \(session.value)"
        case .drain(let within): "drain within \(within.value) ms"
        }
    }

    func brief(_ reply: Reply) -> String {
        switch reply {
        case .error(let id, let failure): "error \(brief(id)) \(failure.code.name): \(failure.text)"
        case .deliver(let channel, let body, let remaining, _):
            "deliver \(channel) \(brief(body)) for \(remaining.value) ms"
        case .handOut(let id, let handOut):
            "hand out \(id) \(brief(handOut.body)) order \(handOut.order) until \(handOut.deadline.nanoseconds)"
        case .gap(let gap):
            "gap of \(gap.count) \(gap.reason.name) in \(gap.name ?? "groups")\(gap.isClosed ? ", closed" : "")"
        case .groupDeliver(let delivery):
            "group deliver \(delivery.group) \(brief(delivery.body)) for \(delivery.remaining.value) ms "
                + "exclude \(delivery.exclude) outcome \(brief(delivery.outcome))"
        default: "\(reply)"
        }
    }

    private func brief(_ number: UInt64?) -> String {
        number.map(String.init) ?? "-"
    }

    func brief(_ row: [String: MessageValue]) -> String {
        let columns = row.sorted { $0.key < $1.key }
        return columns.map { "\($0) \($1.string ?? $1.int.map(String.init) ?? "-")" }.joined(separator: ", ")
    }

    private func brief(_ body: Body) -> String {
        let number = body.prefix(3).reversed().reduce(0) { $0 << 8 | UInt64($1) }
        return "#\(number) (\(body.count) bytes)"
    }
}
