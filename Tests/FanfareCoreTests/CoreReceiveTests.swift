import FanfareCore
import FanfareModel
import Testing

@Suite("Receiving from a channel")
struct CoreReceiveTests {
    @Test("readers of one channel take turns, longest waiting first")
    func turns() throws {
        var broker = Broker()
        let first = try broker.open()
        let second = try broker.open()
        broker.apply(.receive(id: 1, channel: "jobs", count: 2), from: first)
        broker.apply(.receive(id: 2, channel: "jobs", count: 1), from: second)
        #expect(broker.send("a", to: "jobs", from: first).handOuts(to: first).map(\.text) == ["a"])
        #expect(broker.send("b", to: "jobs", from: first).handOuts(to: second).map(\.text) == ["b"])
        #expect(broker.send("c", to: "jobs", from: first).handOuts(to: first).map(\.text) == ["c"])
        #expect(broker.send("d", to: "jobs", from: first)[first] == [.ack(1)])
        #expect(broker.drain("jobs", by: second) == ["d"])
    }

    @Test("a cancelled receive gives its message back to the head with its original deadline")
    func giveBack() throws {
        var broker = Broker()
        let reader = try broker.open()
        for text in ["a", "b"] { broker.send(text, to: "jobs", from: reader, expiry: 50) }
        let said = broker.apply(.receive(id: 2, channel: "jobs", count: 1), from: reader)
        let first = try #require(said.handOuts(to: reader).first)
        broker.apply(.cancel(id: 3, target: 2), from: reader)
        broker.pass(milliseconds: 20)
        let given = GivenBack(body: first.body, order: first.order, deadline: first.deadline)
        #expect(broker.apply(.giveBack(id: 4, channel: "jobs", given), from: reader)[reader] == [.ack(4)])
        let again = broker.apply(.receive(id: 5, channel: "jobs", count: 2), from: reader).handOuts(to: reader)
        #expect(again.map(\.text) == ["a", "b"])
        #expect(again.first?.deadline == first.deadline)
        #expect(again.first?.remaining == Milliseconds(30))
    }

    @Test("messages given back in any order stand in the order they were sent")
    func giveBackOrder() throws {
        var broker = Broker()
        let reader = try broker.open()
        for text in ["a", "b", "c", "d"] { broker.send(text, to: "jobs", from: reader) }
        let handOuts = broker.apply(.receive(id: 2, channel: "jobs", count: 3), from: reader).handOuts(to: reader)
        for index in [1, 2, 0] {
            let handOut = handOuts[index]
            let given = GivenBack(body: handOut.body, order: handOut.order, deadline: handOut.deadline)
            broker.apply(.giveBack(id: nil, channel: "jobs", given), from: reader)
        }
        #expect(broker.drain("jobs", by: reader) == ["a", "b", "c", "d"])
    }

    @Test("a message given back to a full channel is kept, one given back too late is counted as expired")
    func giveBackBounds() throws {
        var broker = Broker()
        let reader = try broker.open { $0.capacity = 1 }
        broker.send("a", to: "jobs", from: reader, expiry: 50)
        let said = broker.apply(.receive(id: 2, channel: "jobs", count: 1), from: reader)
        let first = try #require(said.handOuts(to: reader).first)
        broker.send("b", to: "jobs", from: reader)
        let given = GivenBack(body: first.body, order: first.order, deadline: first.deadline)
        broker.apply(.giveBack(id: 3, channel: "jobs", given), from: reader)
        #expect(broker.drain("jobs", by: reader) == ["a", "b"])
        broker.pass(milliseconds: 50)
        #expect(broker.apply(.giveBack(id: 4, channel: "jobs", given), from: reader)[reader] == [.ack(4)])
        #expect(broker.core.counters[drop: .expired] == 1)
        #expect(broker.drain("jobs", by: reader).isEmpty)
    }

    @Test("nothing follows a cancelled receive, and its place in the line goes to the next")
    func cancel() throws {
        var broker = Broker()
        let first = try broker.open()
        let second = try broker.open()
        broker.apply(.receive(id: 1, channel: "jobs", count: 5), from: first)
        broker.apply(.receive(id: 2, channel: "jobs", count: 5), from: second)
        #expect(broker.apply(.cancel(id: 3, target: 1), from: first)[first] == [.ack(3)])
        let said = broker.send("a", to: "jobs", from: first)
        #expect(said[first] == [.ack(1)])
        #expect(said.handOuts(to: second).map(\.text) == ["a"])
    }

    @Test("process channels are pushed, not received")
    func processChannels() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1")
        let own = broker.apply(.receive(id: 1, channel: "w1!a", count: 1), from: owner)
        let foreign = broker.apply(.receive(id: 2, channel: "w2!a", count: 1), from: owner)
        #expect(own.refusal(of: owner) == .badRequest)
        #expect(foreign.refusal(of: owner) == .notOwner)
    }

    @Test("an id that still waits is refused, and free again once its receive is over")
    func duplicateID() throws {
        var broker = Broker()
        let reader = try broker.open()
        broker.apply(.receive(id: 1, channel: "jobs", count: 1), from: reader)
        let again = Request.receive(id: 1, channel: "mail", count: 1)
        #expect(broker.apply(again, from: reader).refusal(of: reader) == .duplicateID)
        broker.send("a", to: "jobs", from: reader)
        #expect(broker.apply(again, from: reader)[reader].isEmpty)
    }

    @Test("a quiet channel is served in the midst of a flood of a busy one, for one session that reads both")
    func quietBesideBusy() throws {
        var broker = Broker()
        let reader = try broker.open()
        let sender = try broker.open { $0.capacity = 1_000 }
        broker.apply(.receive(id: 1, channel: "busy", count: 65_535), from: reader)
        broker.apply(.receive(id: 2, channel: "quiet", count: 1), from: reader)
        for number in 1...500 { broker.send("\(number)", to: "busy", from: sender, id: nil) }
        #expect(broker.send("now", to: "quiet", from: sender).handOuts(to: reader).map(\.text) == ["now"])
        #expect(broker.send("501", to: "busy", from: sender).handOuts(to: reader).map(\.text) == ["501"])
        // The other way round: what waits in the busy channel does not stand before what waits in the quiet one.
        broker.apply(.cancel(id: 3, target: 1), from: reader)
        for number in 1...500 { broker.send("\(number)", to: "busy", from: sender, id: nil) }
        broker.send("later", to: "quiet", from: sender)
        #expect(broker.drain("quiet", by: reader, count: 1) == ["later"])
        #expect(broker.drain("busy", by: reader).count == 500)
    }

    @Test("what is given back must fit the byte bounds; without id it falls silently and is counted")
    func giveBackBytes() throws {
        var broker = Broker {
            $0.channelBytes = 10
            $0.bodyBytes = 8
        }
        let reader = try broker.open()
        broker.send("12345678", to: "jobs", from: reader)
        let said = broker.apply(.receive(id: 2, channel: "jobs", count: 1), from: reader)
        let first = try #require(said.handOuts(to: reader).first)
        broker.send("123", to: "jobs", from: reader)
        var given = GivenBack(body: first.body, order: first.order, deadline: first.deadline)
        let refused = broker.apply(.giveBack(id: 3, channel: "jobs", given), from: reader)
        #expect(refused.refusal(of: reader) == .channelFull)
        #expect(broker.apply(.giveBack(id: nil, channel: "jobs", given), from: reader)[reader].isEmpty)
        #expect(broker.core.counters[drop: .full] == 2)
        given.body.append(0)
        let tooLarge = broker.apply(.giveBack(id: 4, channel: "jobs", given), from: reader)
        #expect(tooLarge.refusal(of: reader) == .messageTooLarge)
        #expect(broker.core.counters[drop: .tooLarge] == 1)
        #expect(broker.drain("jobs", by: reader) == ["123"])
    }

    @Test("a reply channel that was read leaves nothing behind")
    func idleChannels() throws {
        var broker = Broker()
        let reader = try broker.open()
        broker.apply(.receive(id: 1, channel: "reply.1", count: 1), from: reader)
        broker.send("a", to: "reply.1", from: reader)
        broker.send("b", to: "reply.2", from: reader)
        #expect(broker.drain("reply.2", by: reader) == ["b"])
        #expect(try broker.rows(.channels).isEmpty)
    }

    /// A reader that has taken `texts` from "jobs", and what it was handed.
    private func reader(of texts: [String], expiry: UInt64 = 1_000) throws -> (Broker, SessionID, [HandOut]) {
        var broker = Broker()
        let reader = try broker.open()
        for text in texts { broker.send(text, to: "jobs", from: reader, expiry: expiry) }
        let said = broker.apply(.receive(id: 2, channel: "jobs", count: texts.count), from: reader)
        return (broker, reader, said.handOuts(to: reader))
    }

    @Test func `no more goes back than a session was handed of the channel`() throws {
        var (broker, reader, handOuts) = try reader(of: ["a", "b"])
        let forged = GivenBack(body: [1], order: .max, deadline: broker.now.advanced(by: Milliseconds(900)))
        let other = try broker.open()
        func answer(_ channel: String, _ session: SessionID) -> ErrorCode? {
            broker.apply(.giveBack(id: 9, channel: channel, forged), from: session).refusal(of: session)
        }
        #expect(answer("jobs", other) == .notFound)
        #expect(answer("mail", reader) == .notFound)
        for handOut in handOuts {
            let back = Request.giveBack(id: 4, channel: "jobs", GivenBack(handOut))
            #expect(broker.apply(back, from: reader)[reader] == [.ack(4)])
        }
        #expect(answer("jobs", reader) == .notFound)
        #expect(broker.drain("jobs", by: other) == ["a", "b"])
        #expect(broker.drain("mail", by: other).isEmpty)
    }

    @Test func `what goes back lives no longer than what was handed out`() throws {
        var (broker, reader, handOuts) = try reader(of: ["a", "b", "c"], expiry: 50)
        var forged = GivenBack(try #require(handOuts.first))
        forged.deadline = Instant(nanoseconds: .max)
        broker.apply(.giveBack(id: 4, channel: "jobs", forged), from: reader)
        broker.pass(milliseconds: 50)
        #expect(broker.core.counters[drop: .expired] == 1)
        let late = broker.apply(.giveBack(id: 5, channel: "jobs", forged), from: reader)
        #expect(late.refusal(of: reader) == .notFound, "all it was handed has expired")
        broker.send("d", to: "jobs", from: reader)
        #expect(broker.drain("jobs", by: reader) == ["d"])
        for _ in 0..<2 { broker.apply(.giveBack(id: nil, channel: "jobs", forged), from: reader) }
        #expect(broker.drain("jobs", by: reader) == ["a"], "only as many as were handed out since")
    }

    @Test func `what was handed out before the process began goes back after it, and no more`() throws {
        let (broker, reader, handOuts) = try reader(of: ["a", "b"])
        let state = broker.core.state(at: broker.now)
        var core = try Core(restoring: state, limits: Limits(), broker: "test", at: broker.now)
        let session = try #require(core.liveSessions.first { $0.value == reader.value })
        var answers: [Reply] = []
        for handOut in handOuts + handOuts {
            var effects = Effects()
            core.apply(
                .giveBack(id: 4, channel: "jobs", GivenBack(handOut)),
                from: session,
                now: broker.now,
                into: &effects
            )
            answers += Broker.Said(effects: effects)[session]
        }
        #expect(answers.prefix(2) == [.ack(4), .ack(4)])
        #expect(answers.count == 4 && answers.dropFirst(2).allSatisfy { $0 != .ack(4) })
    }

    @Test func `channels beyond those told apart may be given back too, and cost bounded memory`() throws {
        var broker = Broker { $0.receivesPerSession = 100 }
        let reader = try broker.open()
        let before = broker.core.memoryInUse
        var handOuts: [HandOut] = []
        for number in 0..<1_000 {
            broker.send("a", to: "reply.\(number)", from: reader)
            let said = broker.apply(.receive(id: 2, channel: "reply.\(number)", count: 1), from: reader)
            handOuts += said.handOuts(to: reader)
        }
        #expect(broker.core.memoryInUse < before + 100 * 100)
        for (number, handOut) in handOuts.enumerated() {
            let back = Request.giveBack(id: 4, channel: "reply.\(number)", GivenBack(handOut))
            #expect(broker.apply(back, from: reader)[reader] == [.ack(4)])
        }
        #expect(handOuts.count == 1_000)
    }
}
