import FanfareModel
import FanfareProtocol
import Testing

@testable import FanfareBroker

/// Sessions that outlive their connections; section 8.2. That nothing is lost or doubled however connections are cut is
/// shown by ``BurstSimulationTests``.
struct ResumeTests {
    /// A session that can be resumed, and how.
    private struct Resumable {
        let connection: RawConnection
        let welcome: Welcome

        var token: Body { welcome.resumption?.token ?? [] }
    }

    /// Says hello as a client that can resume, with `resume` to go on with a session.
    private func open(
        _ broker: TemporaryBroker,
        _ role: Role = .worker,
        node: String? = "n",
        resume: (token: Body, received: UInt64)? = nil,
        clock: Bool = false
    ) async throws -> Resumable {
        let connection = try RawConnection(broker.unix)
        try await connection.write(
            .hello(
                broker.hello(role, node: node) {
                    $0.capabilities = [Protocol.resumeCapability] + (clock ? [Protocol.clockCapability] : [])
                    $0.resume = resume.map { Hello.Resume(token: $0.token, received: $0.received) }
                }
            )
        )
        guard case .welcome(let welcome)? = try await connection.reply() else {
            throw RawConnection.Ending.system("no welcome")
        }
        return Resumable(connection: connection, welcome: welcome)
    }

    private func lose(_ lost: Resumable, of broker: TemporaryBroker) async throws {
        lost.connection.close()
        try await broker.eventually("detached", is: 1)
    }

    private func send(_ number: UInt8, bytes: Int = 1) -> Request {
        .send(id: nil, channel: "n!1", body: Body(repeating: number, count: bytes), SendOptions())
    }

    private func numbers(_ replies: [Reply]) -> [UInt8] {
        replies.compactMap { if case .deliver(_, let body, _, _) = $0 { body.first } else { nil } }
    }

    private static var small: Limits {
        var limits = Limits()
        limits.resumeBytes = 65_536
        return limits
    }

    @Test("what was kept for a client that does not come back is counted: direct messages and each member's copy")
    func countsWhatWasKept() async throws {
        try await TemporaryBroker.run { broker in
            let first = try await open(broker)
            let names = ["n!1", "n!2", "n!3"]
            try await first.connection.write(.groupAdd(id: 1, group: "room", channels: names, groupExpiry: nil))
            #expect(try await first.connection.reply() == .ack(1))
            let sender = try await broker.session(.publish)
            let group = Request.groupSend(id: nil, group: "room", body: [1], GroupSendOptions(exclude: ["n!2", "x"]))
            try await sender.write(group)
            guard case .groupDeliver? = try await first.connection.reply() else {
                Issue.record("the first one was not delivered")
                return
            }
            try await lose(first, of: broker)
            try await sender.write(group)
            try await sender.write(group)
            try await sender.write(send(7))
            _ = try await sender.settled()
            // A hello that cannot go on with the session ends it now: no grace has to pass.
            let another = try await open(broker, resume: (first.token, 99))
            #expect(another.welcome.session != first.welcome.session)
            #expect(try await broker.count("sessions") == 2)
            #expect(try await broker.drops("owner_gone") == 5)
        }
    }

    // MARK: Going on

    @Test("a session goes on where its connection broke: what came meanwhile follows, and nobody else notices")
    func goesOn() async throws {
        try await TemporaryBroker.run { broker in
            let first = try await open(broker)
            #expect(first.welcome.resumption?.resumedAfter == nil)
            #expect(first.welcome.resumption?.grace == Limits().resumeGrace)
            #expect(first.token.count == 16)
            try await first.connection.write(
                .groupAdd(id: 1, group: "room", channels: ["n!1"], groupExpiry: nil),
                .receive(id: 2, channel: "work", count: 3),
                .pong(9)
            )
            let sender = try await broker.session()
            #expect(try await first.connection.reply() == .ack(1))
            try await sender.write(send(1))
            #expect(numbers([try #require(try await first.connection.reply())]) == [1])
            try await lose(first, of: broker)
            try await sender.write(
                send(2),
                .groupSend(id: nil, group: "room", body: [3], GroupSendOptions()),
                .send(id: 5, channel: "work", body: [4], SendOptions())
            )
            #expect(try await sender.settled() == [.ack(5)])
            #expect(try await broker.count("sessions") == 2)
            #expect(try await broker.count("memberships") == 1)

            let second = try await open(broker, resume: (first.token, 2))
            #expect(second.welcome.session == first.welcome.session)
            #expect(second.welcome.epoch == first.welcome.epoch)
            #expect(second.token == first.token)
            #expect(second.welcome.resumption?.resumedAfter == 2, "a PONG is not counted")
            try await sender.write(send(5))
            _ = try await sender.settled()
            let replies = try await second.connection.settled()
            #expect(numbers(replies) == [2, 5])
            guard replies.count == 4, case .groupDeliver(let delivery) = replies[1],
                case .handOut(2, let message) = replies[2]
            else {
                Issue.record("\(replies)")
                return
            }
            #expect(delivery.body == [3])
            #expect(message.body == [4])
            #expect(try await broker.count("resumed") == 1)
            #expect(try await broker.count("resume_refused") == 0)
            #expect(try await broker.count("detached") == 0)
            #expect(try await broker.drops("owner_gone") == 0)
        }
    }

    @Test("acknowledgements that shared a frame count one by one, and so do refusals")
    func counting() async throws {
        try await TemporaryBroker.run { broker in
            let first = try await open(broker)
            let sends = (RequestID(1)...20).map { Request.send(id: $0, channel: "c", body: [1], SendOptions()) }
            try await first.connection.write(sends + [.receive(id: 30, channel: "bad name", count: 1)])
            // A payload nobody understands is a request like any other.
            try await first.connection.write(payload: [0x92, 0x6e, 0x28])
            for id in RequestID(1)...20 { #expect(try await first.connection.reply() == .ack(id)) }
            #expect(try await first.connection.reply()?.isError(.badName, id: 30) == true)
            #expect(try await first.connection.reply()?.isError(.unknownOperation, id: 40) == true)
            try await lose(first, of: broker)
            let second = try await open(broker, resume: (first.token, 7))
            #expect(second.welcome.resumption?.resumedAfter == 22)
            let replies = try await second.connection.settled()
            #expect(Array(replies.prefix(13)) == (RequestID(8)...20).map { .ack($0) })
            #expect(replies.count == 15)
        }
    }

    @Test("a clock of its time goes ahead of what is repeated, and the time now ahead of that")
    func clocks() async throws {
        try await TemporaryBroker.run { broker in
            let first = try await open(broker, clock: true)
            let sender = try await broker.session()
            try await sender.write(send(1), send(2))
            var told: [Milliseconds] = []
            var delivered = 0
            while delivered < 2, let reply = try await first.connection.reply() {
                if case .clock(let time) = reply { told.append(time) }
                if case .deliver = reply { delivered += 1 }
            }
            try await first.connection.write(.report(Report(received: 1, taken: [], dropped: [])))
            try await lose(first, of: broker)
            let second = try await open(broker, resume: (first.token, 1), clock: true)
            guard case .clock(let now)? = try await second.connection.reply(),
                case .clock(let old)? = try await second.connection.reply()
            else {
                Issue.record("no two clocks")
                return
            }
            #expect(told.contains(old))
            #expect(now >= old)
            #expect(numbers([try #require(try await second.connection.reply())]) == [2])
        }
    }

    @Test("a client that comes back before its old connection is known to be lost takes the session from it")
    func takesOver() async throws {
        try await TemporaryBroker.run { broker in
            let first = try await open(broker)
            let second = try await open(broker, resume: (first.token, 0))
            #expect(second.welcome.session == first.welcome.session)
            #expect(try await first.connection.reply() == nil, "the old connection ends without a word")
            try await broker.session().write(send(1))
            #expect(numbers([try #require(try await second.connection.reply())]) == [1])
            #expect(try await broker.count("detached") == 0)
        }
    }

    @Test("silence costs a session that can be resumed its connection only")
    func silence() async throws {
        var limits = Limits()
        limits.pingAfter = Milliseconds(100)
        limits.silenceMaximum = Milliseconds(300)
        try await TemporaryBroker.run(limits) { broker in
            let first = try await open(broker)
            try await broker.eventually("detached", is: 1)
            let second = try await open(broker, resume: (first.token, 0))
            #expect(second.welcome.session == first.welcome.session)
        }
    }

    @Test("tails end with the connection")
    func tails() async throws {
        try await TemporaryBroker.run { broker in
            let first = try await open(broker, .admin, node: nil)
            try await first.connection.write(.tail(1, TailQuery(kind: .channel, match: Glob("*"))))
            try await broker.eventually("tails", is: 1)
            try await lose(first, of: broker)
            #expect(try await broker.count("tails") == 0)
        }
    }

    @Test("listings show which sessions have no connection and for how long")
    func listing() async throws {
        try await TemporaryBroker.run { broker in
            let first = try await open(broker)
            try await lose(first, of: broker)
            let looking = try await broker.session(.admin)
            try await looking.write(.inspect(1, InspectionQuery(.sessions)))
            guard case .result(1, let answer)? = try await looking.reply() else {
                Issue.record("no answer")
                return
            }
            let links = (answer["rows"]?.array ?? []).map { ($0["node"], $0["link"]) }
            #expect(links.first { $0.0 == "n" }?.1?.int != nil)
            #expect(links.first { $0.0?.isNull == true }?.1 == "up")
        }
    }

    // MARK: Not going on

    @Test("after the grace the node is free and its members are gone")
    func graceEnds() async throws {
        var limits = Limits()
        limits.resumeGrace = Milliseconds(100)
        try await TemporaryBroker.run(limits) { broker in
            let first = try await open(broker)
            try await first.connection.write(.groupAdd(id: 1, group: "room", channels: ["n!1"], groupExpiry: nil))
            #expect(try await first.connection.reply() == .ack(1))
            first.connection.close()
            try await broker.eventually("sessions", is: 0)
            #expect(try await broker.count("memberships") == 0)
            let second = try await open(broker, resume: (first.token, 1))
            #expect(second.welcome.resumption?.resumedAfter == nil)
            #expect(second.welcome.session != first.welcome.session)
            #expect(second.token != first.token)
            #expect(try await broker.count("resume_refused") == 1)
        }
    }

    @Test(
        "a session is gone on with by a client like the first one only; another ends it and may have its node",
        arguments: ["node", "role", "received"]
    )
    func obstacles(_ other: String) async throws {
        try await TemporaryBroker.run { broker in
            let first = try await open(broker)
            try await lose(first, of: broker)
            let second = try await open(
                broker,
                other == "role" ? .admin : .worker,
                node: other == "node" ? "m" : "n",
                resume: (first.token, other == "received" ? 1 : 0)
            )
            #expect(second.welcome.resumption?.resumedAfter == nil)
            #expect(second.welcome.session != first.welcome.session)
            #expect(try await broker.count("sessions") == 1)
        }
    }

    @Test("goodbye, a broken stream and a kick end a session at once", arguments: ["goodbye", "stream", "kick"])
    func endsAtOnce(_ end: String) async throws {
        try await TemporaryBroker.run { broker in
            let first = try await open(broker)
            switch end {
            case "goodbye": try await first.connection.write(.goodbye)
            case "stream": try await first.connection.write(payload: [0xc1])
            default:
                let admin = try await broker.session(.admin)
                let session = MessageValue.count(first.welcome.session.value)
                let arguments: MessageValue = ["session": session, "reason": "too loud"]
                try await admin.write(.admin(1, command: "kick", arguments: arguments))
                #expect(try await admin.reply() == .result(1, ["session": session, "name": "raw"]))
                try await admin.write(.goodbye)
            }
            try await broker.eventually("sessions", is: 0)
            #expect(try await broker.count("detached") == 0)
            let last = try await first.connection.repliesToEnd().last
            switch end {
            case "goodbye": #expect(last == nil)
            case "stream": #expect(last?.refusal == .malformedFrame)
            default: #expect(last == .error(nil, Failure(.kicked, "too loud")))
            }
        }
    }

    // MARK: Bounds

    @Test("what a client lets go unreported is forgotten; it can go on again once it has caught up")
    func forgotten() async throws {
        try await TemporaryBroker.run(Self.small) { broker in
            let first = try await open(broker)
            let sender = try await broker.session()
            for number in UInt8(1)...3 { try await sender.write(send(number, bytes: 30_000)) }
            for _ in 0..<3 { _ = try await first.connection.reply() }
            try await lose(first, of: broker)
            let second = try await open(broker, resume: (first.token, 3))
            #expect(second.welcome.session == first.welcome.session, "everything that was forgotten has arrived")
            for number in UInt8(4)...6 { try await sender.write(send(number, bytes: 30_000)) }
            for _ in 0..<3 { _ = try await second.connection.reply() }
            try await lose(second, of: broker)
            let third = try await open(broker, resume: (first.token, 4))
            #expect(third.welcome.session != first.welcome.session)
        }
    }

    @Test("what is reported as received is not kept")
    func reported() async throws {
        try await TemporaryBroker.run(Self.small) { broker in
            let first = try await open(broker, .publish, node: nil)
            let sends = (RequestID(1)...50).map { Request.send(id: $0, channel: "c", body: [1], SendOptions()) }
            var received: UInt64 = 0
            for _ in 0..<200 {
                try await first.connection.write(sends + [.ping(99)])
                while try await first.connection.reply() != .pong(99) { received += 1 }
                received += 1
                try await first.connection.write(.report(Report(received: received, taken: [], dropped: [])))
            }
            #expect(received == 200 * 51)
            try await lose(first, of: broker)
            let second = try await open(broker, .publish, node: nil, resume: (first.token, received - 1))
            #expect(second.welcome.session != first.welcome.session, "what was reported is gone")
        }
    }

    @Test("nobody there: a session over its bound is pushed nothing more and told of the hole")
    func congested() async throws {
        try await TemporaryBroker.run(Self.small) { broker in
            let first = try await open(broker)
            try await first.connection.write(.groupAdd(id: 1, group: "room", channels: ["n!1"], groupExpiry: nil))
            #expect(try await first.connection.reply() == .ack(1))
            try await lose(first, of: broker)
            let sender = try await broker.session()
            let body = Body(repeating: 1, count: 40_000)
            let message = Request.groupSend(id: nil, group: "room", body: body, GroupSendOptions())
            for _ in 0..<2 { try await sender.write(message) }
            _ = try await sender.settled()
            for _ in 0..<5 { try await sender.write(message) }
            try await sender.write(.send(id: 7, channel: "n!1", body: [1], SendOptions()))
            #expect(try await sender.settled().map { $0.isError(.channelFull, id: 7) } == [true])
            #expect(try await broker.drops("link_overflow") == 6)
            let second = try await open(broker, resume: (first.token, 1))
            #expect(second.welcome.session == first.welcome.session)
            let replies = try await second.connection.settled()
            #expect(replies.count == 3)
            #expect(replies.last == .gap(Gap(name: nil, count: 5, reason: .linkOverflow)))
            try await sender.write(send(9))
            _ = try await sender.settled()
            #expect(numbers(try await second.connection.settled()) == [9])
        }
    }

    @Test("nobody there: at twice its bound a session ends")
    func exhausted() async throws {
        try await TemporaryBroker.run(Self.small) { broker in
            let first = try await open(broker)
            try await lose(first, of: broker)
            let sender = try await broker.session()
            try await sender.write(send(1, bytes: 200_000))
            try await broker.eventually("sessions", is: 1)
            #expect(try await broker.count("detached") == 0)
        }
    }

    @Test("a broker that stops does not wait for sessions without a connection")
    func stops() async throws {
        try await TemporaryBroker.run { broker in
            let first = try await open(broker)
            try await lose(first, of: broker)
            await broker.server.stop(within: Milliseconds(60_000))
        }
    }

    // MARK: What is kept, as a value

    @Test("what is kept passes to another broker as a value, and a damaged value is refused")
    func state() throws {
        let retained = Retained(token: [1, 2, 3])
        retained.requestsTaken = 4
        retained.keep(clock: .clock(Milliseconds(5)))
        for id in RequestID(1)...3 { retained.write(.ack(id), to: nil) }
        retained.keep(clock: .clock(Milliseconds(6)))
        retained.write(.pong(4), to: nil)
        retained.arrived(upTo: 1)
        let state = retained.state
        #expect((state.base, state.count, state.requestsTaken) == (1, 4, 4))
        #expect(Retained(state)?.state == state)
        retained.arrived(upTo: 9)
        #expect(retained.state == state, "more than was ever sent")
        for cut in 1..<state.kept.count {
            var damaged = state
            damaged.kept = Array(state.kept.dropLast(cut))
            #expect(Retained(damaged) == nil, "\(cut) bytes are missing")
        }
        var miscounted = state
        miscounted.count += 1
        #expect(Retained(miscounted) == nil)
        miscounted.base = 9
        #expect(Retained(miscounted) == nil)
        retained.arrived(upTo: 4)
        #expect(retained.bytes == 0)
    }
}
