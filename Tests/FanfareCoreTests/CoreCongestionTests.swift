import FanfareCore
import FanfareModel
import Testing

@Suite("A process that does not read")
struct CoreCongestionTests {
    /// A broker with two owners of one group; `stopped` is congested from the start.
    private static func start(
        _ overflow: Overflow
    ) throws -> (broker: Broker, stopped: SessionID, other: SessionID) {
        var broker = Broker()
        let adjust = { (policy: inout Policy) in
            policy.overflow = [.init(pattern: Glob("*"), overflow: overflow)]
        }
        let stopped = try broker.open(node: "w1", adjust)
        let other = try broker.open(node: "w2", adjust)
        broker.add(["w1!a", "w1!b"], to: "chat", from: stopped)
        broker.add(["w2!a"], to: "chat", from: other)
        broker.setCongested(true, stopped)
        return (broker, stopped, other)
    }

    @Test("it costs only itself: no messages go there, all others get theirs, and it keeps its session")
    func neighbours() throws {
        var (broker, stopped, other) = try Self.start(.dropNewest)
        let group = broker.sendToGroup("x", "chat", from: other)
        #expect(group.effects.targets == [other])
        #expect(broker.send("y", to: "w1!a", from: other)[stopped].isEmpty)
        #expect(broker.send("z", to: "w2!a", from: other).delivered(to: other) == ["z"])
        #expect(broker.core.counters[drop: .linkOverflow] == 3)
        #expect(try broker.rows(.groups).map { $0["members"] } == [3])
    }

    @Test("answers and membership notices go on")
    func answers() throws {
        var (broker, stopped, other) = try Self.start(.dropNewest)
        let notice = Reply.members(group: "news", added: ["w1!a"], removed: [])
        #expect(broker.add(["w1!a"], to: "news", from: other)[stopped] == [notice])
        #expect(broker.apply(.ping(3), from: stopped)[stopped] == [.pong(3)])
        #expect(broker.send("x", to: "w2!a", from: stopped)[stopped] == [.ack(1)])
        broker.apply(.receive(id: 9, channel: "jobs", count: 1), from: stopped)
        #expect(broker.send("job", to: "jobs", from: other).handOuts(to: stopped).map(\.text) == ["job"])
    }

    @Test("when it reads again it hears how many group messages and which direct ones it missed, exactly")
    func gaps() throws {
        var (broker, stopped, other) = try Self.start(.dropNewest)
        for number in 1...3 { broker.sendToGroup("\(number)", "chat", from: other) }
        broker.sendToGroup("4", "chat", from: other, exclude: ["w1!b"])
        for number in 1...5 { broker.send("\(number)", to: "w1!b", from: other) }
        broker.send("6", to: "w1!a", from: other)
        #expect(broker.core.counters[drop: .linkOverflow] == 13)
        let told = broker.setCongested(false, stopped)
        #expect(
            told[stopped] == [
                .gap(Gap(name: nil, count: 7, reason: .linkOverflow)),
                .gap(Gap(name: "w1!a", count: 1, reason: .linkOverflow)),
                .gap(Gap(name: "w1!b", count: 5, reason: .linkOverflow)),
            ]
        )
        #expect(broker.send("7", to: "w1!b", from: other)[stopped].count == 1)
        #expect(broker.sendToGroup("8", "chat", from: other).effects.targets == [stopped, other])
    }

    @Test("its overflow policy says what becomes of direct messages")
    func policies() throws {
        var (broker, stopped, other) = try Self.start(.reject)
        #expect(broker.send("1", to: "w1!a", from: other).refusal(of: other) == .channelFull)
        broker.send("2", to: "w1!a", from: other, id: nil)
        #expect(
            broker.setCongested(false, stopped)[stopped] == [.gap(Gap(name: "w1!a", count: 1, reason: .linkOverflow))]
        )
        (broker, stopped, other) = try Self.start(.disconnect)
        let said = broker.send("1", to: "w1!a", from: other)
        #expect(said[stopped] == [.gap(Gap(name: "w1!a", count: 1, reason: .linkOverflow, isClosed: true))])
        #expect(try broker.rows(.groups).map { $0["members"] } == [2])
    }

    @Test("an outcome does not wait for it")
    func outcome() throws {
        var (broker, stopped, other) = try Self.start(.reject)
        broker.setCongested(true, other)
        let said = broker.sendToGroup("x", "chat", from: stopped, wantsOutcome: true)
        #expect(said[stopped] == [.result(1, ["members": 3, "accepted": 0, "dropped": 3])])
    }

    @Test("an outcome of which nobody is asked takes no place among those that wait")
    func outcomeAtLimit() throws {
        var broker = Broker { $0.collections = 0 }
        let owner = try broker.open(node: "w1")
        broker.add(["w1!a"], to: "chat", from: owner)
        #expect(broker.sendToGroup("x", "chat", from: owner, wantsOutcome: true).refusal(of: owner) == .limitReached)
        broker.setCongested(true, owner)
        let said = broker.sendToGroup("x", "chat", from: owner, wantsOutcome: true)
        #expect(said[owner] == [.result(1, ["members": 1, "accepted": 0, "dropped": 1])])
    }

    @Test("a report makes no gap while it does not read")
    func reports() throws {
        var (broker, stopped, other) = try Self.start(.dropNewest)
        broker.send("1", to: "w1!a", from: other)
        let report = Report(received: 0, taken: [.init(channel: "w1!a", taken: 0, held: 0)], dropped: [])
        #expect(broker.apply(.report(report), from: stopped)[stopped].isEmpty)
        #expect(broker.setCongested(false, stopped)[stopped].count == 1)
    }
}
