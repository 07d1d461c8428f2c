import CMsgpack
import FanfareModel

extension FrameReader {
    /// Sections 3 and 5, one case an operation.
    func request(_ fields: inout Fields) throws(Refusal) -> Request {
        switch fields.operation {
        case .hello: return .hello(try hello(fields))
        case .ping: return .ping(try fields.requiredID())
        case .pong: return .pong(try fields.requiredID())
        case .goodbye: return .goodbye
        case .send: return try send(&fields)
        case .receive: return try receive(&fields)
        case .cancel:
            return .cancel(id: try fields.requiredID(), target: try fields.required(2, "target", Wire.requestID))
        case .giveBack: return try giveBack(&fields)
        case .report: return .report(try report(fields))
        case .openChannels:
            return .openChannels(id: try fields.optionalID(), try openedChannels(fields))
        case .closeChannels:
            return .closeChannels(id: try fields.optionalID(), try fields.names(2, "channels", limits))
        case .groupAdd: return try groupAdd(&fields)
        case .groupDiscard:
            return .groupDiscard(
                id: try fields.optionalID(),
                group: try fields.required(2, "group", Wire.string),
                channels: try fields.names(3, "channels", limits)
            )
        case .groupSend: return try groupSend(&fields)
        case .outcome:
            return .outcome(
                token: try fields.required(1, "token", Wire.integer),
                accepted: try fields.required(2, "accepted", Wire.integer),
                dropped: try fields.required(3, "dropped", Wire.integer)
            )
        case .flush: return .flush(try fields.requiredID())
        case .inspect: return .inspect(try fields.requiredID(), try inspection(fields))
        case .tail: return .tail(try fields.requiredID(), try tail(fields))
        case .admin: return try admin(&fields)
        case .welcome, .clock, .goAway, .ack, .error, .result, .deliver, .handOut, .gap, .groupDeliver, .members,
            .flushed,
            .tailed:
            throw fields.refusal("only a broker sends this operation", code: .unknownOperation)
        }
    }

    private func send(_ fields: inout Fields) throws(Refusal) -> Request {
        .send(
            id: try fields.optionalID(),
            channel: try fields.required(2, "channel", Wire.string),
            body: try fields.required(3, "body", Wire.binary),
            try fields.optional(4, "options") { (object) throws(Mismatch) in
                let map = try OptionMap(object)
                return SendOptions(
                    expiry: try map.optional("expiry_milliseconds", Wire.milliseconds),
                    trace: try map.trace()
                )
            } ?? SendOptions()
        )
    }

    private func receive(_ fields: inout Fields) throws(Refusal) -> Request {
        .receive(
            id: try fields.requiredID(),
            channel: try fields.required(2, "channel", Wire.string),
            count: try fields.optional(3, "count") { (object) throws(Mismatch) in
                Int(try Wire.integer(object, in: Bounds.receiveCount))
            } ?? 1
        )
    }

    private func giveBack(_ fields: inout Fields) throws(Refusal) -> Request {
        .giveBack(
            id: try fields.optionalID(),
            channel: try fields.required(2, "channel", Wire.string),
            GivenBack(
                body: try fields.required(3, "body", Wire.binary),
                order: try fields.required(4, "order", Wire.integer),
                deadline: Instant(nanoseconds: try fields.required(5, "deadline", Wire.integer)),
                trace: try fields.trace(6)
            )
        )
    }

    private func report(_ fields: Fields) throws(Refusal) -> Report {
        let maximum = limits.namesPerFrame
        return Report(
            received: try fields.required(1, "received", Wire.integer),
            taken: try fields.required(2, "taken") { (object) throws(Mismatch) in
                try Wire.list(object, atMost: maximum, code: .tooManyNames) { (entry) throws(Mismatch) in
                    let entry = try Wire.tuple(entry, 3)
                    return Report.Taken(
                        channel: try Wire.string(entry[0]),
                        taken: try Wire.integer(entry[1]),
                        held: try Wire.integer(entry[2])
                    )
                }
            },
            dropped: try fields.required(3, "dropped") { (object) throws(Mismatch) in
                try Wire.list(object, atMost: maximum, code: .tooManyNames) { (entry) throws(Mismatch) in
                    let entry = try Wire.tuple(entry, 4)
                    return Report.Dropped(
                        channel: try Wire.stringOrNil(entry[0]),
                        group: try Wire.stringOrNil(entry[1]),
                        count: try Wire.integer(entry[2]),
                        reason: try Wire.dropReason(entry[3])
                    )
                }
            }
        )
    }

    private func openedChannels(_ fields: Fields) throws(Refusal) -> [OpenedChannel] {
        let limits = limits
        return try fields.required(2, "channels") { (object) throws(Mismatch) in
            try Wire.list(object, atMost: limits.namesPerFrame, code: .tooManyNames) { (entry) throws(Mismatch) in
                let entry = try Wire.tuple(entry, 1)
                return OpenedChannel(
                    name: try Wire.string(entry[0]),
                    attributes: entry.count > 1 ? try Wire.attributes(entry[1], limits) : [:]
                )
            }
        }
    }

    private func groupAdd(_ fields: inout Fields) throws(Refusal) -> Request {
        .groupAdd(
            id: try fields.optionalID(),
            group: try fields.required(2, "group", Wire.string),
            channels: try fields.names(3, "channels", limits),
            groupExpiry: try fields.optional(4, "options") { (object) throws(Mismatch) in
                try OptionMap(object).optional("group_expiry_milliseconds", Wire.milliseconds)
            } ?? nil
        )
    }

    private func groupSend(_ fields: inout Fields) throws(Refusal) -> Request {
        .groupSend(
            id: try fields.optionalID(),
            group: try fields.required(2, "group", Wire.string),
            body: try fields.required(3, "body", Wire.binary),
            try fields.optional(4, "options") { (object) throws(Mismatch) in
                let map = try OptionMap(object)
                return GroupSendOptions(
                    expiry: try map.optional("expiry_milliseconds", Wire.milliseconds),
                    exclude: try map.optional("exclude") { (object) throws(Mismatch) in
                        try Wire.list(object, atMost: Bounds.excluded, code: .tooManyNames, of: Wire.string)
                    } ?? [],
                    wantsOutcome: try map.optional("outcome", Wire.bool) ?? false,
                    trace: try map.trace()
                )
            } ?? GroupSendOptions()
        )
    }

    private func inspection(_ fields: Fields) throws(Refusal) -> InspectionQuery {
        let rows = 1...UInt64(limits.rowsReturned)
        var query = InspectionQuery(try fields.required(2, "subject", Self.subject))
        try fields.optional(3, "query") { (object) throws(Mismatch) in
            let map = try OptionMap(object)
            query.name = try map.optional("name", Wire.string)
            query.namespace = try map.optional("namespace", Wire.string)
            query.match = try map.optional("match", Wire.glob)
            query.reason = try map.optional("reason", Wire.string)
            query.sort = try map.optional("sort", Wire.string)
            query.descending = try map.optional("descending", Wire.bool) ?? query.descending
            query.limit =
                try map.optional("limit") { (object) throws(Mismatch) in Int(try Wire.integer(object, in: rows)) }
                ?? query.limit
            query.cursor = try map.optional("cursor", Wire.string)
            query.budget =
                try map.optional("budget_milliseconds") { (object) throws(Mismatch) in
                    Milliseconds(try Wire.integer(object, in: Bounds.inspectionMilliseconds))
                } ?? query.budget
        }
        return query
    }

    private func tail(_ fields: Fields) throws(Refusal) -> TailQuery {
        try fields.required(2, "query") { (object) throws(Mismatch) in
            let map = try OptionMap(object)
            var query = TailQuery(
                kind: try map.required("kind", Self.tailKind),
                match: try map.required("match", Wire.glob)
            )
            query.namespace = try map.optional("namespace", Wire.string)
            query.sample =
                try map.optional("sample") { (object) throws(Mismatch) in
                    try Wire.integer(object, in: 1...Bounds.integer.upperBound)
                } ?? query.sample
            query.ratePerSecond =
                try map.optional("rate") { (object) throws(Mismatch) in
                    try Wire.integer(object, in: Bounds.tailRate)
                } ?? query.ratePerSecond
            return query
        }
    }

    private func admin(_ fields: inout Fields) throws(Refusal) -> Request {
        .admin(
            try fields.requiredID(),
            command: try fields.required(2, "command", Wire.string),
            arguments: try fields.required(3, "arguments") { (object) throws(Mismatch) in
                _ = try OptionMap(object)
                return try Wire.value(object)
            }
        )
    }

    private static func subject(_ object: msgpack_object) throws(Mismatch) -> InspectionQuery.Subject {
        let text = try Wire.string(object)
        guard let subject = InspectionQuery.Subject(rawValue: text) else {
            let known = InspectionQuery.Subject.allCases.map(\.rawValue).joined(separator: ", ")
            throw Mismatch("must be one of \(known), got \(text)")
        }
        return subject
    }

    static func tailKind(_ object: msgpack_object) throws(Mismatch) -> TailQuery.Kind {
        let text = try Wire.string(object)
        guard let kind = TailQuery.Kind(rawValue: text) else {
            throw Mismatch("must be channel or group, got \(text)")
        }
        return kind
    }
}
