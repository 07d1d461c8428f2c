import FanfareModel
import NIOCore
import NIOEmbedded
import Testing

@testable import FanfareClient

/// Sends while there is no link, and where the next one is looked for.
struct WaitingTests {
    /// A session without a link, on a loop whose time the test makes.
    private final class Away {
        let loop = EmbeddedEventLoop()
        let broker = ScriptedBroker()
        let session: LayerSession
        var results: [String] = []

        init(_ change: (inout LayerSession.Configuration) -> Void = { _ in }) {
            let limits = Limits()
            let hello = Hello(client: "test/1", name: "test", role: .worker, policy: Policy(limits))
            var configuration = LayerSession.Configuration(endpoints: [], hello: hello, limits: limits)
            configuration.sendsWhileAway = .wait(seconds: 5)
            change(&configuration)
            broker.refusal = Failure(.silence, "nobody there")
            let quiet = MeetingPlace.quiet
            session = LayerSession(loop: loop, configuration: configuration, carrier: broker, logger: quiet)
            session.start()
        }

        func send(_ name: String, bytes: Int = 1, ticket: SendTicket? = nil) {
            let body = Body(repeating: 0, count: bytes)
            session.call({ .send(id: $0, channel: name, body: body, SendOptions()) }, ticket: ticket) { result in
                switch result {
                case .success: self.results.append("\(name) sent")
                case .failure(let failure):
                    self.results.append("\(name) \(failure.code.name) \(failure.isOutcomeKnown ? "unsent" : "unknown")")
                }
            }
        }

        /// A broker comes.
        func connect() -> ScriptedBroker.Link? {
            broker.refusal = nil
            loop.advanceTime(by: .seconds(5))
            broker.links.last?.welcome()
            return broker.links.last
        }
    }

    private static func names(_ requests: [Request]) -> [String] {
        requests.compactMap {
            switch $0 {
            case .send(_, let channel, _, _): channel
            case .groupSend(_, let group, _, _): group
            case .groupAdd(_, let group, _, _): "add " + group
            default: nil
            }
        }
    }

    @Test("they wait in order, behind what is registered, and leave when there is a link")
    func order() {
        final class Registering: LayerDelegate {
            let session: LayerSession
            init(_ session: LayerSession) { self.session = session }
            func layerDidConnect(_ welcome: Welcome) {
                session.post(.groupAdd(id: nil, group: "g", channels: ["c"], groupExpiry: nil))
                session.post(.groupSend(id: nil, group: "last", body: [], GroupSendOptions()))
            }
            func layerDidResume(_ welcome: Welcome) {}
            func layerDidDisconnect(_ failure: Failure) {}
            func layerDidReceive(_ push: Reply) {}
            func layerDidFinishBurst() {}
        }
        let away = Away { $0.sendsWhileAway = .wait(seconds: 60) }
        let delegate = Registering(away.session)
        away.session.delegate = delegate
        away.send("first")
        #expect(away.session.post(.groupSend(id: nil, group: "second", body: [], GroupSendOptions())))
        away.send("third")
        // What belongs to a session there is none of is not sent.
        #expect(!away.session.post(.groupAdd(id: nil, group: "no", channels: ["c"], groupExpiry: nil)))
        #expect(away.results.isEmpty)
        let link = away.connect()
        #expect(Self.names(link?.requests ?? []) == ["add g", "first", "second", "third", "last"])
        for id in link?.open ?? [] { away.session.linkReceived(.ack(id)) }
        #expect(away.results == ["first sent", "third sent"])
        #expect(away.session.counters.waited == 4)
        withExtendedLifetime(delegate) { away.session.stop() }
    }

    @Test("after the time they fail and were not sent, each after its own")
    func time() {
        let away = Away()
        away.send("early")
        away.loop.advanceTime(by: .seconds(3))
        away.send("late")
        away.loop.advanceTime(by: .milliseconds(1_900))
        #expect(away.results.isEmpty)
        away.loop.advanceTime(by: .milliseconds(200))
        #expect(away.results == ["early silence unsent"])
        away.loop.advanceTime(by: .seconds(3))
        #expect(away.results == ["early silence unsent", "late silence unsent"])
        #expect(away.session.counters.unsent == 2)
        #expect(away.connect().map { Self.names($0.requests) } == [])
        away.session.stop()
    }

    @Test("at most so many wait, and so many bytes")
    func bounds() {
        let away = Away {
            $0.limits.waitingRequests = 3
            $0.limits.waitingBytes = 10_000
            $0.sendsWhileAway = .wait(seconds: 20)
        }
        for name in ["a", "b", "c", "d"] { away.send(name) }
        #expect(away.results == ["d silence unsent"])
        away.loop.advanceTime(by: .seconds(21))
        away.results = []
        away.send("large", bytes: 9_000)
        away.send("too much", bytes: 1_000)
        away.send("small", bytes: 100)
        #expect(away.results == ["too much silence unsent"])
        #expect(Self.names(away.connect()?.requests ?? []) == ["large", "small"])
        away.session.stop()
    }

    @Test("who does not wait any more is taken out, and was not sent")
    func cancelled() {
        let away = Away { $0.sendsWhileAway = .wait(seconds: 60) }
        let (ticket, before) = (SendTicket(), SendTicket())
        away.send("one")
        away.send("two", ticket: ticket)
        away.send("three")
        ticket.cancel()
        away.session.withdrawCancelled()
        #expect(away.results == ["two silence unsent"])
        before.cancel()
        away.send("four", ticket: before)
        #expect(away.results == ["two silence unsent", "four silence unsent"])
        #expect(Self.names(away.connect()?.requests ?? []) == ["one", "three"])
        // On a link nothing waits, and a cancelled ticket does not hold a message back.
        away.send("five", ticket: before)
        #expect(Self.names(away.broker.links[0].requests) == ["one", "three", "five"])
        away.session.stop()
    }

    @Test("those that are to fail fail at once, and so do all when nobody dials again or the session is stopped")
    func failing() {
        for away in [Away { $0.sendsWhileAway = .fail }, Away { $0.retries = false }] {
            away.send("one")
            #expect(away.results == ["one silence unsent"])
            away.session.stop()
        }
        let away = Away()
        away.send("one")
        away.session.stop()
        away.send("two")
        #expect(away.results == ["one silence unsent", "two silence unsent"])
    }

    @Test("a message that waited and is over the new broker's limit fails alone")
    func tooLarge() {
        let away = Away { $0.sendsWhileAway = .wait(seconds: 60) }
        away.send("large", bytes: Limits().bodyBytes + 1)
        away.send("small")
        #expect(Self.names(away.connect()?.requests ?? []) == ["small"])
        #expect(away.results == ["large message_too_large unsent"])
        away.session.stop()
    }

    // MARK: Endpoints

    @Test("endpoints come in their order, beginning with the one that answered last")
    func endpointOrder() {
        var order = EndpointOrder(count: 3)
        func round() -> [Int] {
            order.begin()
            var round: [Int] = []
            while let next = order.next() { round.append(next) }
            return round
        }
        #expect(round() == [0, 1, 2])
        order.begin()
        _ = (order.next(), order.next())
        order.answered()
        #expect(round() == [1, 2, 0])
        order.begin()
        _ = order.next()
        order.answered()
        #expect(round() == [1, 2, 0])
        order.begin()
        _ = (order.next(), order.next(), order.next())
        order.answered()
        #expect(round() == [0, 1, 2])
        var single = EndpointOrder(count: 0)
        single.begin()
        #expect(single.next() == 0 && single.next() == nil)
    }

    @Test("a dead broker is passed over, all dead ones are tried again, and the one that answered is the first")
    func endpoints() {
        let loop = EmbeddedEventLoop()
        let broker = ScriptedBroker(endpointCount: 2)
        let limits = Limits()
        let hello = Hello(client: "test/1", name: "test", role: .worker, policy: Policy(limits))
        let configuration = LayerSession.Configuration(endpoints: [], hello: hello, limits: limits)
        let session = LayerSession(
            loop: loop,
            configuration: configuration,
            carrier: broker,
            logger: MeetingPlace.quiet
        )
        /// Time passes until the next round.
        func round() -> [Int] {
            let before = broker.dialled.count
            for _ in 0..<10_000 where broker.dialled.count == before { loop.advanceTime(by: .milliseconds(1)) }
            return Array(broker.dialled[before...])
        }
        broker.dead = [0]
        session.start()
        #expect(broker.dialled == [0, 1])
        broker.links[0].welcome()
        // The one that answered is gone too.
        broker.dead = [0, 1]
        broker.links[0].drop()
        #expect(round() == [1, 0])
        #expect(session.lastFailure?.text == "1: refused; 0: refused")
        // The first returns.
        broker.dead = [1]
        #expect(round() == [1, 0])
        // It accepts and says nothing: the round is over, and the next one begins where somebody once answered.
        broker.links[1].drop(Failure(.silence, "no WELCOME"))
        #expect(session.lastFailure?.text == "1: refused; no WELCOME")
        #expect(round() == [1, 0])
        broker.links[2].welcome()
        broker.links[2].drop()
        #expect(round() == [0])
        session.stop()
    }

    @Test("attempts come further and further apart; after a good link the first comes at once")
    func backoff() {
        for _ in 0..<50 {
            var backoff = Backoff()
            let steps = (0..<12).map { _ in backoff.next().nanoseconds / 1_000_000 }
            for (index, step) in steps.enumerated() {
                let whole = min(Int64(50) << index, 5_000)
                #expect((whole / 2...whole).contains(step))
            }
            var quick = Backoff()
            #expect((0...50_000_000).contains(quick.next(afterWelcome: true).nanoseconds))
            // Links that end at once after each welcome are dialled less and less often.
            let again = (0..<3).map { _ in quick.next(afterWelcome: true).nanoseconds / 1_000_000 }
            for (index, step) in again.enumerated() { #expect(step >= Int64(25) << index) }
        }
    }

    @Test("who is refused for who it is comes back seldom, also after a link that was good")
    func backoffOfTheRefused() {
        for _ in 0..<50 {
            var backoff = Backoff()
            backoff.refused()
            for _ in 0..<3 {
                #expect((2_500...5_000).contains(backoff.next(afterWelcome: true).nanoseconds / 1_000_000))
            }
        }
    }

    @Test("a broker that asks to leave, or goes itself, is looked for again until the goodbye")
    func goAway() {
        for drains in [true, false] {
            let away = Away()
            let link = away.connect()
            let dialled = away.broker.dialled.count
            away.session.linkReceived(.goAway(within: Milliseconds(1_000), reason: "because", drains: drains))
            away.send("one")
            for id in link?.open ?? [] { away.session.linkReceived(.ack(id)) }
            #expect(away.results == ["one sent"], "nothing fails because of it")
            link?.drop()
            away.loop.advanceTime(by: .seconds(1))
            #expect(away.broker.dialled.count > dialled)
            away.session.stop()
            let atGoodbye = away.broker.dialled.count
            away.loop.advanceTime(by: .seconds(10))
            #expect(away.broker.dialled.count == atGoodbye)
        }
    }
}
