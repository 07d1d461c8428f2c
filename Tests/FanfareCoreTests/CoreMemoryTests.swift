import FanfareCore
import FanfareModel
import Testing

@Suite("The memory budget")
struct CoreMemoryTests {
    private static let budget = 1_000_000

    /// A broker with an owner in a group, a sender, a message that waits, and no memory left.
    private static func start(
        _ overflow: Overflow = .reject
    ) throws -> (broker: Broker, owner: SessionID, sender: SessionID) {
        var broker = Broker { $0.memoryBytes = budget }
        let adjust = { (policy: inout Policy) in
            policy.overflow = [.init(pattern: Glob("*"), overflow: overflow)]
        }
        let owner = try broker.open(node: "n", adjust)
        let sender = try broker.open(adjust)
        broker.add(["n!1", "n!2", "queue"], to: "room", from: owner)
        broker.send("first", to: "queue", from: sender)
        broker.hold(outside: budget)
        return (broker, owner, sender)
    }

    @Test("it counts what waits, what the shell holds, and every name")
    func counts() throws {
        var broker = Broker()
        var last = broker.core.memoryInUse
        func grows(by least: Int, _ comment: Comment) {
            let now = broker.core.memoryInUse
            #expect(now >= last + least, comment)
            last = now
        }
        #expect(last == 0)
        let owner = try broker.open(node: "n")
        grows(by: 1_000, "a session")
        broker.apply(.openChannels(id: 1, [OpenedChannel(name: "n!1")]), from: owner)
        grows(by: 100, "a channel")
        broker.add(["n!1"], to: "room", from: owner)
        grows(by: 200, "a group and a membership")
        broker.send(String(repeating: "x", count: 500), to: "queue", from: owner)
        grows(by: 500, "a message")
        broker.hold(outside: 70_000)
        grows(by: 70_000, "what the shell holds")
        broker.hold(outside: 0)
        broker.close(owner)
        #expect(broker.drain("queue", by: try broker.open()).count == 1)
        #expect(broker.core.memoryInUse < 10_000)
    }

    @Test("beyond it sends are refused with its name, and nothing is stored or pushed")
    func sends() throws {
        var (broker, owner, sender) = try Self.start()
        for channel in ["queue", "other", "n!1"] {
            let said = broker.send("x", to: channel, from: sender)
            guard case .error(1, let failure)? = said[sender].first else {
                Issue.record("\(channel): \(said[sender])")
                continue
            }
            #expect(failure.code == .channelFull)
            #expect(failure.text.contains("memory_bytes"), "\(failure.text)")
            #expect(said[owner].isEmpty)
        }
        #expect(broker.core.counters[drop: .full] == 3)
        #expect(broker.core.counters.memoryRefusals == 3)
    }

    @Test("a waiting reader's channel is refused too: what it is handed would wait on its link")
    func readers() throws {
        var (broker, owner, sender) = try Self.start()
        broker.apply(.receive(id: 9, channel: "jobs", count: 1), from: owner)
        #expect(broker.send("x", to: "jobs", from: sender).refusal(of: sender) == .channelFull)
        broker.hold(outside: 0)
        #expect(broker.send("y", to: "jobs", from: sender).handOuts(to: owner).map(\.text) == ["y"])
    }

    @Test(
        "policies that drop let the new message fall; none of a channel's old ones, whose room would not do",
        arguments: [Overflow.dropNewest, .dropOldest]
    )
    func dropping(_ overflow: Overflow) throws {
        var (broker, owner, sender) = try Self.start(overflow)
        #expect(broker.send("x", to: "queue", from: sender)[sender] == [.ack(1)])
        #expect(broker.send("x", to: "n!1", from: sender)[sender] == [.ack(1)])
        broker.hold(outside: 0)
        #expect(broker.drain("queue", by: sender) == ["first"])
        let said = broker.send("y", to: "n!1", from: sender)
        #expect(said[owner].first == .gap(Gap(name: "n!1", count: 1, reason: .full)))
        #expect(said.delivered(to: owner) == ["y"])
    }

    @Test("a channel that would be closed when full is not closed for the broker's want of memory")
    func disconnect() throws {
        var (broker, owner, sender) = try Self.start(.disconnect)
        #expect(broker.send("x", to: "n!1", from: sender).refusal(of: sender) == .channelFull)
        #expect(try broker.rows(.groups).first?["members"] == 3)
        broker.hold(outside: 0)
        #expect(broker.send("y", to: "n!1", from: sender).delivered(to: owner) == ["y"])
    }

    @Test("group messages skip everybody, each member is counted, and owners are told before the next one")
    func groups() throws {
        var (broker, owner, sender) = try Self.start()
        let said = broker.sendToGroup("x", "room", from: sender, wantsOutcome: true)
        #expect(said[sender] == [.result(1, ["members": 3, "accepted": 0, "dropped": 3])])
        #expect(said[owner].isEmpty)
        #expect(broker.core.counters[drop: .full] == 3)
        broker.hold(outside: 0)
        let next = broker.sendToGroup("y", "room", from: sender)[owner]
        #expect(next.first == .gap(Gap(name: nil, count: 2, reason: .full)))
        #expect(next.count == 2)
        #expect(broker.sendToGroup("z", "room", from: sender)[owner].count == 1, "told once")
    }

    @Test("an owner that reports learns of the hole even if nothing follows")
    func reports() throws {
        var (broker, owner, sender) = try Self.start()
        broker.sendToGroup("x", "room", from: sender)
        let report = Report(received: 0, taken: [], dropped: [])
        let gap = Reply.gap(Gap(name: nil, count: 2, reason: .full))
        #expect(broker.apply(.report(report), from: owner)[owner] == [gap])
    }

    @Test("names, memberships and sessions are refused with limit_reached; what is promised goes on")
    func names() throws {
        var (broker, owner, sender) = try Self.start()
        #expect(broker.add(["n!3"], to: "room", from: owner).refusal(of: owner) == .limitReached)
        let open = broker.apply(.openChannels(id: 1, [OpenedChannel(name: "n!4")]), from: owner)
        #expect(open.refusal(of: owner) == .limitReached)
        let refusal = #expect(throws: Failure.self) { try broker.open(node: "m") }
        #expect(refusal?.code == .limitReached)
        #expect(refusal?.text.contains("memory_bytes") == true)
        #expect(broker.drain("queue", by: sender) == ["first"])
        let back = GivenBack(body: [1], order: 1, deadline: broker.now.advanced(by: Milliseconds(1_000)))
        #expect(broker.apply(.giveBack(id: 2, channel: "queue", back), from: sender)[sender] == [.ack(2)])
        let left = broker.apply(.groupDiscard(id: 3, group: "room", channels: ["n!1"]), from: owner)
        #expect(left[owner] == [.ack(3)])
    }
}
