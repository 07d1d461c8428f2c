import FanfareCore
import FanfareModel
import Testing

/// The context that goes with a message, whichever way it takes; against the oracle in the simulations too.
@Suite struct CoreTraceTests {
    private static let trace = TraceContext([.init("traceparent", "00-1-2-01"), .init("baggage", "user=7")])

    private func send(_ channel: String) -> Request {
        .send(id: nil, channel: channel, body: [1], SendOptions(trace: Self.trace))
    }

    private func groupSend(_ group: String) -> Request {
        .groupSend(id: nil, group: group, body: [1], GroupSendOptions(trace: Self.trace))
    }

    private func delivered(_ replies: [Reply]) -> [TraceContext?] {
        replies.compactMap { reply in
            switch reply {
            case .deliver(_, _, _, let trace): trace
            case .groupDeliver(let delivery): delivery.trace
            case .handOut(_, let handOut): handOut.trace
            default: nil
            }
        }
    }

    @Test func `it reaches the owner of a channel, a waiting reader and the members of a group`() throws {
        var broker = Broker()
        let (owner, sender) = (try broker.open(node: "n"), try broker.open())
        #expect(delivered(broker.apply(send("n!1"), from: sender)[owner]) == [Self.trace])
        broker.apply(.receive(id: 1, channel: "jobs", count: 1), from: owner)
        #expect(delivered(broker.apply(send("jobs"), from: sender)[owner]) == [Self.trace])
        broker.add(["n!1"], to: "room", from: owner)
        #expect(delivered(broker.apply(groupSend("room"), from: sender)[owner]) == [Self.trace])
        broker.send("plain", to: "n!1", from: sender)
        #expect(delivered(broker.send("plain", to: "n!1", from: sender)[owner]) == [nil])
    }

    @Test func `it waits with its message, directly sent or through a group, and comes with it`() throws {
        var broker = Broker()
        let sender = try broker.open()
        broker.add(["jobs", "m!x"], to: "room", from: sender)
        for request in [send("jobs"), groupSend("room"), send("m!x")] { broker.apply(request, from: sender) }
        let said = broker.apply(.receive(id: 1, channel: "jobs", count: 2), from: sender)
        #expect(delivered(said[sender]) == [Self.trace, Self.trace])
        let (owner, claimed) = try broker.greet(node: "m")
        #expect(delivered(claimed[owner]) == [Self.trace, Self.trace])
    }

    @Test func `given back it is there again, and one that was taken off is gone`() throws {
        var broker = Broker()
        let reader = try broker.open()
        for trace in [Self.trace, nil] {
            broker.apply(send("jobs"), from: reader)
            let said = broker.apply(.receive(id: 1, channel: "jobs", count: 1), from: reader)
            var given = GivenBack(try #require(said.handOuts(to: reader).first))
            #expect(given.trace == Self.trace)
            given.trace = trace
            broker.apply(.giveBack(id: nil, channel: "jobs", given), from: reader)
            let again = broker.apply(.receive(id: 2, channel: "jobs", count: 1), from: reader)
            #expect(delivered(again[reader]) == [trace])
        }
    }

    @Test func `it outlives the process with what waits`() throws {
        var broker = Broker()
        let sender = try broker.open()
        broker.apply(send("jobs"), from: sender)
        let bytes = broker.core.memoryInUse
        let state = broker.core.state(at: broker.now)
        var core = try Core(restoring: state, limits: Limits(), broker: "test", at: broker.now)
        #expect(core.memoryInUse == bytes)
        var effects = Effects()
        let session = try #require(core.liveSessions.first)
        core.apply(.receive(id: 1, channel: "jobs", count: 1), from: session, now: broker.now, into: &effects)
        #expect(delivered(Broker.Said(effects: effects)[session]) == [Self.trace])
    }

    @Test func `it counts where bytes of waiting messages are bounded`() throws {
        let context = try #require(Self.trace)
        var broker = Broker { $0.channelBytes = 2 + context.heldBytes }
        let (owner, sender) = (try broker.open(node: "n"), try broker.open())
        let before = broker.core.memoryInUse
        for channel in ["jobs", "n!1"] {
            broker.apply(send(channel), from: sender)
            #expect(broker.send("x", to: channel, from: sender).refusal(of: sender) == nil)
            let full = broker.apply(
                .send(id: 9, channel: channel, body: [], SendOptions(trace: Self.trace)),
                from: sender
            )
            #expect(full.refusal(of: sender) == .channelFull)
        }
        #expect(broker.core.memoryInUse >= before + 2 + context.heldBytes)
        broker.apply(
            .report(Report(received: 0, taken: [.init(channel: "n!1", taken: 2, held: 0)], dropped: [])),
            from: owner
        )
        #expect(broker.drain("jobs", by: sender).count == 2)
        #expect(broker.send("x", to: "n!1", from: sender).refusal(of: sender) == nil)
    }
}
