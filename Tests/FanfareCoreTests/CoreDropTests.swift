import FanfareCore
import FanfareModel
import Testing

@Suite("Who lost what")
struct CoreDropTests {
    @Test("drops are shown newest first, by name, worker and reason")
    func rows() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1") { $0.capacity = 1 }
        let sender = try broker.open { $0.capacity = 1 }
        for _ in 1...3 { broker.send("x", to: "jobs", from: sender, id: nil) }
        broker.pass(milliseconds: 5)
        for _ in 1...2 { broker.send("x", to: "w1!a", from: sender, id: nil) }
        broker.pass(milliseconds: 5)
        broker.add(["w1!b"], to: "chat", from: owner)
        broker.setCongested(true, owner)
        broker.sendToGroup("x", "chat", from: sender)
        broker.pass(milliseconds: 1)
        let rows = try broker.rows(.drops)
        #expect(
            rows == [
                Self.row("group", "chat", "test", "link_overflow", 1, 1),
                Self.row("channel", "w1!a", "test", "full", 1, 6),
                Self.row("channel", "jobs", nil, "full", 2, 11),
            ]
        )
    }

    @Test("a name that loses again is the newest again")
    func again() throws {
        var broker = Broker()
        let sender = try broker.open { $0.capacity = 1 }
        for name in ["a", "b"] {
            for _ in 1...2 { broker.send("x", to: name, from: sender, id: nil) }
            broker.pass(milliseconds: 1)
        }
        broker.send("x", to: "a", from: sender, id: nil)
        #expect(try broker.rows(.drops).map { $0["name"] } == ["a", "b"])
    }

    @Test("what a process lost stays under its name when it is gone")
    func gone() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1")
        for _ in 1...2 { broker.send("x", to: "w1!a", from: owner) }
        broker.close(owner)
        #expect(try broker.rows(.drops) == [Self.row("channel", "w1!a", "test", "owner_gone", 2, 0)])
    }

    @Test("4096 names are remembered; the one that lost something longest ago is forgotten first")
    func bound() throws {
        var broker = Broker { $0.bodyBytes = 1 }
        let sender = try broker.open()
        for number in 0..<4_096 { broker.send("too large", to: "c\(number)", from: sender, id: nil) }
        broker.send("too large", to: "c0", from: sender, id: nil)
        broker.send("too large", to: "one.more", from: sender, id: nil)
        var query = InspectionQuery(.drops)
        query.match = Glob("c[01]")
        let names = try broker.core.inspect(query, now: broker.now)["rows"]?.array?.map { $0["name"] }
        #expect(names == ["c0"])
        #expect(try broker.core.inspect(InspectionQuery(.drops), now: broker.now)["total"] == 4_096)
        #expect(broker.core.counters[drop: .tooLarge] == 4_098)
    }

    @Test("news of drops are told once: the names that lost most, and how many others lost something")
    func news() throws {
        var core = Core(limits: Self.small, epoch: 1, broker: "test")
        var effects = Effects()
        let now = Instant(nanoseconds: 1)
        let hello = Hello(client: "test/1", name: "test", role: .worker, policy: Policy(Self.small))
        let sender = try core.open(hello, now: now, into: &effects)
        func lose(_ name: String) {
            core.apply(
                .send(id: nil, channel: name, body: [1, 2], SendOptions()),
                from: sender,
                now: now,
                into: &effects
            )
        }
        // More names than are remembered.
        for number in 0..<5_000 { lose("c\(number)") }
        lose("c4000")
        let first = core.takeDropNews(most: 10)
        #expect(first.drops.count == 10)
        #expect(first.drops.first?.name == "c4000")
        #expect(first.drops.first?.count == 2)
        #expect(first.further == 4_990)
        #expect(core.takeDropNews(most: 10).drops.isEmpty)
        for name in ["c1", "c4999", "c4999"] { lose(name) }
        let second = core.takeDropNews(most: 10)
        #expect(second.drops.map(\.name) == ["c4999", "c1"])
        #expect(second.drops.map(\.count) == [2, 1])
        #expect(second.further == 0)
    }

    private static var small: Limits {
        var limits = Limits()
        limits.bodyBytes = 1
        return limits
    }

    private static func row(
        _ kind: String,
        _ name: String,
        _ worker: String?,
        _ reason: String,
        _ count: UInt64,
        _ age: UInt64
    ) -> MessageValue {
        [
            "namespace": "default", "kind": .string(kind), "name": .string(name),
            "worker": worker.map { .string($0) } ?? .null, "reason": .string(reason), "count": .count(count),
            "age_milliseconds": .count(age),
        ]
    }
}
