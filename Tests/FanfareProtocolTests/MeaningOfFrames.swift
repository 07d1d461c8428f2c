import FanfareModel
import FanfareProtocol

/// Frames in the words of `proto/vectors/README.md`: keys that say nothing are absent.
enum MeaningOfFrames {
    static func of(_ request: Request) -> MessageValue {
        switch request {
        case .hello(let value): return hello(value)
        case .ping(let id): return frame(.ping, ["id": .count(id)])
        case .pong(let id): return frame(.pong, ["id": .count(id)])
        case .goodbye: return frame(.goodbye, [:])
        case .send(let id, let channel, let body, let options):
            let map = present(["expiry_milliseconds": options.expiry.map(of), "trace": options.trace.map(of)])
            return frame(
                .send,
                ["id": of(id), "channel": .string(channel), "body": .binary(body), "options": nonempty(map)]
            )
        case .receive(let id, let channel, let count):
            return frame(
                .receive,
                ["id": .count(id), "channel": .string(channel), "count": count == 1 ? .none : .count(count)]
            )
        case .cancel(let id, let target): return frame(.cancel, ["id": .count(id), "target": .count(target)])
        case .giveBack(let id, let channel, let message):
            return frame(
                .giveBack,
                [
                    "id": of(id), "channel": .string(channel), "body": .binary(message.body),
                    "order": .count(message.order), "deadline": .count(message.deadline.nanoseconds),
                    "options": nonempty(present(["trace": message.trace.map(of)])),
                ]
            )
        case .report(let report): return self.report(report)
        case .openChannels(let id, let channels):
            let list = channels.map { MessageValue.array([.string($0.name), attributes($0.attributes)]) }
            return frame(.openChannels, ["id": of(id), "channels": .array(list)])
        case .closeChannels(let id, let channels):
            return frame(.closeChannels, ["id": of(id), "channels": names(channels)])
        case .flush(let id): return frame(.flush, ["id": .count(id)])
        case .inspect(let id, let query): return inspect(id, query)
        case .tail(let id, let query): return tail(id, query)
        case .admin(let id, let command, let arguments):
            return frame(.admin, ["id": .count(id), "command": .string(command), "arguments": arguments])
        case .groupAdd, .groupDiscard, .groupSend, .outcome: return groupRequest(request)
        }
    }

    static func of(_ replies: [Reply]) -> MessageValue {
        let acknowledged = replies.compactMap { if case .ack(let id) = $0 { MessageValue.count(id) } else { nil } }
        if !acknowledged.isEmpty, acknowledged.count == replies.count {
            return frame(.ack, ["ids": .array(acknowledged)])
        }
        guard replies.count == 1 else { return .string("\(replies.count) replies from one frame") }
        return of(replies[0])
    }

    private static func of(_ reply: Reply) -> MessageValue {
        switch reply {
        case .welcome(let value): return welcome(value)
        case .ping(let id): return frame(.ping, ["id": .count(id)])
        case .pong(let id): return frame(.pong, ["id": .count(id)])
        case .ack(let id): return frame(.ack, ["ids": [.count(id)]])
        case .error(let id, let failure):
            return frame(
                .error,
                [
                    "id": of(id), "code": .count(failure.code.rawValue), "text": .string(failure.text),
                    "retry": .bool(failure.code.isRetryable),
                ]
            )
        case .result(let id, let value):
            // A nil result is a value, not an absent field.
            guard case .map(var map) = frame(.result, ["id": .count(id)]) else { return .null }
            map["value"] = value
            return .map(map)
        case .deliver(let channel, let body, let remaining, let trace):
            return frame(
                .deliver,
                [
                    "channel": .string(channel), "body": .binary(body), "remaining": of(remaining),
                    "options": nonempty(present(["trace": trace.map(of)])),
                ]
            )
        case .handOut(let id, let message):
            return frame(
                .handOut,
                [
                    "id": .count(id), "body": .binary(message.body), "order": .count(message.order),
                    "deadline": .count(message.deadline.nanoseconds), "remaining": of(message.remaining),
                    "options": nonempty(present(["trace": message.trace.map(of)])),
                ]
            )
        case .clock(let time): return frame(.clock, ["milliseconds": of(time)])
        case .gap(let gap):
            return frame(
                .gap,
                [
                    "name": gap.name.map { .string($0) }, "count": .count(gap.count),
                    "reason": .count(gap.reason.rawValue), "options": gap.isClosed ? ["closed": true] : .none,
                ]
            )
        case .groupDeliver(let delivery): return groupDelivery(delivery)
        case .members(let group, let added, let removed):
            return frame(.members, ["group": .string(group), "added": names(added), "removed": names(removed)])
        case .flushed(let token): return frame(.flushed, ["token": .count(token)])
        case .tailed(let id, let copy): return tailed(id, copy)
        case .goAway(let within, let reason, let drains):
            let options: MessageValue? = drains ? ["drain": true] : .none
            return frame(.goAway, ["within": of(within), "reason": .string(reason), "options": options])
        }
    }

    private static func hello(_ hello: Hello) -> MessageValue {
        frame(
            .hello,
            [
                "protocol": .count(hello.protocolVersion), "client": .string(hello.client),
                "name": .string(hello.name), "role": .string(hello.role.rawValue),
                "namespace": .string(hello.namespace), "node": hello.node.map { .string($0) },
                "policy": policy(hello.policy), "attributes": nonempty(hello.attributes.mapValues { .string($0) }),
                "token": hello.token.map { .string($0) },
                "capabilities": hello.capabilities.isEmpty ? .none : names(hello.capabilities),
                "resume": hello.resume.map { .binary($0.token) }, "received": hello.resume.map { .count($0.received) },
            ]
        )
    }

    private static func welcome(_ welcome: Welcome) -> MessageValue {
        frame(
            .welcome,
            [
                "protocol": .count(welcome.protocolVersion), "session": .count(welcome.session.value),
                "epoch": .count(welcome.epoch), "broker": .string(welcome.broker),
                "capabilities": names(welcome.capabilities), "policy": policy(welcome.policy),
                "limits": [
                    "frame_bytes": .count(welcome.frameBytes), "body_bytes": .count(welcome.bodyBytes),
                    "names_per_frame": .count(welcome.namesPerFrame),
                    "ping_after_milliseconds": of(welcome.pingAfter),
                    "silence_milliseconds": of(welcome.silenceMaximum),
                ],
                "resumed": welcome.resumption?.resumedAfter.map { _ in .bool(true) },
                "requests": welcome.resumption?.resumedAfter.map { .count($0) },
                "resume_token": welcome.resumption.map { .binary($0.token) },
                "grace_milliseconds": welcome.resumption.map { of($0.grace) },
            ]
        )
    }

    private static func policy(_ policy: Policy) -> MessageValue {
        let patterns = policy.channelCapacity.map {
            MessageValue.array([.string($0.pattern.pattern), .count($0.capacity)])
        }
        let overflow = policy.overflow.map {
            MessageValue.array([.string($0.pattern.pattern), .string($0.overflow.rawValue)])
        }
        return .map(
            present([
                "overflow": overflow.isEmpty ? .none : .array(overflow),
                "capacity": .count(policy.capacity), "channel_capacity": patterns.isEmpty ? .none : .array(patterns),
                "capacity_scope": .string(policy.capacityScope.rawValue), "expiry_milliseconds": of(policy.expiry),
                "group_expiry_milliseconds": of(policy.groupExpiry),
                "group_expiry_literal": .bool(policy.groupExpiryIsLiteral),
            ])
        )
    }

    private static func report(_ report: Report) -> MessageValue {
        let taken = report.taken.map { MessageValue.array([.string($0.channel), .count($0.taken), .count($0.held)]) }
        let dropped = report.dropped.map {
            MessageValue.array([
                $0.channel.map { .string($0) } ?? .null, $0.group.map { .string($0) } ?? .null, .count($0.count),
                .count($0.reason.rawValue),
            ])
        }
        return frame(
            .report,
            ["received": .count(report.received), "taken": .array(taken), "dropped": .array(dropped)]
        )
    }

    private static func groupRequest(_ request: Request) -> MessageValue {
        switch request {
        case .groupAdd(let id, let group, let channels, let expiry):
            let map = present(["group_expiry_milliseconds": expiry.map(of)])
            return frame(
                .groupAdd,
                ["id": of(id), "group": .string(group), "channels": names(channels), "options": nonempty(map)]
            )
        case .groupDiscard(let id, let group, let channels):
            return frame(.groupDiscard, ["id": of(id), "group": .string(group), "channels": names(channels)])
        case .groupSend(let id, let group, let body, let options):
            let map = present([
                "expiry_milliseconds": options.expiry.map(of),
                "exclude": options.exclude.isEmpty ? .none : names(options.exclude),
                "outcome": options.wantsOutcome ? true : .none, "trace": options.trace.map(of),
            ])
            return frame(
                .groupSend,
                ["id": of(id), "group": .string(group), "body": .binary(body), "options": nonempty(map)]
            )
        case .outcome(let token, let accepted, let dropped):
            return frame(
                .outcome,
                ["token": .count(token), "accepted": .count(accepted), "dropped": .count(dropped)]
            )
        default: return .string("no group request")
        }
    }

    private static func inspect(_ id: RequestID, _ query: InspectionQuery) -> MessageValue {
        let map = present([
            "name": query.name.map { .string($0) }, "namespace": query.namespace.map { .string($0) },
            "match": query.match.map { .string($0.pattern) }, "reason": query.reason.map { .string($0) },
            "sort": query.sort.map { .string($0) },
            "descending": query.descending ? true : .none, "limit": query.limit == 100 ? .none : .count(query.limit),
            "cursor": query.cursor.map { .string($0) },
            "budget_milliseconds": query.budget == Milliseconds(1_000) ? .none : .count(query.budget.value),
        ])
        return frame(
            .inspect,
            ["id": .count(id), "subject": .string(query.subject.rawValue), "query": .map(map)]
        )
    }

    private static func tail(_ id: RequestID, _ query: TailQuery) -> MessageValue {
        let map = present([
            "kind": .string(query.kind.rawValue), "match": .string(query.match.pattern),
            "namespace": query.namespace.map { .string($0) },
            "sample": query.sample == 1 ? .none : .count(query.sample),
            "rate": query.ratePerSecond == 50 ? .none : .count(query.ratePerSecond),
        ])
        return frame(.tail, ["id": .count(id), "query": .map(map)])
    }

    private static func groupDelivery(_ delivery: GroupDelivery) -> MessageValue {
        let map = present([
            "exclude": delivery.exclude.isEmpty ? .none : names(delivery.exclude),
            "outcome": delivery.outcome.map { .count($0) }, "trace": delivery.trace.map(of),
        ])
        return frame(
            .groupDeliver,
            [
                "group": .string(delivery.group), "body": .binary(delivery.body),
                "remaining": of(delivery.remaining), "options": nonempty(map),
            ]
        )
    }

    private static func tailed(_ id: RequestID, _ copy: Tailed) -> MessageValue {
        frame(
            .tailed,
            [
                "id": .count(id), "kind": .string(copy.kind.rawValue), "name": .string(copy.name),
                "namespace": .string(copy.namespace), "body": .binary(copy.body), "skipped": .count(copy.skipped),
            ]
        )
    }

    private static func frame(_ operation: Operation, _ fields: [String: MessageValue?]) -> MessageValue {
        var map = present(fields)
        map["operation"] = .string(operation.name)
        return .map(map)
    }

    private static func present(_ fields: [String: MessageValue?]) -> [String: MessageValue] {
        fields.compactMapValues { $0 }
    }

    private static func nonempty(_ map: [String: MessageValue]) -> MessageValue? {
        map.isEmpty ? .none : .map(map)
    }

    private static func names(_ names: [String]) -> MessageValue {
        .array(names.map { .string($0) })
    }

    private static func attributes(_ attributes: [String: String]) -> MessageValue {
        .map(attributes.mapValues { .string($0) })
    }

    private static func of(_ id: RequestID?) -> MessageValue? {
        id.map { .count($0) }
    }

    private static func of(_ trace: TraceContext) -> MessageValue {
        .map(Dictionary(trace.entries.map { ($0.key, .string($0.value)) }, uniquingKeysWith: { $1 }))
    }

    private static func of(_ time: Milliseconds) -> MessageValue {
        .count(time.value)
    }
}
