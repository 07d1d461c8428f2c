import ArgumentParser
import FanfareModel

/// `fanfare-bench broker`: the broker alone, without any worker, against others of its kind.
struct BrokerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "broker",
        abstract: "Messages and memberships through a broker, closed loop; the same load for Redis and the limit.",
        discussion: """
            group-send: every link is a member of one group, a link of its own publishes; a delivery is a message that \
            came to a link. send-receive: one link sends, one receives; a delivery is a message sent, acknowledged and \
            received. members: group sends to groups of several sizes whose members live in the links, taking turns. \
            churn: group add and discard at ever more memberships. resync: all memberships registered in batches, \
            first with a broker that knows none, then after the links were lost. The last three are Fanfare's only; \
            memory by membership means something only with a broker that has just been started. \
            The limit server acknowledges nothing. Exits with 1 when something was lost or out of order.
            """
    )

    enum Mode: String, ExpressibleByArgument, CaseIterable {
        case groupSend = "group-send"
        case sendReceive = "send-receive"
        case members, churn, resync
    }

    enum ProtocolName: String, ExpressibleByArgument, CaseIterable {
        case fanfare, redis, limit
    }

    enum RedisCommand: String, ExpressibleByArgument, CaseIterable {
        case list, publish
    }

    @Option(help: "The server: unix:/path or tcp://host:port.") var broker: String
    @Option(help: "What to measure.") var mode = Mode.groupSend
    @Option(help: "What the server speaks.") var `protocol` = ProtocolName.fanfare
    @Option(help: "Send-receive of Redis: RPUSH and BLPOP, or PUBLISH.") var redisCommand = RedisCommand.list
    @Option(help: "Links that own members; 100 for group-send, 2 for members, else 4.") var links: Int = 0
    @Option(help: "Messages or requests under way.") var window = 16
    @Option(help: "Seconds to measure.") var seconds = 5.0
    @Option(help: "Seconds of the same load before.") var warmUp = 0.5
    @Option(help: "Bytes of a message.") var payload = 128
    @Flag(help: "Group sends of Fanfare ask for an acknowledgement, as Redis always gives one.")
    var acknowledged = false
    @Option(help: "Members of a group; repeatable; 1000 and 100000 if none is given.") var members: [Int] = []
    @Option(help: "Memberships of churn and resync.") var memberships = 1_000_000
    @Option(help: "Channels of one link, at most.") var channelsPerLink = 250_000
    @Option(help: "Groups the memberships are in.") var groups = 10_000
    @Option(help: "Additions, and as many discards, at each size of churn.") var operations = 20_000
    @Option(help: "Channels in one registration of resync, at most.") var batch = 4_096
    @Option(help: "Registrations of everything; the first is that of a fresh broker.") var runs = 3
    @Option(help: "Process to charge CPU time and memory to; repeatable.") var pid: [Int32] = []
    @Flag(help: "Print JSON.") var json = false

    mutating func validate() throws {
        if links == 0 { links = mode == .groupSend ? 100 : mode == .members ? 2 : 4 }
        if members.isEmpty { members = [1_000, 100_000] }
        guard (1...4_000).contains(links) else { throw ValidationError("--links takes 1 to 4000") }
        guard (1...100_000).contains(window) else { throw ValidationError("--window takes 1 to 100000") }
        guard (16...2_000_000).contains(payload) else { throw ValidationError("--payload takes 16 to 2000000 bytes") }
        guard seconds > 0, warmUp >= 0 else { throw ValidationError("--seconds must be more than 0") }
        guard members.allSatisfy({ $0 >= links && $0 <= 1_000_000 }) else {
            throw ValidationError("--members takes as many as there are links, to 1000000")
        }
        guard (1_000...10_000_000).contains(memberships), channelsPerLink > 0, operations > 0, runs > 0 else {
            throw ValidationError("--memberships takes 1000 to 10000000, the other counts at least 1")
        }
        guard groups > 0, memberships <= links * channelsPerLink * groups else {
            throw ValidationError("\(links * channelsPerLink) channels in \(groups) groups are too few memberships")
        }
        guard (1...4_096).contains(batch) else { throw ValidationError("--batch takes 1 to 4096") }
        guard mode == .groupSend || mode == .sendReceive || `protocol` == .fanfare else {
            throw ValidationError("--mode \(mode.rawValue) is of --protocol fanfare only")
        }
    }

    func run() async throws {
        DescriptorLimit.raise()
        let endpoint = try Endpoint(broker)
        switch mode {
        case .groupSend, .sendReceive, .members:
            let report = try measureMessages(endpoint)
            try report.show(asJSON: json)
            if !report.isWhole { throw ExitCode(1) }
        case .churn:
            let dialect = BrokerFanfareDialect()
            let poller = try BrokerPoller(endpoint, dialect)
            try poller.open(links)
            try BrokerChurn(self, poller, dialect).run().show(asJSON: json)
        case .resync:
            let dialect = BrokerFanfareDialect()
            let poller = try BrokerPoller(endpoint, dialect)
            try poller.open(links)
            try BrokerResync(self, poller, dialect).run().show(asJSON: json)
        }
    }

    private func measureMessages(_ endpoint: Endpoint) throws -> BrokerReport {
        switch mode {
        case .members: return try BrokerMembers(self).run(endpoint)
        case .sendReceive:
            let poller = try BrokerPoller(endpoint, makeDialect())
            return try measureSendReceive(poller)
        default:
            let poller = try BrokerPoller(endpoint, makeDialect())
            return try measureGroupSend(poller)
        }
    }

    private func makeDialect() -> any BrokerDialect {
        switch `protocol` {
        case .fanfare: BrokerFanfareDialect()
        case .redis: RedisDialect(usesLists: redisCommand == .list)
        case .limit: BrokerLimitDialect()
        }
    }

    private func measureGroupSend(_ poller: BrokerPoller) throws -> BrokerReport {
        let group = uniqueName("group")
        try poller.open(links + 1)
        let members = poller.links.dropLast()
        try join(group, members, poller)
        let template = try poller.dialect.publish(to: group, payload: payload, acknowledged: acknowledged)
        let publisher = poller.links[links]
        publisher.append(poller.dialect.openingPublisher(to: group))
        let load = BrokerGroupSend(poller, publisher: publisher, members: links, window: window, template)
        try load.run(seconds: warmUp)
        load.beginMeasuring()
        let measurement = try Measurement.of(pid) { try load.run(seconds: seconds) }
        return BrokerReport(self, load.counts, measurement)
    }

    private func measureSendReceive(_ poller: BrokerPoller) throws -> BrokerReport {
        let channel = uniqueName("channel")
        try poller.open(2)
        let (sender, reader) = (poller.links[0], poller.links[1])
        sender.append(poller.dialect.openingPublisher(to: channel))
        if poller.dialect.receive(from: channel) == nil { try join(channel, poller.links[1...], poller) }
        let load = try BrokerSendReceive(poller, sender: sender, reader: reader, channel: channel, self)
        try load.run(seconds: warmUp)
        load.beginMeasuring()
        let measurement = try Measurement.of(pid) { try load.run(seconds: seconds) }
        return BrokerReport(self, load.counts, measurement)
    }

    private func join(_ group: String, _ links: ArraySlice<BrokerLink>, _ poller: BrokerPoller) throws {
        for link in links {
            link.append(poller.dialect.join(group, node: link.node))
            link.asked += 1
        }
        try poller.run(until: { links.allSatisfy { $0.acknowledged == 1 } }, within: 10)
        guard links.allSatisfy({ $0.acknowledged == 1 }) else {
            throw LoadFailure("the server did not confirm every member of \(group) within 10 s")
        }
    }

    /// A name no run before this one has left anything under.
    func uniqueName(_ kind: String) -> String {
        "bench-\(kind)-\(String(MonotonicClock.now(), radix: 36))"
    }
}
