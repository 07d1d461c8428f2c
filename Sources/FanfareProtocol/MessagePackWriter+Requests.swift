import FanfareModel

extension MessagePackWriter {
    /// Writes the payload of a request. Optional fields that say nothing are left out.
    mutating func write(_ request: Request) {
        switch request {
        case .hello(let hello): self.hello(hello)
        case .ping(let id): single(.ping, id)
        case .pong(let id): single(.pong, id)
        case .goodbye: begin(.goodbye, fields: 0)
        case .send(let id, let channel, let body, let options):
            message(.send, id, channel, body, GroupSendOptions(expiry: options.expiry, trace: options.trace))
        case .receive(let id, let channel, let count):
            begin(.receive, fields: count == 1 ? 2 : 3)
            int(id)
            string(channel)
            if count != 1 { int(count) }
        case .cancel(let id, let target):
            begin(.cancel, fields: 2)
            int(id)
            int(target)
        case .giveBack(let id, let channel, let message):
            begin(.giveBack, fields: message.trace == nil ? 5 : 6)
            self.id(id)
            string(channel)
            binary(message.body)
            int(message.order)
            int(message.deadline.nanoseconds)
            options(message.trace)
        case .report(let report): self.report(report)
        case .openChannels(let id, let channels): openChannels(id, channels)
        case .closeChannels(let id, let channels):
            begin(.closeChannels, fields: 2)
            self.id(id)
            strings(channels)
        case .groupAdd, .groupDiscard, .groupSend, .outcome: writeGroupRequest(request)
        case .flush(let id): single(.flush, id)
        case .inspect(let id, let query): inspect(id, query)
        case .tail(let id, let query): tail(id, query)
        case .admin(let id, let command, let arguments):
            begin(.admin, fields: 3)
            int(id)
            string(command)
            value(arguments)
        }
    }

    /// Starts a frame: the array and its operation.
    mutating func begin(_ operation: Operation, fields: Int) {
        array(fields + 1)
        int(UInt64(operation.rawValue))
    }

    /// Writes an id, or nil where the client wants no answer.
    mutating func id(_ id: RequestID?) {
        if let id { int(id) } else { null() }
    }

    /// Writes a frame whose one field is a number.
    mutating func single(_ operation: Operation, _ number: UInt64) {
        begin(operation, fields: 1)
        int(number)
    }

    private mutating func writeGroupRequest(_ request: Request) {
        switch request {
        case .groupAdd(let id, let group, let channels, let expiry):
            begin(.groupAdd, fields: expiry == nil ? 3 : 4)
            self.id(id)
            string(group)
            strings(channels)
            if let expiry {
                map(1)
                string("group_expiry_milliseconds")
                milliseconds(expiry)
            }
        case .groupDiscard(let id, let group, let channels):
            begin(.groupDiscard, fields: 3)
            self.id(id)
            string(group)
            strings(channels)
        case .groupSend(let id, let group, let body, let options): message(.groupSend, id, group, body, options)
        case .outcome(let token, let accepted, let dropped):
            begin(.outcome, fields: 3)
            int(token)
            int(accepted)
            int(dropped)
        default: preconditionFailure("not a group request")
        }
    }

    /// Writes a message to a channel or a group; to a channel the options of groups have nothing to say.
    private mutating func message(
        _ operation: Operation,
        _ id: RequestID?,
        _ name: String,
        _ body: Body,
        _ options: GroupSendOptions
    ) {
        let entries =
            (options.expiry == nil ? 0 : 1) + (options.exclude.isEmpty ? 0 : 1) + (options.wantsOutcome ? 1 : 0)
            + (options.trace == nil ? 0 : 1)
        begin(operation, fields: entries == 0 ? 3 : 4)
        self.id(id)
        string(name)
        binary(body)
        guard entries > 0 else { return }
        map(entries)
        if let expiry = options.expiry {
            string("expiry_milliseconds")
            milliseconds(expiry)
        }
        if !options.exclude.isEmpty {
            string("exclude")
            strings(options.exclude)
        }
        if options.wantsOutcome {
            string("outcome")
            bool(true)
        }
        if let trace = options.trace { self.trace(trace) }
    }

    private mutating func report(_ report: Report) {
        begin(.report, fields: 3)
        int(report.received)
        array(report.taken.count)
        for entry in report.taken {
            array(3)
            string(entry.channel)
            int(entry.taken)
            int(entry.held)
        }
        array(report.dropped.count)
        for entry in report.dropped {
            array(4)
            if let channel = entry.channel { string(channel) } else { null() }
            if let group = entry.group { string(group) } else { null() }
            int(entry.count)
            int(UInt64(entry.reason.rawValue))
        }
    }

    private mutating func openChannels(_ id: RequestID?, _ channels: [OpenedChannel]) {
        begin(.openChannels, fields: 2)
        self.id(id)
        array(channels.count)
        for channel in channels {
            array(2)
            string(channel.name)
            attributes(channel.attributes)
        }
    }

    private mutating func inspect(_ id: RequestID, _ query: InspectionQuery) {
        let texts: [(key: String, value: String?)] = [
            ("name", query.name), ("namespace", query.namespace), ("match", query.match?.pattern),
            ("reason", query.reason), ("sort", query.sort), ("cursor", query.cursor),
        ]
        let present = texts.filter { $0.value != nil }
        let standard = InspectionQuery(query.subject)
        begin(.inspect, fields: 3)
        int(id)
        string(query.subject.rawValue)
        let (hasLimit, hasBudget) = (query.limit != standard.limit, query.budget != standard.budget)
        map(present.count + [query.descending, hasLimit, hasBudget].count { $0 })
        for case (let key, let value?) in present {
            string(key)
            string(value)
        }
        if query.descending {
            string("descending")
            bool(true)
        }
        if hasLimit {
            string("limit")
            int(query.limit)
        }
        if hasBudget {
            string("budget_milliseconds")
            int(query.budget.value)
        }
    }

    private mutating func tail(_ id: RequestID, _ query: TailQuery) {
        let standard = TailQuery(kind: query.kind, match: query.match)
        begin(.tail, fields: 2)
        int(id)
        map(
            2 + (query.namespace == nil ? 0 : 1) + (query.sample == standard.sample ? 0 : 1)
                + (query.ratePerSecond == standard.ratePerSecond ? 0 : 1)
        )
        string("kind")
        string(query.kind.rawValue)
        string("match")
        string(query.match.pattern)
        if let namespace = query.namespace {
            string("namespace")
            string(namespace)
        }
        if query.sample != standard.sample {
            string("sample")
            int(query.sample)
        }
        if query.ratePerSecond != standard.ratePerSecond {
            string("rate")
            int(query.ratePerSecond)
        }
    }
}
