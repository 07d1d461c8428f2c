import FanfareCore
import FanfareModel
import Testing

@Suite("Inspection")
struct CoreInspectionTests {
    /// Every row of a listing, page after page.
    private func pages(_ broker: Broker, _ query: InspectionQuery) throws -> [MessageValue] {
        var (next, rows) = (query, [MessageValue]())
        repeat {
            let answer = try broker.core.inspect(next, now: broker.now)
            let page = try #require(answer["rows"]?.array)
            #expect(page.count <= query.limit)
            rows += page
            next.cursor = answer["cursor"]?.string
        } while next.cursor != nil
        return rows
    }

    /// Groups `g0`, `g1`, ... with 1 to 7 members each, of an owner whose name has blanks.
    private func crowd(_ count: Int) throws -> Broker {
        var broker = Broker()
        let owner = try broker.open(node: "w")
        for index in 0..<count {
            broker.add((0...(index * 5 % 7)).map { "w!\(index).\($0)" }, to: "g\(index)", from: owner)
        }
        return broker
    }

    @Test(
        "pages have every row once, in the same order as one page",
        arguments: ["group", "members", "age_milliseconds"],
        [1, 3, 50]
    )
    func pagesAreComplete(sort: String, limit: Int) throws {
        let broker = try crowd(41)
        for descending in [false, true] {
            var query = InspectionQuery(.groups)
            (query.sort, query.descending, query.limit) = (sort, descending, 1_000)
            let whole = try pages(broker, query)
            query.limit = limit
            #expect(try pages(broker, query) == whole)
            #expect(whole.count == 41)
        }
    }

    @Test("texts with blanks, empty ones and missing ones make cursors too")
    func cursors() throws {
        var broker = Broker()
        for name in ["a worker", "a", "a worker 2", "n1 2"] {
            var hello = Hello(client: "t", name: name, role: .worker, policy: Policy(Limits()))
            hello.node = name == "a" ? nil : "n\(name.utf8.count)"
            try broker.open(hello)
        }
        for sort in ["name", "node", "lag_milliseconds", "remote"] {
            var query = InspectionQuery(.sessions)
            (query.sort, query.limit) = (sort, 1)
            #expect(Set(try pages(broker, query).map { $0["session"] }).count == 4, "\(sort)")
        }
    }

    @Test(
        "a cursor nobody gave is refused",
        arguments: [
            "", "x", "n", "nzz 1 a b", "t", "t9 a", "t-1 a", "t1 ab 1 a b", "a", "a 1x a b", "n7ff8000000000000 1 a b",
        ]
    )
    func badCursors(cursor: String) throws {
        let broker = try crowd(1)
        var query = InspectionQuery(.groups)
        query.cursor = cursor
        #expect(throws: Failure.self) { try broker.core.inspect(query, now: broker.now) }
    }

    @Test("totals are of all rows that match, whatever the page shows")
    func totals() throws {
        let broker = try crowd(20)
        var query = InspectionQuery(.groups)
        query.limit = 2
        var answer = try broker.core.inspect(query, now: broker.now)
        #expect(answer["totals"]?["members"] == .count((0..<20).reduce(0) { $0 + $1 * 5 % 7 + 1 }))
        query.match = Glob("g1")
        query.cursor = nil
        answer = try broker.core.inspect(query, now: broker.now)
        #expect(answer["totals"]?["members"]?.int == 6)
        #expect(answer["total"] == 1)
        #expect(answer["totals"]?["owners"] == nil)
    }

    @Test("an inspection that is stopped answers what it has found, as partial")
    func stopped() throws {
        let broker = try crowd(100)
        var inspection = try broker.core.beginInspection(InspectionQuery(.groups))
        #expect(broker.core.proceed(&inspection, steps: 30, now: broker.now, NothingObserved()) == nil)
        inspection.stop()
        var answer: MessageValue?
        var slices = 0
        while answer == nil {
            answer = broker.core.proceed(&inspection, steps: 64, now: broker.now, NothingObserved())
            slices += 1
        }
        #expect(answer?["partial"] == true)
        #expect(answer?["total"] == 30)
        #expect(answer?["rows"]?.array?.count == 30)
        // Rows are built in slices too.
        #expect(slices > 5)
    }

    @Test("the scan bound makes an answer partial")
    func scanBound() throws {
        var broker = Broker { $0.rowsScanned = 100 }
        let owner = try broker.open(node: "w")
        for index in 0..<101 { broker.add(["w!1"], to: "g\(index)", from: owner) }
        let answer = try broker.core.inspect(InspectionQuery(.groups), now: broker.now)
        #expect(answer["partial"] == true)
        #expect(answer["total"] == 100)
    }

    @Test("the members of a large group are sought among all, in slices, and those of others are not shown")
    func largeGroup() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w")
        let names = (0..<3_000).map { "w!\($0)" }
        broker.add(names, to: "large", from: owner)
        broker.add(names.reversed(), to: "other", from: owner)
        var query = InspectionQuery(.group)
        (query.name, query.limit) = ("large", 1_000)
        var inspection = try broker.core.beginInspection(query)
        var answer = broker.core.proceed(&inspection, steps: 500, now: broker.now, NothingObserved())
        #expect(answer == nil)
        // A member that was seen leaves, another that was seen leaves and comes back.
        broker.apply(.groupDiscard(id: nil, group: "large", channels: ["w!0", "w!1", "w!2999"]), from: owner)
        broker.add(["w!1"], to: "large", from: owner)
        while answer == nil {
            answer = broker.core.proceed(&inspection, steps: 500, now: broker.now, NothingObserved())
        }
        let rows = try #require(answer?["rows"]?.array)
        let shown = rows.compactMap { $0["channel"]?.string }
        #expect(Set(shown).count == shown.count)
        #expect(!shown.contains("w!0"))
        #expect(rows.allSatisfy { $0["group"] == "large" })
        query.cursor = nil
        #expect(Set(try pages(broker, query).compactMap { $0["channel"]?.string }) == Set(names.dropFirst().dropLast()))
    }

    @Test("a group that goes while it is inspected leaves no rows")
    func goneGroup() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w")
        broker.add((0..<20).map { "w!\($0)" }, to: "room", from: owner)
        var query = InspectionQuery(.group)
        query.name = "room"
        var inspection = try broker.core.beginInspection(query)
        #expect(broker.core.proceed(&inspection, steps: 5, now: broker.now, NothingObserved()) == nil)
        broker.close(owner)
        // Its places are taken by others.
        let other = try broker.open(node: "w")
        broker.add((0..<20).map { "w!\($0)" }, to: "another", from: other)
        let answer = broker.core.proceed(&inspection, steps: .max, now: broker.now, NothingObserved())
        #expect(answer?["rows"] == [])
    }

    @Test("channels show their rate and the most that ever waited, groups and sessions what they lost")
    func counts() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w") { $0.capacity = 2 }
        let sender = try broker.open { $0.capacity = 3 }
        for _ in 1...4 { broker.send("x", to: "jobs", from: sender) }
        _ = broker.drain("jobs", by: sender, count: 2)
        broker.send("y", to: "jobs", from: sender)
        for _ in 1...3 { broker.send("x", to: "w!1", from: sender, id: nil) }
        broker.add(["w!1", "w!2"], to: "room", from: owner)
        broker.setCongested(true, owner)
        broker.sendToGroup("x", "room", from: sender)
        let dropped = Report.Dropped(channel: "w!1", group: "room", count: 3, reason: .full)
        let byAll = Report.Dropped(channel: nil, group: "room", count: 4, reason: .undecodable)
        let byNobody = Report.Dropped(channel: nil, group: nil, count: 9, reason: .undecodable)
        let byNoName = Report.Dropped(channel: nil, group: "no name", count: 9, reason: .undecodable)
        let all = [dropped, byAll, byNobody, byNoName]
        broker.apply(.report(Report(received: 0, taken: [], dropped: all)), from: owner)
        let undecodable = try broker.rows(.drops).filter { $0["reason"]?.string == "undecodable" }
        #expect(undecodable.map { $0["kind"]?.string } == ["group"])
        #expect(undecodable.map { $0["name"]?.string } == ["room"])
        #expect(undecodable.map { $0["count"]?.int } == [4])
        let channels = try broker.rows(.channels)
        #expect(channels.map { $0["depth_high"]?.int } == [3, 2, 0])
        #expect(channels.map { $0["rate"]?.double } == [0.5, 0.3, 0])
        #expect(try broker.rows(.groups).map { $0["drops"]?.int } == [9])
        #expect(try broker.rows(.sessions).map { $0["drops"]?.int } == [10, 0])
        let status = try broker.core.inspect(InspectionQuery(.status), now: broker.now)
        #expect(status["depth_high"] == 3)
        #expect(status["messages_high"] == 3)
        #expect(status["bytes_high"] == 3)
        #expect(status["connections_by_role"]?["worker"] == 2)
        broker.setCongested(false, owner)
        // One for the group messages, one for the direct one that nobody was told of.
        #expect(try broker.core.inspect(InspectionQuery(.status), now: broker.now)["gaps"] == 2)
    }

    @Test("the oldest waiting message is the oldest of all queues")
    func oldest() throws {
        var broker = Broker()
        let sender = try broker.open()
        func age() throws -> MessageValue? {
            try broker.core.inspect(InspectionQuery(.status), now: broker.now)["oldest_milliseconds"]
        }
        #expect(try age() == .null)
        for name in ["b", "a", "c"] {
            broker.send("x", to: name, from: sender)
            broker.pass(milliseconds: 10)
        }
        #expect(try age() == 30)
        _ = broker.drain("b", by: sender)
        #expect(try age() == 20)
    }
}

@Suite("Closed connections")
struct ClosedLogTests {
    private func ended(_ name: String, at time: UInt64) -> ClosedConnection {
        var hello = Hello(client: "t/1", name: name, role: .worker, policy: Policy(Limits()))
        hello.node = "n"
        let openedAt = Instant(nanoseconds: 0)
        return ClosedConnection(.connectionLost, hello, openedAt: openedAt, endedAt: Instant(nanoseconds: time))
    }

    @Test("sessions are listed with why they ended, newest first")
    func sessions() throws {
        var broker = Broker()
        let first = try broker.open(node: "a")
        let second = try broker.open(node: "b")
        let admin = try broker.open(role: .admin)
        broker.pass(milliseconds: 10)
        broker.apply(.goodbye, from: first)
        broker.pass(milliseconds: 5)
        let arguments: MessageValue = ["session": .count(second.value), "reason": "because"]
        broker.apply(.admin(1, command: "kick", arguments: arguments), from: admin)
        let third = try broker.open(node: "c")
        broker.apply(.admin(2, command: "drain", arguments: ["session": .count(third.value)]), from: admin)
        broker.apply(.goodbye, from: third)
        broker.close(admin)
        let rows = try broker.rows(.closed)
        #expect(rows.map { $0["reason"]?.string } == ["connection_lost", "drained", "kicked", "goodbye"])
        #expect(rows[2]["detail"] == "because")
        #expect(rows[3]["session"] == .count(first.value))
        #expect(rows[3]["lived_milliseconds"] == 10)
        #expect(rows[3]["age_milliseconds"] == 5)
        #expect(rows[3]["node"] == "a")
        var query = InspectionQuery(.closed)
        query.reason = "kicked"
        #expect(try broker.core.inspect(query, now: broker.now)["total"] == 1)
        let counts = try broker.core.inspect(InspectionQuery(.status), now: broker.now)["closed"]
        #expect(counts == ["connection_lost": 1, "drained": 1, "kicked": 1, "goodbye": 1])
    }

    @Test("the ring forgets the one that ended first and counts all; long texts are cut")
    func bound() throws {
        var limits = Limits()
        (limits.closedConnections, limits.textBytes) = (3, 4)
        var core = Core(limits: limits, epoch: 1, broker: "test")
        for index in 1...5 { core.closed.add(ended("name\(index)", at: UInt64(index) * 1_000_000)) }
        core.closed.add(ended("5th", at: 5_000_000))
        let now = Instant(nanoseconds: 5_000_000)
        let answer = try core.inspect(InspectionQuery(.closed), now: now)
        let rows = try #require(answer["rows"]?.array)
        #expect(rows.map { $0["name"]?.string } == ["5th", "name", "name"])
        #expect(rows.map { $0["age_milliseconds"]?.int } == [0, 0, 1])
        let status = try core.inspect(InspectionQuery(.status), now: now)
        #expect(status["closed"] == ["connection_lost": 6])
    }

    @Test("who may see one namespace sees its sessions that ended, and no stranger")
    func visibility() throws {
        var broker = Broker()
        for namespace in ["shop", "other"] { broker.close(try broker.open(namespace: namespace)) }
        let entry = ClosedConnection(.refused(.helloExpected), nil, openedAt: broker.now, endedAt: broker.now)
        broker.note(entry)
        var query = InspectionQuery(.closed)
        #expect(try broker.core.inspect(query, now: broker.now)["total"] == 3)
        query.visibility.namespaces = NamePatterns(["shop"])
        let rows = try #require(try broker.core.inspect(query, now: broker.now)["rows"]?.array)
        #expect(rows.map { $0["namespace"]?.string } == ["shop"])
    }
}
