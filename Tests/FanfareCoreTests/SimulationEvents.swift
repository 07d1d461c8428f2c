import FanfareModel

/// Where events come from.
extension Simulation {
    enum Kind: Int, CaseIterable {
        case open, close, goodbye, ping, send, flood, receive, cancel, giveBack, report, openChannels, closeChannels
        case groupAdd, groupDiscard, groupSend, outcome, flush, odd, late, idle, congestion, restart

        /// How often the kind comes up when the seed neither favours nor disables it.
        var weight: Int {
            switch self {
            case .send: 20
            case .receive: 14
            case .groupAdd, .groupSend: 10
            case .giveBack, .report, .outcome: 8
            case .open, .idle: 6
            case .groupDiscard: 5
            case .cancel: 4
            case .openChannels, .closeChannels, .congestion: 3
            case .close, .flood, .restart: 2
            case .goodbye, .ping, .flush, .odd, .late: 1
            }
        }
    }

    /// Each seed disables some kinds and favours others: histories that an even mix would never reach.
    static func swarm(_ random: inout SplitMix64) -> [Int] {
        Kind.allCases.map { kind in
            if kind == .open { return kind.weight * 10 }
            return random.chance(20) ? 0 : kind.weight * random.pick([1, 10, 10, 10, 40])
        }
    }

    /// The limits of a seed: mostly roomy, some so small that they are hit.
    static func limits(_ random: inout SplitMix64) -> Limits {
        var limits = Limits()
        limits.bodyBytes = 64
        limits.rowsReturned = 1_000
        if random.chance(25) { limits.capacityMaximum = 4 }
        if random.chance(15) { limits.groupsPerChannel = 2 }
        if random.chance(15) { limits.receivesPerSession = 3 }
        if random.chance(15) { limits.channels = 7 }
        if random.chance(15) { limits.groups = 2 }
        if random.chance(15) { limits.unownedMembersPerGroup = 2 }
        if random.chance(15) { limits.sessions = 3 }
        if random.chance(15) { limits.collections = 2 }
        if random.chance(15) { limits.channelBytes = 100 }
        if random.chance(15) { limits.queuedBytes = 200 }
        if random.chance(15) { limits.expiryMaximum = Milliseconds(2_000) }
        if random.chance(15) { limits.groupExpiryMaximum = Milliseconds(3_000) }
        return limits
    }

    /// Decides what happens next, and when.
    mutating func nextEvent() -> Event {
        passTime()
        guard !oracle.sessions.isEmpty else { return .open(hello()) }
        let kind = Kind(rawValue: random.weighted(weights))!
        let session = random.pick(oracle.sessions)
        switch kind {
        case .open: return oracle.sessions.count < 8 || random.chance(5) ? .open(hello()) : .pass
        case .close: return .close(random.chance(90) || ended.isEmpty ? session.id : random.pick(ended))
        case .idle: return .pass
        case .congestion:
            let id = random.chance(95) || ended.isEmpty ? session.id : random.pick(ended)
            return .congestion(id, random.chance(90) ? !session.isCongested : session.isCongested)
        case .restart: return .restart(origin: random.chance(50) ? origin : random.next() >> 20)
        case .flood: return flood(session)
        case .giveBack:
            // Several at once, in any order: what a reader that goes away does with its buffer.
            for _ in 0..<random.pick([0, 0, 1, 4]) { backlog.append(.apply(giveBack(session), from: session.id)) }
            return .apply(giveBack(session), from: session.id)
        case .late:
            guard !ended.isEmpty else { return .pass }
            let kind = random.pick([Kind.send, .receive, .groupAdd, .outcome])
            return .apply(request(kind, session), from: random.pick(ended))
        default: return .apply(request(kind, session), from: session.id)
        }
    }

    /// Often not at all, often to the very nanosecond of a deadline or the one before, rarely past everything.
    private mutating func passTime() {
        guard random.chance(restlessness), now.nanoseconds < 1 << 62 else { return }
        switch random.below(20) {
        case 0..<5: now.nanoseconds += random.next() % 1_000_000
        case 5..<10: now.nanoseconds += random.next() % 20_000_000
        case 10..<14:
            guard let earliest = oracle.earliestDeadline, earliest.nanoseconds < 1 << 62 else { return }
            now = max(now, earliest)
        case 14, 15:
            guard let earliest = oracle.earliestDeadline, earliest.nanoseconds < 1 << 62 else { return }
            now = max(now, Instant(nanoseconds: max(earliest.nanoseconds, 1) - 1))
        case 16..<19: now.nanoseconds += random.next() % (1_000_000 << UInt64(random.below(18)))
        default:
            let days = Milliseconds(random.pick([60_000, 86_400_000, 400 * 86_400_000]))
            now = now.advanced(by: days)
        }
    }

    // MARK: Sessions

    private mutating func hello() -> Hello {
        let roles: [Role] = [.worker, .worker, .worker, .worker, .worker, .worker, .admin, .publish, .inspect]
        let name = random.pick(["first", "second", "third"])
        var hello = Hello(client: "simulation/1", name: name, role: random.pick(roles), policy: policy())
        hello.namespace = random.pick(["default", "default", "default", "b"])
        if random.chance(75) { hello.node = random.pick(Self.nodes) }
        guard random.chance(4) else { return hello }
        switch random.below(5) {
        case 0: hello.protocolVersion = random.pick([0, 2, -1, .max])
        case 1: hello.client = ""
        case 2: hello.name = ""
        case 3: hello.namespace = random.pick(["", "a!b", "ü", String(repeating: "n", count: 100)])
        default: hello.node = random.pick(["", "a.b", "a!b", String(repeating: "n", count: 41)])
        }
        return hello
    }

    private mutating func policy() -> Policy {
        var policy = Policy(limits)
        policy.capacity = random.pick([0, 1, 2, 3, 5, 100, .max])
        for _ in 0..<random.pick([0, 0, 0, 1, 2, 3]) {
            let pattern = Glob(random.pick(["*", "c*", "c[0-1]", "c[!0]", "*!a", "n1!*", "p.*", "?1", "nothing"]))
            policy.channelCapacity.append(.init(pattern: pattern, capacity: random.pick([0, 1, 2, 4, 1_000_000_000])))
        }
        for _ in 0..<random.pick([0, 0, 1, 1, 2, 3]) {
            let pattern = Glob(random.pick(["*", "c*", "c[0-1]", "*!a", "n1!*", "?2!*", "p.*", "nothing"]))
            policy.overflow.append(.init(pattern: pattern, overflow: random.pick(Overflow.allCases)))
        }
        if random.chance(30) { policy.capacityScope = .process }
        policy.expiry = Milliseconds(random.pick([1, 5, 50, 1_000, 60_000, 60_000, .max]))
        policy.groupExpiry = Milliseconds(random.pick([1, 10, 200, 5_000, 86_400_000, .max]))
        policy.groupExpiryIsLiteral = random.chance(20)
        if random.chance(3) { policy.expiry = Milliseconds(0) }
        if random.chance(3) { policy.groupExpiry = Milliseconds(0) }
        return policy
    }

    // MARK: Names

    static let nodes = ["n1", "n2", "n3"]

    /// A name of any kind; mostly good.
    mutating func channel() -> String {
        if random.chance(2) {
            return random.pick(["", "c 0", "n1!", "!a", "a!b!c", "ü", "a.!b", String(repeating: "c", count: 100)])
        }
        return random.chance(50) ? "c\(random.below(4))" : processChannel(random.pick(Self.nodes))
    }

    private mutating func processChannel(_ node: String) -> String {
        (random.chance(15) ? "p." : "") + node + "!" + random.pick(["a", "b", "c"])
    }

    /// A process channel of the session, or now and then any name.
    private mutating func ownChannel(_ session: Oracle.Session) -> String {
        guard let node = session.node, random.chance(93) else { return channel() }
        return processChannel(node)
    }

    private mutating func group() -> String {
        let bad = ["", "g!0", "g 0", "ü", String(repeating: "g", count: 100)]
        return random.chance(2) ? random.pick(bad) : "g\(random.below(4))"
    }

    private mutating func names(_ atMost: Int, _ name: (inout Simulation) -> String) -> [String] {
        (0..<random.below(atMost) + (random.chance(95) ? 1 : 0)).map { _ in name(&self) }
    }

    // MARK: Values

    private mutating func body() -> Body {
        lastBody += 1
        var number = lastBody
        var body: Body = []
        while number > 0 {
            body.append(UInt8(truncatingIfNeeded: number))
            number >>= 8
        }
        let padding = random.chance(1) ? limits.bodyBytes : random.pick([0, 0, 0, 20, 50])
        return body + [UInt8](repeating: 0, count: padding + 3 - min(body.count, 3))
    }

    /// Mostly none, as where nobody traces.
    private mutating func trace() -> TraceContext? {
        guard random.chance(10) else { return nil }
        let value = String(repeating: "x", count: random.below(120))
        return TraceContext((0...random.below(4)).map { .init("h\($0)", value) })
    }

    private mutating func requestID() -> RequestID {
        lastRequest += 1
        return lastRequest
    }

    private mutating func optionalID() -> RequestID? {
        random.chance(60) ? requestID() : nil
    }

    private mutating func expiry() -> Milliseconds? {
        guard random.chance(40) else { return nil }
        return Milliseconds(random.pick([0, 1, 1, 5, 20, 50, 1_000, 30_000, 100_000_000, .max]))
    }

    // MARK: Requests

    private mutating func flood(_ session: Oracle.Session) -> Event {
        let channel = channel()
        let isGroup = weights[Kind.groupSend.rawValue] > 0 && random.chance(30)
        let group = group()
        for _ in 0..<random.below(30) {
            let request: Request =
                isGroup
                ? .groupSend(id: optionalID(), group: group, body: body(), GroupSendOptions())
                : .send(id: optionalID(), channel: channel, body: body(), SendOptions())
            backlog.append(.apply(request, from: session.id))
        }
        return .pass
    }

    private mutating func request(_ kind: Kind, _ session: Oracle.Session) -> Request {
        switch kind {
        case .ping: .ping(requestID())
        case .goodbye: .goodbye
        case .send:
            .send(id: optionalID(), channel: channel(), body: body(), SendOptions(expiry: expiry(), trace: trace()))
        case .receive: receive(session)
        case .cancel: cancel(session)
        case .report: .report(report(session))
        case .openChannels:
            .openChannels(id: optionalID(), names(4) { $0.ownChannel(session) }.map { OpenedChannel(name: $0) })
        case .closeChannels: .closeChannels(id: optionalID(), names(3) { $0.ownChannel(session) })
        case .groupAdd:
            .groupAdd(id: optionalID(), group: group(), channels: names(5) { $0.channel() }, groupExpiry: expiry())
        case .groupDiscard: .groupDiscard(id: optionalID(), group: group(), channels: names(4) { $0.channel() })
        case .groupSend: groupSend()
        case .outcome: outcome(session)
        case .flush: .flush(requestID())
        default: odd()
        }
    }

    private mutating func receive(_ session: Oracle.Session) -> Request {
        let waiting = oracle.channels.flatMap(\.receives).filter { $0.session == session.id }
        let free = cancelled.filter { $0.session == session.id }
        var id = random.chance(4) && !waiting.isEmpty ? random.pick(waiting).id : requestID()
        if random.chance(20), !free.isEmpty { id = random.pick(free).id }
        let count = random.chance(3) ? random.pick([0, -1, 65_536, .max]) : random.pick([1, 1, 1, 2, 3, 10, 65_535])
        let channel = random.chance(90) ? "c\(random.below(4))" : channel()
        return .receive(id: id, channel: channel, count: count)
    }

    private mutating func cancel(_ session: Oracle.Session) -> Request {
        let all = oracle.channels.flatMap(\.receives)
        let own = all.filter { $0.session == session.id }
        let waiting = random.chance(80) ? own : all
        guard !waiting.isEmpty else { return .cancel(id: requestID(), target: random.next() % 1_000) }
        let target = random.pick(waiting)
        if target.session == session.id { cancelled.append((session.id, target.id)) }
        if cancelled.count > 8 { cancelled.removeFirst() }
        return .cancel(id: requestID(), target: target.id)
    }

    /// Mostly messages that were handed out to the session, now and then to another, late, twice, or with an order
    /// nobody gave.
    private mutating func giveBack(_ session: Oracle.Session) -> Request {
        let isAny = random.chance(10)
        let own = handedOut.indices.filter {
            isAny ? handedOut[$0].channel.namespace == session.namespace : handedOut[$0].session == session.id
        }
        guard !own.isEmpty else { return .ping(requestID()) }
        let index = random.chance(50) ? random.pick(own) : own[own.count - 1 - random.below(min(own.count, 4))]
        let (_, channel, handOut) = random.chance(90) ? handedOut.remove(at: index) : handedOut[index]
        var message = GivenBack(handOut)
        if random.chance(2) { message.order = random.pick([0, .max]) }
        if random.chance(1) { message.body += [UInt8](repeating: 0, count: limits.bodyBytes) }
        if random.chance(2) { message.deadline = Instant(nanoseconds: random.pick([0, .max])) }
        let name = random.chance(97) ? channel.name : random.pick(["n1!a", "n2!b", "c 0", ""])
        return .giveBack(id: optionalID(), channel: name, message)
    }

    /// Sensible for the most part: no more taken than was pushed.
    private mutating func report(_ session: Oracle.Session) -> Report {
        var report = Report(received: random.next() >> 1, taken: [], dropped: [])
        for channel in oracle.channels where oracle.owns(session, channel) && random.chance(60) {
            let taken = random.below(channel.pushed.count + 1)
            let held = random.pick([0, 0, 1, 3])
            report.taken.append(.init(channel: channel.address.name, taken: UInt64(taken), held: UInt64(held)))
        }
        if random.chance(20) {
            let taken = random.pick([0, 1, 1_000, UInt64(Int64.max)])
            let held = random.pick([0, 0, 2, UInt64(Int64.max)])
            report.taken.append(.init(channel: ownChannel(session), taken: taken, held: held))
        }
        if random.chance(30) {
            let count = random.chance(2) ? UInt64(Int64.max) : UInt64(random.below(4))
            let group = random.chance(50) ? group() : nil
            let reason = random.pick(DropReason.allCases)
            let channel = random.chance(70) ? ownChannel(session) : nil
            report.dropped.append(.init(channel: channel, group: group, count: count, reason: reason))
        }
        return report
    }

    private mutating func groupSend() -> Request {
        var options = GroupSendOptions(expiry: expiry())
        if random.chance(25) { options.exclude = names(4) { $0.channel() } }
        options.wantsOutcome = random.chance(40)
        options.trace = trace()
        return .groupSend(id: optionalID(), group: group(), body: body(), options)
    }

    /// Mostly an answer this session owes; now and then one it does not owe, or one out of all proportion.
    private mutating func outcome(_ session: Oracle.Session) -> Request {
        let owed = oracle.collections.filter { $0.owed.contains { $0.session == session.id } }.map(\.token)
        let tokens = owed + (session.unansweredFlush.map { [$0] } ?? [])
        var token = random.next() | 1 << 63
        if random.chance(5), let collection = oracle.collections.first { token = collection.token }
        if random.chance(95), !tokens.isEmpty { token = random.pick(tokens) }
        let counts: [UInt64] = [0, 1, 2, 3]
        let isAbsurd = random.chance(2)
        return .outcome(
            token: token,
            accepted: isAbsurd ? UInt64(Int64.max) : random.pick(counts),
            dropped: isAbsurd ? UInt64(Int64.max) : random.pick(counts)
        )
    }

    /// What a sane client does not send.
    private mutating func odd() -> Request {
        switch random.below(4) {
        case 0: .hello(hello())
        case 1: .pong(requestID())
        case 2: .admin(requestID(), command: "drain", arguments: .map([:]))
        default: .cancel(id: requestID(), target: requestID())
        }
    }
}
