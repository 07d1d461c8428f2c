import FanfareCore
import FanfareModel
import Testing

@Suite("Groups")
struct CoreGroupTests {
    @Test("a group send costs one frame per owning session, however many members it has")
    func oneFrame() throws {
        var broker = Broker()
        let first = try broker.open(node: "w1")
        let second = try broker.open(node: "w2")
        let sender = try broker.open(role: .publish)
        broker.add((1...50).map { "w1!\($0)" }, to: "chat", from: first)
        broker.add(["w2!1"], to: "chat", from: second)
        let said = broker.sendToGroup("hello", "chat", from: sender)
        #expect(said.effects.targets == [first, second])
        #expect(said[first].count == 1)
        #expect(said[second] == said[first])
        #expect(said[sender] == [.ack(1)])
        #expect(broker.core.counters.groupDeliverFrames == 2)
    }

    @Test("members without an owner get the message in their queue, full ones are skipped and counted")
    func unownedMembers() throws {
        var broker = Broker()
        let sender = try broker.open { $0.capacity = 1 }
        broker.add(["jobs", "mail"], to: "all", from: sender)
        broker.send("old", to: "mail", from: sender)
        #expect(broker.sendToGroup("new", "all", from: sender)[sender] == [.ack(1)])
        #expect(broker.core.counters[drop: .full] == 1)
        #expect(broker.drain("jobs", by: sender) == ["new"])
        #expect(broker.drain("mail", by: sender) == ["old"])
    }

    @Test("an owner is told what others do to its channels, and of its own requests only without id")
    func notices() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1")
        let other = try broker.open()
        let added = Reply.members(group: "chat", added: ["w1!a", "w1!b"], removed: [])
        #expect(broker.add(["w1!a", "jobs", "w1!b"], to: "chat", from: other)[owner] == [added])
        #expect(broker.add(["w1!a", "w1!b"], to: "chat", from: other)[owner].isEmpty)
        #expect(broker.add(["w1!c"], to: "chat", from: owner)[owner] == [.ack(1)])
        let own = Reply.members(group: "chat", added: ["w1!d"], removed: [])
        #expect(broker.add(["w1!d"], to: "chat", from: owner, id: nil)[owner] == [own])
        let removed = Reply.members(group: "chat", added: [], removed: ["w1!a"])
        let request = Request.groupDiscard(id: 2, group: "chat", channels: ["w1!a", "w1!x"])
        #expect(broker.apply(request, from: other)[owner] == [removed])
    }

    @Test("one bad name refuses the whole request")
    func allOrNothing() throws {
        var broker = Broker()
        let session = try broker.open()
        #expect(broker.add(["jobs", "no name"], to: "all", from: session).refusal(of: session) == .badName)
        #expect(try broker.rows(.groups).isEmpty)
    }

    @Test("a limit refuses the whole request")
    func limits() throws {
        var broker = Broker { $0.groupsPerChannel = 1 }
        let session = try broker.open()
        broker.add(["jobs"], to: "one", from: session)
        #expect(broker.add(["mail", "jobs"], to: "two", from: session).refusal(of: session) == .limitReached)
        #expect(broker.add(["jobs"], to: "one", from: session)[session] == [.ack(1)])
        #expect(try broker.rows(.groups).count == 1)
    }

    @Test("a membership lives with its owner; without one it runs out; a literal expiry ends both")
    func groupExpiry() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1") { $0.groupExpiry = Milliseconds(100) }
        broker.add(["w1!lives", "jobs"], to: "chat", from: owner)
        broker.add(["w1!ends"], to: "chat", from: owner, expiry: 100)
        let ended = Reply.members(group: "chat", added: [], removed: ["w1!ends"])
        #expect(broker.pass(milliseconds: 99)[owner].isEmpty)
        #expect(broker.pass(milliseconds: 1)[owner] == [ended])
        #expect(try broker.rows(.groups).map { $0["members"] } == [1])
    }

    @Test("adding again refreshes the group expiry")
    func refresh() throws {
        var broker = Broker()
        let session = try broker.open { $0.groupExpiry = Milliseconds(100) }
        broker.add(["jobs"], to: "all", from: session)
        broker.pass(milliseconds: 60)
        broker.add(["jobs"], to: "all", from: session)
        broker.pass(milliseconds: 60)
        #expect(try broker.rows(.groups).count == 1)
        broker.pass(milliseconds: 40)
        #expect(try broker.rows(.groups).isEmpty)
    }

    @Test("a channel whose queued message expired leaves its groups")
    func expiryEndsMembership() throws {
        var broker = Broker()
        let session = try broker.open()
        broker.add(["jobs"], to: "all", from: session)
        broker.send("unread", to: "jobs", from: session, expiry: 10)
        broker.pass(milliseconds: 10)
        #expect(try broker.rows(.groups).isEmpty)
    }

    @Test("a membership outlives messages that are read and ends at the next one that expires unread")
    func expiryAfterDelivery() throws {
        var broker = Broker()
        let session = try broker.open()
        broker.add(["jobs"], to: "all", from: session)
        broker.send("read", to: "jobs", from: session, expiry: 10)
        #expect(broker.drain("jobs", by: session) == ["read"])
        broker.pass(milliseconds: 10)
        #expect(try broker.rows(.groups).map { $0["members"] } == [1])
        broker.sendToGroup("unread", "all", from: session)
        broker.pass(milliseconds: 59_999)
        #expect(try broker.rows(.groups).count == 1)
        broker.pass(milliseconds: 1)
        #expect(try broker.rows(.groups).isEmpty)
    }

    @Test("an outcome sums what every owner says and what the queues took")
    func outcome() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1")
        let sender = try broker.open()
        broker.add(["w1!a", "w1!b", "w1!c", "jobs"], to: "chat", from: owner)
        let asked = broker.sendToGroup("x", "chat", from: sender, id: 9, exclude: ["w1!c"], wantsOutcome: true)
        #expect(asked[sender].isEmpty)
        let token = try #require(asked.outcomeToken(of: owner))
        let said = broker.apply(.outcome(token: token, accepted: 1, dropped: 1), from: owner)
        #expect(said[sender] == [.result(9, ["members": 3, "accepted": 2, "dropped": 1])])
    }

    @Test("an outcome counts the members of an owner that vanished, and is partial when one stays silent")
    func outcomeWithout() throws {
        var broker = Broker()
        let silent = try broker.open(node: "w1")
        let vanishing = try broker.open(node: "w2")
        let sender = try broker.open()
        broker.add(["w1!a"], to: "chat", from: silent)
        broker.add(["w2!a", "w2!b"], to: "chat", from: vanishing)
        broker.sendToGroup("x", "chat", from: sender, id: 9, wantsOutcome: true)
        #expect(broker.close(vanishing)[sender].isEmpty)
        #expect(broker.pass(milliseconds: 1_999)[sender].isEmpty)
        let expected: MessageValue = ["members": 3, "accepted": 0, "dropped": 2, "partial": true]
        #expect(broker.pass(milliseconds: 1)[sender] == [.result(9, expected)])
    }

    @Test("a message that lives no time reaches no member and counts for each")
    func deadOnArrival() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1") { $0.expiry = Milliseconds(0) }
        broker.add(["w1!a", "jobs"], to: "chat", from: owner)
        let said = broker.sendToGroup("x", "chat", from: owner, wantsOutcome: true)
        #expect(said[owner] == [.result(1, ["members": 2, "accepted": 0, "dropped": 2])])
        #expect(broker.core.counters[drop: .expired] == 2)
    }
}

extension Broker.Said {
    /// The token under which `session` is asked for an outcome.
    fileprivate func outcomeToken(of session: SessionID) -> UInt64? {
        for case .groupDeliver(let delivery) in self[session] { return delivery.outcome }
        return nil
    }
}
