import FanfareModel

/// Group sends at a fixed rate to many groups in turn, all of which have members in all links.
final class LookingLoad: BrokerReceiver {
    private let poller: BrokerPoller
    private let publisher: BrokerLink
    private var templates: [BrokerTemplate]
    private var account: BrokerGroupAccount
    private let intervalNanoseconds: UInt64
    private var sent = 0

    /// Messages under way at most: a broker that keeps so many waiting is not measured but drowned.
    private static let window = 65_536
    private static let patienceSeconds = 10.0
    private static let requestsUnderWay = 256

    /// Opens the links and registers the memberships.
    init(_ command: LookingCommand, _ endpoint: Endpoint) throws {
        let dialect = BrokerFanfareDialect()
        poller = try BrokerPoller(endpoint, dialect)
        try poller.open(command.links + 1)
        publisher = poller.links[command.links]
        templates = (0..<command.groups).map {
            dialect.publish(to: BrokerMemberships.group($0), payload: command.payload, acknowledged: false)
        }
        account = BrokerGroupAccount(members: command.links, window: Self.window)
        intervalNanoseconds = UInt64(1e9 / command.rate)
        let (poller, links, groups) = (poller, command.links, command.groups)
        try BrokerPipeline(poller, window: Self.requestsUnderWay).run(0..<(groups * links)) { index in
            let (group, link) = (index / links, poller.links[index % links])
            let members = command.memberships / groups + (group < command.memberships % groups ? 1 : 0)
            let own = stride(from: index % links, to: members, by: links).map { number in
                BrokerFanfareDialect.channel(group * (command.memberships / groups + 1) + number, node: link.node)
            }
            let name = BrokerMemberships.group(group)
            let id = link.nextID()
            return (link, dialect.encode(.groupAdd(id: id, group: name, channels: own, groupExpiry: nil)))
        }
    }

    /// Sends for `seconds`, then waits for what is under way, ten seconds at most: the counts show what is missing.
    func run(seconds: Double) throws -> BrokerCounts {
        poller.receiver = self
        account.counts = BrokerCounts()
        let end = MonotonicClock.after(seconds)
        var due = MonotonicClock.now()
        while due < end {
            let now = MonotonicClock.now()
            while due <= now, due < end {
                send(at: now)
                due += intervalNanoseconds
            }
            try poller.run(until: { MonotonicClock.now() >= due }, within: 1)
        }
        try poller.run(until: { self.account.isSettled }, within: Self.patienceSeconds)
        return account.counts
    }

    private func send(at time: UInt64) {
        let group = sent % templates.count
        sent += 1
        templates[group].stamp(sequence: account.send(at: time))
        publisher.append(templates[group].bytes)
    }

    func delivered(_ sequences: UnsafeBufferPointer<UInt64>, at time: UInt64, on link: BrokerLink) {
        _ = account.take(sequences, from: link.index, at: time)
    }

    func acknowledged(_ count: Int, on link: BrokerLink) {}
}
