import FanfareCore
import FanfareModel
import FanfareTransport
import Logging
import NIOCore
import NIOEmbedded

@testable import FanfareBroker

/// A broker with real connections on an event loop whose clock stands still: the bytes of each connection are cut at
/// random and pass in random order between connections, readers stop, connections are lost.
///
/// Everything follows from the seed. A connection once lost is another one when it comes again, or goes on with the
/// session of the lost one.
final class BurstSimulation {
    /// What a seed adds to sends and receives.
    struct Trouble {
        /// Connections break, with what is on its way in both directions.
        var losesConnections = false
        /// Connections break in the same way, and the next one goes on with the session: nothing may be missing then.
        var resumesSessions = false
        /// Connections stop taking what the broker writes, and go on later.
        var stopsReading = false
        /// Channels hold three messages and overflow.
        var isTight = false
        /// Some messages for channels without an owner live a few milliseconds only.
        var expires = false

        var isLossless: Bool { !losesConnections }
        /// Whether every connection lasts.
        var isSteady: Bool { !losesConnections && !resumesSessions }
    }

    static let nodes = ["n1", "n2", "n3"]
    static let groups = ["g1", "g2"]
    static let queues = ["c1", "c2", "c3"]

    let seed: UInt64
    let trouble: Trouble
    let ledger = BurstLedger()
    private(set) var clients: [BurstClient] = []
    private let limits: Limits
    private let policy: Policy
    private let loop = EmbeddedEventLoop()
    private let broker: BrokerLoop
    private var random: BurstRandom
    private var lastNumber: UInt32 = 0
    private var isStopping = false

    init(seed: UInt64) throws {
        self.seed = seed
        random = BurstRandom(seed: seed)
        var trouble = Trouble(
            losesConnections: random.chance(40),
            stopsReading: random.chance(50),
            isTight: random.chance(50),
            expires: random.chance(50)
        )
        if !trouble.losesConnections { trouble.resumesSessions = random.chance(50) }
        self.trouble = trouble
        var limits = Limits()
        if trouble.stopsReading { limits.linkBytes = random.pick([8_000, 16_000]) }
        self.limits = limits
        var policy = Policy(limits)
        policy.capacity = trouble.isTight ? 3 : 100_000
        if random.chance(50) {
            let overflow = random.pick([Overflow.reject, .dropNewest, .dropOldest])
            policy.overflow = [.init(pattern: Glob("*"), overflow: overflow)]
        }
        self.policy = policy
        let core = Core(limits: limits, epoch: 1, broker: "fanfare-broker/test")
        let logger = Logger(label: "burst", factory: { _ in SwiftLogNoOpLogHandler() })
        broker = BrokerLoop(loop: loop, limits: limits, core: core, facts: [:], logger: logger)
        for node in Self.nodes { try connect(node: node) }
        for _ in 0..<2 { try connect(node: nil) }
        try settle()
    }

    // MARK: Connections

    @discardableResult
    private func connect(node: String?, role: Role = .worker) throws -> BurstClient {
        lastNumber += 1
        let channel = EmbeddedChannel(loop: loop)
        let client = try BurstClient(
            lastNumber,
            node: node,
            channel: channel,
            limits: limits,
            ledger: ledger
        )
        try join(channel)
        clients.append(client)
        client.write(.hello(hello(node, role)))
        // Before all else: a hello that takes its time is refused.
        while !client.outgoing.isEmpty { try client.arrive(atMost: 1 + random.below(40)) }
        if let node {
            for group in Self.groups {
                client.ask { .groupAdd(id: $0, group: group, channels: Self.channels(of: node), groupExpiry: nil) }
            }
        }
        return client
    }

    /// Gives the broker its end of a connection.
    private func join(_ channel: EmbeddedChannel) throws {
        let connection = FrameConnection(
            receiver: Peer(broker),
            turn: broker.turn,
            frameBytes: limits.helloFrameBytes
        )
        try channel.pipeline.syncOperations.addHandler(connection)
        channel.connect(to: try SocketAddress(unixDomainSocketPath: "/burst"), promise: nil)
        loop.run()
    }

    private func hello(_ node: String?, _ role: Role) -> Hello {
        var hello = Hello(client: "burst/1", name: node ?? "burst", role: role, policy: policy)
        hello.node = node
        if trouble.resumesSessions { hello.capabilities = [Protocol.resumeCapability, Protocol.clockCapability] }
        return hello
    }

    /// Breaks a connection, of which the broker may not hear; the client will go on with its session.
    private func cut(_ client: BurstClient) throws {
        if random.chance(50) {
            try client.collect()
            client.read(atMost: random.below(client.incoming.count + 1))
        }
        try client.arrive(atMost: random.below(client.outgoing.count + 1))
        if random.chance(70) { client.channel.close(promise: nil) }
        loop.run()
        client.loseConnection()
    }

    /// Goes on with a session. Before all else the hello arrives: one that takes its time is refused.
    private func comeBack(_ client: BurstClient) throws {
        let channel = EmbeddedChannel(loop: loop)
        try join(channel)
        try client.resume(hello(client.node, .worker), over: channel)
        while !client.outgoing.isEmpty { try client.arrive(atMost: 1 + random.below(40)) }
    }

    private static func channels(of node: String) -> [String] { [node + "!a", node + "!b"] }

    /// Breaks a connection; what was on its way is lost in both directions, or arrives here still.
    private func lose(_ index: Int) throws {
        let client = clients.remove(at: index)
        if random.chance(50) {
            try client.collect()
            client.read(atMost: random.below(client.incoming.count + 1))
        }
        client.channel.close(promise: nil)
        loop.run()
        try connect(node: client.node)
    }

    // MARK: Running

    /// Lives through `steps` small steps, then lets everything arrive.
    func run(steps: Int) throws {
        for _ in 0..<steps { try step() }
        for client in clients { client.isReading = true }
        try settle()
        try readOut()
    }

    private func step() throws {
        let index = random.below(clients.count)
        let client = clients[index]
        switch random.below(100) {
        case 0..<40: act(client)
        case _ where client.isAway && !client.isComing:
            if random.chance(10) { try comeBack(client) }
        case 40..<65: try client.arrive(atMost: 1 + random.below(random.pick([4, 60, 5_000])))
        case 65..<90:
            try client.collect()
            client.read(atMost: 1 + random.below(random.pick([4, 60, 5_000])))
        case 90..<96: loop.advanceTime(by: .microseconds(Int64(random.below(random.pick([1, 1_000, 5_000])))))
        case 96..<98:
            loop.run()
            if trouble.stopsReading { client.isReading = random.chance(60) || !mayStop(client) }
        default:
            if trouble.losesConnections, random.chance(20) { try lose(index) }
            if trouble.resumesSessions, random.chance(40) { try cut(client) }
        }
        let closed = clients.firstIndex { !$0.channel.isActive && (!$0.isAway || $0.isComing) }
        guard let closed else { return }
        if trouble.resumesSessions { return clients[closed].loseConnection() }
        // A connection at twice `link_bytes` is closed: that is a loss like any other, and only where some are meant.
        guard trouble.losesConnections else {
            return ledger.complain("connection \(clients[closed].number) was closed")
        }
        try lose(closed)
    }

    private func act(_ client: BurstClient) {
        switch random.below(20) {
        case 0..<7: send(client, to: random.pick(Self.channels(of: random.pick(Self.nodes))), expiry: nil)
        case 7..<11:
            let expiry = trouble.expires && random.chance(30) ? Milliseconds(UInt64(1 + random.below(3))) : nil
            send(client, to: random.pick(Self.queues), expiry: expiry)
        case 11..<14:
            let group = random.pick(Self.groups)
            let body = ledger.next(from: client.number, to: group, padding: padding())
            if answers(client) {
                client.ask { .groupSend(id: $0, group: group, body: body, GroupSendOptions()) }
            } else {
                client.write(.groupSend(id: nil, group: group, body: body, GroupSendOptions()))
            }
        case 14..<16:
            guard answers(client) else { return }
            client.receive(random.pick(Self.queues), count: random.pick([1, 1, 2, 5]))
        case 16:
            if let target = client.waiting.keys.sorted().first, answers(client) { client.cancel(target) }
        default:
            guard let node = client.node else { return }
            let names = Self.channels(of: node).filter { _ in random.chance(60) }
            client.report(names)
        }
    }

    private func send(_ client: BurstClient, to channel: String, expiry: Milliseconds?) {
        let body = ledger.next(from: client.number, to: channel, padding: padding())
        let options = SendOptions(expiry: expiry)
        if answers(client) {
            client.ask { .send(id: $0, channel: channel, body: body, options) }
        } else {
            client.write(.send(id: nil, channel: channel, body: body, options))
        }
    }

    /// Whether `client` may stop reading. One that is owed what it asked for would be closed in the end, as it should,
    /// and a run without losses would have one.
    private func mayStop(_ client: BurstClient) -> Bool {
        !trouble.isSteady || client.waiting.isEmpty && client.outgoing.isEmpty
    }

    /// Whether the next request of `client` asks for an answer. One that does not read asks for none: what it asked
    /// for would fill its connection until it is closed.
    private func answers(_ client: BurstClient) -> Bool {
        random.chance(50) && (client.isReading || !trouble.isSteady)
    }

    private func padding() -> Int { random.pick([0, 0, 5, 40, 200, 1_000]) }

    // MARK: Ending

    /// Lets everything that is on its way arrive, still cut at random, until nothing moves.
    private func settle() throws {
        var isMoving = true
        while isMoving {
            isMoving = false
            loop.run()
            for client in clients {
                if trouble.resumesSessions, !isStopping, !client.channel.isActive, !client.isAway || client.isComing {
                    client.loseConnection()
                }
                if client.isAway, !client.isComing, !isStopping {
                    isMoving = true
                    try comeBack(client)
                }
                try client.collect()
                while !client.outgoing.isEmpty {
                    isMoving = true
                    try client.arrive(atMost: 1 + random.below(3_000))
                }
                while !client.incoming.isEmpty {
                    isMoving = true
                    client.read(atMost: 1 + random.below(3_000))
                }
            }
        }
    }

    /// Reads every queue to its end and reports everything read, so that what was missed is told too.
    private func readOut() throws {
        let reader = try connect(node: nil)
        for queue in Self.queues {
            // One at a time: a connection must take what it asks for.
            var before: UInt64
            repeat {
                before = ledger.handOuts
                reader.receive(queue, count: 1)
                try settle()
            } while ledger.handOuts > before
        }
        for client in clients { if let node = client.node { client.report(Self.channels(of: node)) } }
        try settle()
    }

    /// The broker's own account: `status`, and every row of `drops`.
    func account() throws -> (status: MessageValue, drops: [MessageValue]) {
        let inspector = try connect(node: nil, role: .admin)
        inspector.ask { .inspect($0, InspectionQuery(.status)) }
        try settle()
        var rows: [MessageValue] = []
        var query = InspectionQuery(.drops)
        query.sort = "name"
        // Small pages: an answer must fit the link.
        query.limit = 20
        repeat {
            inspector.ask { .inspect($0, query) }
            try settle()
            rows += inspector.results.last?["rows"]?.array ?? []
            query.cursor = inspector.results.last?["cursor"]?.string
        } while query.cursor != nil
        return (inspector.results.first ?? .null, rows)
    }

    /// Stops the broker: everyone hears of it, then every connection is closed.
    func stop() throws {
        isStopping = true
        let connected = clients.filter(\.channel.isActive)
        _ = broker.stop(within: Milliseconds(1_000))
        try settle()
        loop.advanceTime(by: .seconds(1))
        for client in connected {
            if !client.isToldToGo { ledger.complain("connection \(client.number) was not told that the broker stops") }
            if client.channel.isActive { ledger.complain("connection \(client.number) outlived the broker") }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood): the same seed gives the same run with every toolchain.
struct BurstRandom {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func below(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((mixed ^ (mixed >> 31)) % UInt64(bound))
    }

    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

    mutating func pick<Choice>(_ choices: [Choice]) -> Choice { choices[below(choices.count)] }
}
