import CMsgpack
import FanfareModel

extension FrameReader {
    /// Sections 3, 4 and 6, one case an operation.
    func replies(_ fields: inout Fields) throws(Refusal) -> [Reply] {
        switch fields.operation {
        case .welcome: return [.welcome(try welcome(fields))]
        case .ping: return [.ping(try fields.requiredID())]
        case .pong: return [.pong(try fields.requiredID())]
        case .clock: return [.clock(try fields.required(1, "milliseconds", Wire.milliseconds))]
        case .ack: return try acknowledgements(fields)
        case .error: return [try error(&fields)]
        case .result: return [.result(try fields.requiredID(), try fields.required(2, "value", Wire.value))]
        case .deliver: return [try deliver(fields)]
        case .handOut: return [try handOut(&fields)]
        case .gap: return [.gap(try gap(fields))]
        case .groupDeliver: return [.groupDeliver(try groupDelivery(fields))]
        case .members: return [try members(fields)]
        case .flushed: return [.flushed(token: try fields.required(1, "token", Wire.integer))]
        case .tailed: return [try tailed(&fields)]
        case .goAway:
            return [
                .goAway(
                    within: try fields.required(1, "within", Wire.milliseconds),
                    reason: try fields.required(2, "reason", Wire.string),
                    drains: try fields.optional(3, "options") { (object) throws(Mismatch) in
                        try OptionMap(object).optional("drain", Wire.bool) ?? false
                    } ?? false
                )
            ]
        case .hello, .goodbye, .send, .receive, .cancel, .giveBack, .report, .openChannels, .closeChannels, .groupAdd,
            .groupDiscard, .groupSend, .outcome, .flush, .inspect, .tail, .admin:
            throw fields.refusal("only a client sends this operation", code: .unknownOperation)
        }
    }

    private func acknowledgements(_ fields: Fields) throws(Refusal) -> [Reply] {
        var replies = [Reply.ack(try fields.required(1, "id", Wire.requestID))]
        guard fields.count > 1 else { return replies }
        replies.reserveCapacity(fields.count)
        for index in 2...fields.count {
            replies.append(.ack(try fields.required(index, "id", Wire.requestID)))
        }
        return replies
    }

    private func error(_ fields: inout Fields) throws(Refusal) -> Reply {
        let id = try fields.optionalID()
        let number = try fields.required(2, "code", Wire.integer)
        let text = try fields.required(3, "text", Wire.string)
        // The code says the same; the field is there for clients that do not know every code.
        _ = try fields.required(4, "retry", Wire.bool)
        guard let code = UInt16(exactly: number).flatMap(ErrorCode.init(rawValue:)) else {
            // A newer broker has newer errors; the text still says what happened (section 1).
            return .error(id, Failure(.badRequest, "error \(number): \(text)"))
        }
        return .error(id, Failure(code, text))
    }

    private func gap(_ fields: Fields) throws(Refusal) -> Gap {
        var gap = Gap(
            name: try fields.required(1, "name", Wire.stringOrNil),
            count: try fields.required(2, "count", Wire.integer),
            reason: try fields.required(3, "reason", Wire.dropReason)
        )
        gap.isClosed =
            try fields.optional(4, "options") { (object) throws(Mismatch) in
                try OptionMap(object).optional("closed", Wire.bool) ?? false
            } ?? false
        return gap
    }

    private func deliver(_ fields: Fields) throws(Refusal) -> Reply {
        .deliver(
            channel: try fields.required(1, "channel", Wire.string),
            body: try fields.required(2, "body", Wire.binary),
            remaining: try fields.required(3, "remaining", Wire.milliseconds),
            trace: try fields.trace(4)
        )
    }

    private func handOut(_ fields: inout Fields) throws(Refusal) -> Reply {
        .handOut(
            try fields.requiredID(),
            HandOut(
                body: try fields.required(2, "body", Wire.binary),
                order: try fields.required(3, "order", Wire.integer),
                deadline: Instant(nanoseconds: try fields.required(4, "deadline", Wire.integer)),
                remaining: try fields.required(5, "remaining", Wire.milliseconds),
                trace: try fields.trace(6)
            )
        )
    }

    private func groupDelivery(_ fields: Fields) throws(Refusal) -> GroupDelivery {
        var delivery = GroupDelivery(
            group: try fields.required(1, "group", Wire.string),
            body: try fields.required(2, "body", Wire.binary),
            remaining: try fields.required(3, "remaining", Wire.milliseconds)
        )
        try fields.optional(4, "options") { (object) throws(Mismatch) in
            let map = try OptionMap(object)
            delivery.exclude =
                try map.optional("exclude") { (object) throws(Mismatch) in try Wire.list(object, of: Wire.string) }
                ?? []
            delivery.outcome = try map.optional("outcome", Wire.integer)
            delivery.trace = try map.trace()
        }
        return delivery
    }

    private func members(_ fields: Fields) throws(Refusal) -> Reply {
        func names(_ index: Int, _ name: String) throws(Refusal) -> [String] {
            try fields.required(index, name) { (object) throws(Mismatch) in try Wire.list(object, of: Wire.string) }
        }
        return .members(
            group: try fields.required(1, "group", Wire.string),
            added: try names(2, "added"),
            removed: try names(3, "removed")
        )
    }

    private func tailed(_ fields: inout Fields) throws(Refusal) -> Reply {
        .tailed(
            try fields.requiredID(),
            Tailed(
                kind: try fields.required(2, "kind", Self.tailKind),
                name: try fields.required(3, "name", Wire.string),
                namespace: try fields.required(4, "namespace", Wire.string),
                body: try fields.required(5, "body", Wire.binary),
                skipped: try fields.required(6, "skipped", Wire.integer)
            )
        )
    }
}
