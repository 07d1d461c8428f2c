import FanfareCore
import FanfareModel

/// What must be equal after each step. Order within one session's stream counts, except where the text leaves it
/// open: among what ends because time passed, among members of one group send, among the groups of one adoption,
/// and among collections one lost session settles.
extension Simulation {
    /// Compares what was said, and learns which of the core's orders and tokens stand for the oracle's.
    ///
    /// - Returns: What differs, or `nil`.
    mutating func compare(_ event: Event) -> String? {
        var streams: [SessionID: [Reply]] = [:]
        var fanOuts: [[SessionID]] = []
        var closed: [SessionID] = []
        for effect in heard {
            switch effect {
            case .reply(let reply, let session):
                streams[session, default: []].append(reply)
            case .fanOut(let reply, let range):
                for session in effects.targets[range] { streams[session, default: []].append(reply) }
                if case .groupDeliver = reply { fanOuts.append(Array(effects.targets[range])) }
            case .close(let session, _):
                closed.append(session)
            case .drain: break
            }
        }
        if closed != oracle.said.closed { return "sessions closed: \(closed), expected \(oracle.said.closed)" }
        let expected = Set(oracle.said.byTime.keys).union(oracle.said.byEvent.keys)
        for session in expected.union(streams.keys).sorted() {
            guard agree(streams[session] ?? [], session, event) else {
                return "session \(session.value) heard something else"
            }
        }
        if fanOuts != oracle.said.fanOuts {
            return "group deliveries went to \(fanOuts), expected \(oracle.said.fanOuts)"
        }
        return nil
    }

    private mutating func agree(_ stream: [Reply], _ session: SessionID, _ event: Event) -> Bool {
        let byTime = oracle.said.byTime[session] ?? []
        let byEvent = oracle.said.byEvent[session] ?? []
        let (early, late) = Self.split(stream, after: byTime.count)
        return agree(early, byTime) { _ in true } && agree(late, byEvent) { Self.isFree($0, event) }
    }

    /// Takes `count` items off the front. A notice of several removed members is one item for each: whether the
    /// broker gathers what expires together is its affair.
    private static func split(_ stream: [Reply], after count: Int) -> (early: [Reply], late: [Reply]) {
        var early: [Reply] = []
        var index = 0
        while early.count < count, index < stream.count {
            if case .members(let group, let added, let removed) = stream[index], added.isEmpty {
                early += removed.map { .members(group: group, added: [], removed: [$0]) }
            } else {
                early.append(stream[index])
            }
            index += 1
        }
        return (early, Array(stream[index...]))
    }

    /// Whether neighbours like `reply` may change places in the answer to `event`.
    private static func isFree(_ reply: Reply, _ event: Event) -> Bool {
        switch (event, reply) {
        case (.close, _), (.apply(.goodbye, _), _), (.open, .members), (.apply(.groupSend, _), .handOut): true
        default: false
        }
    }

    /// Pairs `actual` with `expected`; runs of free replies pair in any order.
    private mutating func agree(_ actual: [Reply], _ expected: [Reply], isFree: (Reply) -> Bool) -> Bool {
        guard actual.count == expected.count else { return false }
        var rest = actual[...]
        for reply in expected {
            let known = tokens
            let place =
                isFree(reply)
                ? rest.prefix(while: isFree).firstIndex { Self.equal($0, reply, known) }
                : rest.indices.first.flatMap { Self.equal(rest[$0], reply, known) ? $0 : nil }
            guard let place else { return false }
            learn(rest.remove(at: place), for: reply)
        }
        return true
    }

    private mutating func learn(_ actual: Reply, for expected: Reply) {
        switch (actual, expected) {
        case (.handOut(_, let actual), .handOut(_, let expected)):
            orders[expected.order] = actual.order
        case (.groupDeliver(let actual), .groupDeliver(let expected)):
            if let token = expected.outcome { tokens[token] = actual.outcome }
        case (.flushed(let actual), .flushed(let expected)):
            tokens[expected] = actual
        default:
            break
        }
    }

    /// Equality without what is opaque or for people: orders, tokens, the texts of errors.
    private static func equal(_ actual: Reply, _ expected: Reply, _ tokens: [UInt64: UInt64]) -> Bool {
        switch (actual, expected) {
        case (.handOut(let id, var handOut), .handOut(let expectedID, let expected)):
            handOut.order = expected.order
            return id == expectedID && handOut == expected
        case (.error(let id, let failure), .error(let expectedID, let expected)):
            return id == expectedID && failure.code == expected.code
        case (.groupDeliver(var delivery), .groupDeliver(let expected)):
            if let token = delivery.outcome, let known = expected.outcome {
                guard tokens[known] == nil || tokens[known] == token else { return false }
                delivery.outcome = known
            }
            return delivery == expected
        case (.flushed(let token), .flushed(let known)):
            return tokens[known] == nil || tokens[known] == token
        case (.members(let group, let added, let removed), .members(let expectedGroup, let gained, let lost)):
            return group == expectedGroup && added.sorted() == gained.sorted() && removed.sorted() == lost.sorted()
        default:
            return actual == expected
        }
    }

    // MARK: State

    /// Compares what is not said but kept: counters, the next deadline, the core's own invariants, inspections.
    mutating func compareState(_ event: Event) throws(Difference) {
        for reason in DropReason.allCases {
            let expected = oracle.drops[Int(reason.rawValue)]
            let actual = core.counters[drop: reason]
            guard actual == expected else {
                throw difference("dropped as \(reason.name): \(actual), expected \(expected)", event)
            }
        }
        let actual = (core.counters.delivers, core.counters.handOuts, core.counters.groupDeliverFrames)
        let seen = (properties.delivers, properties.handOuts, properties.groupDeliverFrames)
        guard actual == seen else {
            throw difference("delivers, hand-outs and group frames counted: \(actual), seen: \(seen)", event)
        }
        if let earliest = oracle.earliestDeadline {
            guard let next = core.nextDeadline, next.nanoseconds - origin <= earliest.nanoseconds else {
                throw difference("the next deadline is \(core.nextDeadline as Any), expected \(earliest)", event)
            }
        }
        if step % auditInterval == 0 {
            let violations = core.checkInvariants(at: coreNow)
            guard violations.isEmpty else { throw difference(violations.joined(separator: "; "), event) }
        }
        if step % 32 == 0 { try compareInspections(event) }
    }

    private mutating func compareInspections(_ event: Event) throws(Difference) {
        try compare(.groups, nil, oracle.groupRows, event)
        try compare(.channels, nil, oracle.channelRows, event)
        for group in Set(oracle.memberships.map(\.group)) {
            try compare(.group, group, oracle.memberRows(of: group), event)
        }
        try compare(.drops, nil, oracle.dropRows, event)
        let ages = try inspected(.drops).compactMap { $0["age_milliseconds"]?.int }
        guard ages == ages.sorted() else { throw difference("drops are not shown newest first: \(ages)", event) }
        try compareNews(event)
        for row in try inspected(.channels) {
            if let complaint = properties.checkDepth(row) { throw difference(complaint, event) }
        }
    }

    /// What is new for the warnings of the log, and new no more once it was asked for.
    private mutating func compareNews(_ event: Event) throws(Difference) {
        let (news, further) = core.takeDropNews(most: 1_000)
        var actual: [Oracle.Loss: UInt64] = [:]
        for drop in news {
            let address = Oracle.Address(namespace: drop.namespace, name: drop.name)
            let worker = drop.worker.isEmpty ? nil : drop.worker
            actual[Oracle.Loss(kind: drop.kind, address: address, worker: worker, reason: drop.reason)] = drop.count
        }
        let expected = oracle.losses.mapValues(\.news).filter { $0.value > 0 }
        guard news.count == actual.count, further == 0, actual == expected else {
            throw difference("news of drops: \(actual), expected \(expected)", event)
        }
        for loss in expected.keys { oracle.losses[loss]?.news = 0 }
    }

    private func compare(
        _ subject: InspectionQuery.Subject,
        _ group: Oracle.Address?,
        _ expected: Set<[String: MessageValue]>,
        _ event: Event
    ) throws(Difference) {
        let rows = try inspected(subject, group)
        let columns = expected.first?.keys.sorted() ?? []
        let actual = Set(
            rows.map { row in Dictionary(uniqueKeysWithValues: columns.map { ($0, row[$0] ?? .null) }) }
        )
        guard rows.count == expected.count, actual == expected else {
            let extra = actual.subtracting(expected).map(brief)
            let missing = expected.subtracting(actual).map(brief)
            throw difference("inspection of \(subject): \(extra) instead of \(missing)", event)
        }
    }

    /// Every row of one inspection of the core.
    func inspected(
        _ subject: InspectionQuery.Subject,
        _ group: Oracle.Address? = nil
    ) throws(Difference) -> [[String: MessageValue]] {
        var query = InspectionQuery(subject)
        query.name = group?.name
        query.namespace = group?.namespace
        query.limit = 1_000
        do throws(Failure) {
            return try core.inspect(query, now: coreNow)["rows"]?.array?.compactMap(\.map) ?? []
        } catch {
            throw difference("inspection of \(subject) refused: \(error)", .pass)
        }
    }
}
