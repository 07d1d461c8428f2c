import FanfareBroker
import FanfareModel
import FanfareProtocol
import Glibc
import Testing

/// Looking into a broker while it works; sections 5.13 and 9.
struct InspectionTests {
    private func answer(_ connection: RawConnection, _ query: InspectionQuery, id: RequestID = 7) async throws
        -> MessageValue
    {
        try await connection.write(.inspect(id, query))
        while let reply = try await connection.reply() {
            if case .result(id, let answer) = reply { return answer }
            if case .error(id, let failure) = reply { throw failure }
        }
        throw RawConnection.Ending.tooLate("the connection ended before the answer")
    }

    private func listed(_ broker: TemporaryBroker, _ subject: InspectionQuery.Subject) async throws -> [MessageValue] {
        try #require(try await broker.server.inspect(InspectionQuery(subject))["rows"]?.array)
    }

    /// The one row of `closed`, as soon as there is one.
    private func ended(_ broker: TemporaryBroker) async throws -> MessageValue {
        try await poll("a connection is listed as closed") { try await !listed(broker, .closed).isEmpty }
        let rows = try await listed(broker, .closed)
        #expect(rows.count == 1)
        let reason = try #require(rows.first?["reason"]?.string)
        #expect(try await broker.server.status()["closed"] == .map([reason: 1]))
        return try #require(rows.first)
    }

    // MARK: Closed connections

    @Test("a session that says goodbye is listed with what passed")
    func goodbye() async throws {
        try await TemporaryBroker.run { broker in
            let client = try await broker.session(node: "n") { $0.name = "leaver" }
            try await client.write(
                .send(id: nil, channel: "n!1", body: [1], SendOptions()),
                .groupAdd(id: nil, group: "g", channels: ["n!1"], groupExpiry: nil),
                .groupSend(id: nil, group: "g", body: [1], GroupSendOptions())
            )
            _ = try await client.settled()
            try await client.write(.goodbye)
            let row = try await ended(broker)
            #expect(row["reason"] == "goodbye")
            #expect(row["name"] == "leaver")
            #expect(row["node"] == "n")
            #expect(row["session"] == 1)
            #expect(row["messages_in"] == 2)
            #expect(row["messages_out"] == 2)
            // A ping may have been answered besides.
            let frames = try #require(row["frames_in"]?.int)
            #expect(frames >= 6)
            #expect(row["remote"] == .string("unix uid \(getuid()) pid \(getpid())"))
        }
    }

    @Test("a session that cannot be resumed is lost with its connection; over TCP its address is shown")
    func lost() async throws {
        try await TemporaryBroker.run { broker in
            let client = try await broker.session(over: broker.tcp)
            client.close()
            let row = try await ended(broker)
            #expect(row["reason"] == "connection_lost")
            #expect(row["remote"]?.string?.hasPrefix("127.0.0.1:") == true)
        }
    }

    @Test("a session that can be resumed is listed when its grace is over, not before")
    func grace() async throws {
        var limits = Limits()
        limits.resumeGrace = Milliseconds(300)
        try await TemporaryBroker.run(limits) { broker in
            let client = try await broker.session(over: broker.tcp) { $0.capabilities = [Protocol.resumeCapability] }
            client.close()
            try await broker.eventually("sessions", is: 0)
            let row = try await ended(broker)
            #expect(row["reason"] == "connection_lost")
            #expect(row["detail"]?.string?.contains("did not come back within 300 ms") == true)
            #expect(try #require(row["lived_milliseconds"]?.int) >= 300)
        }
    }

    @Test("a session that is resumed has not ended")
    func resumed() async throws {
        try await TemporaryBroker.run { broker in
            let first = try RawConnection(broker.unix)
            let hello = broker.hello(node: "n") { $0.capabilities = [Protocol.resumeCapability] }
            try await first.write(.hello(hello))
            guard case .welcome(let welcome)? = try await first.reply(), let token = welcome.resumption?.token else {
                Issue.record("no welcome")
                return
            }
            try await first.write(.send(id: nil, channel: "n!1", body: [1], SendOptions()))
            _ = try await first.reply()
            let second = try RawConnection(broker.unix)
            var again = hello
            again.resume = Hello.Resume(token: token, received: 1)
            try await second.write(.hello(again))
            guard case .welcome? = try await second.reply() else {
                Issue.record("no second welcome")
                return
            }
            first.close()
            _ = try await second.settled()
            #expect(try await listed(broker, .closed).isEmpty)
            let session = try #require(try await listed(broker, .sessions).first)
            #expect(session["messages_in"] == 1)
            #expect(session["messages_out"] == 1)
            try await second.write(.goodbye)
            let row = try await ended(broker)
            #expect(row["reason"] == "goodbye")
            #expect(row["messages_out"] == 1)
        }
    }

    @Test("an operator's kick and drain are reasons")
    func operators() async throws {
        try await TemporaryBroker.run { broker in
            let (kicked, drained) = (try await broker.session(), try await broker.session())
            let admin = try await broker.session(.admin)
            try await admin.write(.admin(1, command: "kick", arguments: ["session": 1, "reason": "maintenance"]))
            try await admin.write(.admin(2, command: "drain", arguments: ["session": 2]))
            _ = try await kicked.repliesToEnd()
            _ = try await drained.reply()
            try await drained.write(.goodbye)
            _ = try await drained.repliesToEnd()
            let rows = try await listed(broker, .closed)
            #expect(rows.map { $0["reason"] } == ["drained", "kicked"])
            #expect(rows.map { $0["detail"] } == [.null, "maintenance"])
        }
    }

    @Test("a silent session, and one that sends nonsense, are listed under the error")
    func errors() async throws {
        var limits = Limits()
        limits.pingAfter = Milliseconds(50)
        limits.silenceMaximum = Milliseconds(100)
        try await TemporaryBroker.run(limits) { broker in
            let client = try await broker.session()
            #expect(try await ended(broker)["reason"] == "silence")
            client.close()
        }
        try await TemporaryBroker.run { broker in
            let client = try await broker.session()
            try await client.write(payload: [0xc1])
            _ = try await client.repliesToEnd()
            #expect(try await ended(broker)["reason"] == "malformed_frame")
        }
    }

    @Test("connections that were never welcomed are listed without a session, with the error they were told")
    func strangers() async throws {
        try await TemporaryBroker.run { broker in
            let owner = try await broker.session(node: "n")
            let second = try RawConnection(broker.unix)
            try await second.write(.hello(broker.hello(name: "second", node: "n")))
            _ = try await second.repliesToEnd()
            let early = try RawConnection(broker.unix)
            try await early.write(.ping(1))
            _ = try await early.repliesToEnd()
            let browser = try RawConnection(broker.tcp)
            try await browser.write(Array("GET / HTTP/1.1\r\n\r\n".utf8))
            _ = try await browser.text()
            let silent = try RawConnection(broker.unix)
            silent.close()
            try await poll("four are listed") { try await listed(broker, .closed).count == 4 }
            let rows = try await listed(broker, .closed)
            let seen = Set(rows.map { "\($0["name"]?.string ?? "-") \($0["reason"]?.string ?? "")" })
            #expect(seen == ["second node_taken", "- hello_expected", "- connection_lost"])
            #expect(rows.allSatisfy { $0["session"] == .null })
            #expect(rows.contains { $0["detail"] == "it spoke HTTP" })
            _ = owner
        }
    }

    // MARK: Round trips

    @Test("the lag of a process that has stopped grows; that of one that answers is its last round trip")
    func lag() async throws {
        var limits = Limits()
        limits.roundTripEvery = Milliseconds(100)
        try await TemporaryBroker.run(limits) { broker in
            let (stopped, lively) = (try await broker.session(), try await broker.session())
            func lags() async throws -> [Double?] {
                var query = InspectionQuery(.sessions)
                query.sort = "session"
                let answer = try await broker.server.inspect(query)
                return answer["rows"]?.array?.map { $0["lag_milliseconds"]?.double } ?? []
            }
            // A longer round trip than any before shows that nobody answers.
            try await poll("the lag of who does not answer grows beyond two seconds") {
                _ = try await lively.settled()
                return try await lags().first.flatMap(\.self) ?? 0 > 2_000
            }
            #expect(lively.pingsAnswered >= 1)
            let shown = try await lags()
            #expect(try #require(shown[1]) < #require(shown[0]))
            _ = try await stopped.settled()
            try await poll("who answers again has a lag again") {
                _ = try await stopped.settled()
                return stopped.pingsAnswered >= 2
            }
            #expect(try await broker.count("round_trip_every") == 100)
        }
    }

    // MARK: Under way

    /// Groups enough that no slice sees all of them.
    private func fill(_ broker: TemporaryBroker, groups: Int = 20_000) async throws -> RawConnection {
        let owner = try await broker.session(node: "n")
        for start in stride(from: 0, to: groups, by: 1_000) {
            try await owner.write(
                (start..<start + 1_000).map {
                    .groupAdd(id: nil, group: "g\($0)", channels: ["n!\($0)"], groupExpiry: nil)
                }
            )
        }
        _ = try await owner.settled()
        return owner
    }

    @Test("a long inspection lets others pass, may be cancelled, and counts against a bound until then")
    func turns() async throws {
        var limits = Limits()
        limits.inspections = 2
        try await TemporaryBroker.run(limits) { broker in
            let owner = try await fill(broker)
            let inspector = try await broker.session(.inspect)
            var query = InspectionQuery(.groups)
            query.budget = Milliseconds(10_000)
            try await inspector.write(
                .inspect(1, query),
                .inspect(2, query),
                .inspect(2, query),
                .inspect(3, query),
                .cancel(id: 4, target: 1),
                .ping(5)
            )
            var replies: [Reply] = []
            while replies.last.map({ if case .result = $0 { false } else { true } }) ?? true {
                replies.append(try #require(try await inspector.reply()))
            }
            #expect(replies.count == 5)
            #expect(replies[0].isError(.duplicateID, id: 2))
            #expect(replies[1].isError(.limitReached, id: 3))
            #expect(replies[2] == .ack(4))
            #expect(replies[3] == .pong(5))
            guard case .result(2, let answer) = replies[4] else {
                Issue.record("not the second one's answer: \(replies[4])")
                return
            }
            #expect(answer["total"] == 20_000)
            #expect(answer["partial"] == nil)
            #expect(answer["totals"]?["members"] == 20_000)
            #expect(try await broker.count("inspections_refused") == 1)
            _ = owner
        }
    }

    @Test("the budget ends an inspection with what it has found")
    func budget() async throws {
        try await TemporaryBroker.run { broker in
            let owner = try await fill(broker, groups: 40_000)
            let inspector = try await broker.session(.inspect)
            var query = InspectionQuery(.groups)
            query.budget = Milliseconds(1)
            let answer = try await answer(inspector, query)
            #expect(answer["partial"] == true)
            let total = try #require(answer["total"]?.int)
            #expect((1..<40_000).contains(total))
            #expect(answer["rows"]?.array?.count == Int(min(total, 100)))
            _ = owner
        }
    }

    @Test("an inspection ends with its session, and a stopping broker answers what it has")
    func ends() async throws {
        var limits = Limits()
        limits.inspections = 1
        try await TemporaryBroker.run(limits) { broker in
            let owner = try await fill(broker)
            let leaver = try await broker.session(.inspect)
            try await leaver.write(.inspect(1, InspectionQuery(.groups)), .goodbye)
            #expect(try await leaver.repliesToEnd().isEmpty)
            let last = try await broker.session(.inspect)
            try await last.write(.inspect(1, InspectionQuery(.groups)))
            await broker.server.stop(within: Milliseconds(2_000))
            let replies = try await last.repliesToEnd()
            let answers = replies.filter { if case .result(1, _) = $0 { true } else { false } }
            // It was read before the broker began to stop, or never.
            #expect(answers.count <= 1)
            await #expect(throws: Failure.self) { try await broker.server.inspect(InspectionQuery(.groups)) }
            _ = owner
        }
    }

    @Test("somebody in the process asks the same questions and is refused in the same words")
    func program() async throws {
        try await TemporaryBroker.run { broker in
            let owner = try await broker.session(node: "n")
            try await owner.write(.groupAdd(id: nil, group: "room", channels: ["n!1", "n!2"], groupExpiry: nil))
            _ = try await owner.settled()
            var query = InspectionQuery(.group)
            query.name = "room"
            #expect(try await broker.server.inspect(query)["total"] == 2)
            query.name = "none"
            let failure = await #expect(throws: Failure.self) { try await broker.server.inspect(query) }
            #expect(failure?.code == .notFound)
            query.visibility.groups = NamePatterns(["other"])
            query.name = "room"
            await #expect(throws: Failure.self) { try await broker.server.inspect(query) }
        }
    }
}
