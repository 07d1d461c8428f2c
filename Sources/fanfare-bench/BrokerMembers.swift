import FanfareModel

/// Group sends to groups of several sizes whose members live in the same few links, in slices that take turns: what
/// differs is only the number of members, which the broker's cost must not show.
struct BrokerMembers {
    private let command: BrokerCommand

    private static let slices = 10

    init(_ command: BrokerCommand) {
        self.command = command
    }

    func run(_ endpoint: Endpoint) throws -> BrokerReport {
        let dialect = BrokerFanfareDialect()
        let poller = try BrokerPoller(endpoint, dialect)
        try poller.open(command.links + 1)
        let loads = try command.members.map { try makeLoad(poller, dialect, members: $0) }
        for load in loads {
            try load.run(seconds: command.warmUp)
            load.beginMeasuring()
        }
        let slice = command.seconds / Double(Self.slices * loads.count)
        var costs = [[Double]](repeating: [], count: loads.count)
        var whole: Measurement?
        for round in 0..<Self.slices {
            // Whoever comes first in one round comes last in the next.
            for index in round % 2 == 0 ? Array(loads.indices) : loads.indices.reversed() {
                let before = loads[index].counts.sent
                let measurement = try Measurement.of(command.pid) { try loads[index].run(seconds: slice) }
                let sent = Double(loads[index].counts.sent - before)
                if let server = measurement.serverNanoseconds { costs[index].append(Double(server) / 1_000 / sent) }
                whole = whole?.followed(by: measurement) ?? measurement
            }
        }
        guard let whole else { throw LoadFailure("--members names no group") }
        var report = BrokerReport(command, sum(loads.map(\.counts)), whole)
        if !command.pid.isEmpty {
            let medians = costs.map(\.median)
            report.microsecondsPerGroupSend = Dictionary(
                zip(command.members.map(String.init), medians),
                uniquingKeysWith: { first, _ in first }
            )
            report.ratio = (medians.max() ?? 0) / max(medians.min() ?? 0, 1e-9)
        }
        return report
    }

    /// A group of `members` channels, spread evenly over all links but the last, which publishes.
    private func makeLoad(_ poller: BrokerPoller, _ dialect: BrokerFanfareDialect, members: Int) throws
        -> BrokerGroupSend
    {
        let group = command.uniqueName("group-\(members)")
        let owners = command.links
        let batches = (members / owners + command.batch) / command.batch
        try BrokerPipeline(poller, window: 4).run(0..<(owners * batches)) { index in
            let link = poller.links[index % owners]
            let own = members / owners + (index % owners < members % owners ? 1 : 0)
            let start = index / owners * command.batch
            let channels = (min(start, own)..<min(start + command.batch, own)).map {
                BrokerFanfareDialect.channel($0, node: link.node)
            }
            let id = link.nextID()
            return (link, dialect.encode(.groupAdd(id: id, group: group, channels: channels, groupExpiry: nil)))
        }
        let template = dialect.publish(to: group, payload: command.payload, acknowledged: command.acknowledged)
        let publisher = poller.links[owners]
        return BrokerGroupSend(poller, publisher: publisher, members: owners, window: command.window, template)
    }

    private func sum(_ counts: [BrokerCounts]) -> BrokerCounts {
        counts.reduce(into: BrokerCounts()) {
            $0.sent += $1.sent
            $0.expected += $1.expected
            $0.delivered += $1.delivered
            $0.outOfOrder += $1.outOfOrder
            $0.latencies.add($1.latencies)
        }
    }
}

extension Measurement {
    /// Both stretches as one.
    fileprivate func followed(by next: Measurement) -> Measurement {
        var whole = next
        whole.seconds += seconds
        whole.serverNanoseconds = next.serverNanoseconds.map { $0 + (serverNanoseconds ?? 0) }
        whole.generatorNanoseconds += generatorNanoseconds
        return whole
    }
}
