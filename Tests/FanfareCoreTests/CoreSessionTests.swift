import FanfareCore
import FanfareModel
import Testing

@Suite("Sessions")
struct CoreSessionTests {
    @Test("killing a session removes its memberships, its channels and its receives")
    func kill() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1")
        let other = try broker.open()
        broker.add(["w1!a", "w1!b"], to: "chat", from: owner)
        broker.add(["w1!c"], to: "chat", from: other)
        broker.send("lost", to: "w1!a", from: other)
        broker.apply(.receive(id: 5, channel: "jobs", count: 1), from: owner)
        #expect(broker.close(owner).effects.list.isEmpty)
        #expect(try broker.rows(.groups).isEmpty)
        #expect(try broker.rows(.channels).isEmpty)
        #expect(broker.core.counters[drop: .ownerGone] == 1)
        #expect(broker.close(owner).effects.list.isEmpty)
    }

    @Test("a claimed node adopts waiting messages in order, after its memberships")
    func adoption() throws {
        var broker = Broker()
        let early = try broker.open { $0.groupExpiry = Milliseconds(100) }
        broker.send("a1", to: "w1!a", from: early)
        broker.send("b1", to: "w1!b", from: early)
        broker.send("a2", to: "w1!a", from: early)
        broker.add(["w1!b"], to: "chat", from: early)
        let (owner, said) = try broker.greet(node: "w1") { $0.capacity = 2 }
        #expect(said[owner].dropFirst().first == .members(group: "chat", added: ["w1!b"], removed: []))
        #expect(said.delivered(to: owner) == ["a1", "a2", "b1"])
        #expect(broker.send("a3", to: "w1!a", from: early).refusal(of: early) == .channelFull)
        broker.pass(milliseconds: 200)
        #expect(try broker.rows(.groups).count == 1)
    }

    @Test("a node is taken while its session lives, per namespace, and free afterwards")
    func nodeTaken() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1")
        #expect(performing: { try broker.open(node: "w1") }, throws: { ($0 as? Failure)?.code == .nodeTaken })
        _ = try broker.open(node: "w1", namespace: "other")
        let said = broker.apply(.goodbye, from: owner)
        #expect(said.effects.list.count == 1)
        _ = try broker.open(node: "w1")
    }

    @Test("namespaces share no names")
    func namespaces() throws {
        var broker = Broker()
        let here = try broker.open(node: "w1")
        let there = try broker.open(namespace: "other")
        broker.apply(.receive(id: 5, channel: "jobs", count: 1), from: here)
        #expect(broker.send("x", to: "jobs", from: there).effects.list.count == 1)
        #expect(broker.send("x", to: "w1!a", from: there).delivered(to: here).isEmpty)
        #expect(broker.drain("jobs", by: there) == ["x"])
    }

    @Test(
        "an operation outside the role is forbidden",
        arguments: [
            (Role.publish, Request.receive(id: 1, channel: "jobs", count: 1)),
            (.publish, .groupAdd(id: 1, group: "all", channels: ["jobs"], groupExpiry: nil)),
            (.worker, .inspect(1, InspectionQuery(.status))),
            (.worker, .inspect(1, InspectionQuery(.drops))),
            (.worker, .inspect(1, InspectionQuery(.closed))),
            (.worker, .tail(1, TailQuery(kind: .group, match: Glob("*")))),
            (.publish, .inspect(1, InspectionQuery(.groups))),
            (.worker, .admin(1, command: "drain", arguments: [:])),
            (.inspect, .send(id: 1, channel: "jobs", body: [1], SendOptions())),
            (.inspect, .flush(1)),
        ]
    )
    func roles(role: Role, request: Request) throws {
        var broker = Broker()
        let session = try broker.open(role: role)
        #expect(broker.apply(request, from: session).refusal(of: session) == .forbidden)
    }

    /// What an inspection of names answers, and the code when it is refused.
    private func look(
        _ broker: inout Broker,
        _ subject: InspectionQuery.Subject,
        from session: SessionID,
        _ change: (inout InspectionQuery) -> Void = { _ in }
    ) -> (names: [String], refusal: ErrorCode?) {
        var query = InspectionQuery(subject)
        change(&query)
        let applied = broker.apply(.inspect(9, query), from: session)
        let column = subject == .groups ? "group" : "channel"
        for case .reply(.result(9, let answer), session) in applied.effects.list {
            let rows = answer["rows"]?.array ?? []
            #expect(answer["total"]?.int == Int64(rows.count))
            return (rows.compactMap { $0[column]?.string }, nil)
        }
        return ([], applied.refusal(of: session))
    }

    @Test("a worker inspects groups and channels of its own namespace and of no other")
    func workerInspects() throws {
        var broker = Broker()
        let here = try broker.open(node: "w1")
        let there = try broker.open(namespace: "other")
        broker.apply(.groupAdd(id: nil, group: "room", channels: ["w1!a"], groupExpiry: nil), from: here)
        broker.apply(.groupAdd(id: nil, group: "room", channels: ["x"], groupExpiry: nil), from: there)
        #expect(look(&broker, .groups, from: here).names == ["room"])
        #expect(look(&broker, .group, from: here) { $0.name = "room" }.names == ["w1!a"])
        #expect(look(&broker, .channels, from: here).names == ["w1!a"])
        #expect(look(&broker, .channel, from: here) { $0.name = "w1!a" }.names == ["w1!a"])
        #expect(look(&broker, .channel, from: here) { $0.name = "x" }.refusal == .notFound)
        #expect(look(&broker, .groups, from: here) { $0.namespace = "other" }.refusal == .forbidden)
        #expect(look(&broker, .group, from: there) { ($0.name, $0.namespace) = ("room", "other") }.names == ["x"])
    }

    @Test("an answer holds what may be seen and nothing else, and counts nothing else")
    func visibility() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1")
        for group in ["open", "secret"] {
            let channels = ["w1!a", "jobs.1", "salaries"]
            broker.apply(.groupAdd(id: nil, group: group, channels: channels, groupExpiry: nil), from: owner)
        }
        var seen = Visibility()
        seen.channels = NamePatterns(["jobs.*"])
        seen.groups = NamePatterns(["open"])
        (seen.node, seen.ownNamespace) = ("w1", "default")
        let limited: (inout InspectionQuery) -> Void = { $0.visibility = seen }
        #expect(look(&broker, .groups, from: owner, limited).names == ["open"])
        #expect(look(&broker, .channels, from: owner, limited).names == ["jobs.1", "w1!a"])
        let members = look(&broker, .group, from: owner) { ($0.visibility, $0.name) = (seen, "open") }
        #expect(members.names == ["jobs.1", "w1!a"])
        #expect(look(&broker, .group, from: owner) { ($0.visibility, $0.name) = (seen, "secret") }.refusal == .notFound)
        let hidden = look(&broker, .channel, from: owner) { ($0.visibility, $0.name) = (seen, "salaries") }
        #expect(hidden.refusal == .notFound)
        var query = InspectionQuery(.channel)
        (query.visibility, query.name) = (seen, "jobs.1")
        let row = try broker.core.inspect(query, now: broker.now)["rows"]?.array?.first
        #expect(row?["group_names"]?.array?.compactMap(\.string) == ["open"])
        seen.namespaces = NamePatterns(["other"])
        #expect(look(&broker, .groups, from: owner) { $0.visibility = seen }.names.isEmpty)
        let admin = try broker.open(role: .admin)
        var sessions = InspectionQuery(.sessions)
        sessions.visibility = seen
        #expect(try broker.core.inspect(sessions, now: broker.now)["total"] == 0)
        _ = admin
    }

    @Test("a tail copies what may be seen, and does not count the rest as skipped")
    func tailVisibility() throws {
        var broker = Broker()
        let watcher = try broker.open(role: .inspect)
        let sender = try broker.open()
        var query = TailQuery(kind: .channel, match: Glob("*"))
        query.visibility.channels = NamePatterns(["jobs.*"])
        broker.apply(.tail(5, query), from: watcher)
        var copies: [Tailed] = []
        for name in ["salaries", "jobs.1", "salaries", "jobs.2"] {
            for case .reply(.tailed(5, let copy), watcher) in broker.send("x", to: name, from: sender).effects.list {
                copies.append(copy)
            }
        }
        #expect(copies.map(\.name) == ["jobs.1", "jobs.2"])
        #expect(copies.allSatisfy { $0.skipped == 0 })
    }

    @Test("a flush empties the namespace, asks every owner and is acknowledged when all have answered")
    func flush() throws {
        var broker = Broker()
        let first = try broker.open(node: "w1")
        let second = try broker.open(node: "w2")
        let asker = try broker.open()
        broker.send("queued", to: "jobs", from: asker)
        broker.send("pushed", to: "w1!a", from: asker)
        broker.add(["w2!a", "jobs"], to: "chat", from: asker)
        let said = broker.apply(.flush(9), from: asker)
        guard case .flushed(let token)? = said[first].first else {
            Issue.record("the owner heard \(said[first])")
            return
        }
        #expect(said[second] == [.flushed(token: token)])
        #expect(said[asker].isEmpty)
        #expect(broker.core.counters[drop: .flushed] == 2)
        #expect(try broker.rows(.groups).isEmpty)
        #expect(broker.apply(.outcome(token: token, accepted: 0, dropped: 0), from: first)[asker].isEmpty)
        #expect(broker.apply(.outcome(token: token, accepted: 0, dropped: 0), from: second)[asker] == [.ack(9)])
        #expect(broker.drain("jobs", by: asker).isEmpty)
    }

    @Test("a flush does not wait longer than collect_within, nor for an owner that is gone")
    func flushWithout() throws {
        var broker = Broker()
        let silent = try broker.open(node: "w1")
        let asker = try broker.open()
        broker.apply(.flush(8), from: asker)
        #expect(broker.pass(milliseconds: 1_999)[asker].isEmpty)
        #expect(broker.pass(milliseconds: 1)[asker] == [.ack(8)])
        broker.apply(.flush(9), from: asker)
        #expect(broker.close(silent)[asker] == [.ack(9)])
        #expect(broker.apply(.flush(10), from: asker)[asker] == [.ack(10)])
    }

    @Test("reports between a flush and its answer are about what is gone, and ignored")
    func reportsDuringFlush() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1") { $0.capacity = 1 }
        let report = Report(received: 0, taken: [.init(channel: "w1!a", taken: 1, held: 0)], dropped: [])
        let said = broker.apply(.flush(9), from: owner)
        guard case .flushed(let token)? = said[owner].first else {
            Issue.record("the owner heard \(said[owner])")
            return
        }
        broker.send("new", to: "w1!a", from: owner)
        broker.apply(.report(report), from: owner)
        #expect(broker.send("newer", to: "w1!a", from: owner).refusal(of: owner) == .channelFull)
        broker.apply(.outcome(token: token, accepted: 0, dropped: 0), from: owner)
        broker.apply(.report(report), from: owner)
        #expect(broker.send("newer", to: "w1!a", from: owner).delivered(to: owner) == ["newer"])
    }

    @Test("closed channels leave their groups and drop what waited for them")
    func closeChannels() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1")
        let other = try broker.open()
        broker.add(["w1!a"], to: "chat", from: owner)
        broker.send("lost", to: "w1!a", from: other)
        #expect(broker.apply(.closeChannels(id: 2, ["w1!a"]), from: other).refusal(of: other) == .notOwner)
        #expect(broker.apply(.closeChannels(id: 3, ["w1!a"]), from: owner)[owner] == [.ack(3)])
        #expect(broker.core.counters[drop: .ownerGone] == 1)
        #expect(try broker.rows(.groups).isEmpty)
    }

    @Test("pings are answered, a second hello is refused and the connection goes on")
    func small() throws {
        var broker = Broker()
        let session = try broker.open()
        #expect(broker.apply(.ping(3), from: session)[session] == [.pong(3)])
        let hello = Hello(client: "test/1", name: "again", role: .worker, policy: Policy(Limits()))
        #expect(broker.apply(.hello(hello), from: session).refusal(of: session) == .helloRepeated)
        #expect(broker.apply(.ping(4), from: session)[session] == [.pong(4)])
    }
}
