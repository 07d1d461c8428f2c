import FanfareModel
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import FanfareClient

/// The session by itself, over links a script makes and breaks.
struct LayerSessionTests {
    private final class Witness: LayerDelegate {
        var connects = 0
        var failures: [Failure] = []

        func layerDidConnect(_ welcome: Welcome) { connects += 1 }
        func layerDidResume(_ welcome: Welcome) {}
        func layerDidDisconnect(_ failure: Failure) { failures.append(failure) }
        func layerDidReceive(_ push: Reply) {}
        func layerDidFinishBurst() {}
    }

    private let loop = MultiThreadedEventLoopGroup.singleton.next()

    private static func session(_ broker: ScriptedBroker, _ loop: any EventLoop, retries: Bool = false) -> LayerSession
    {
        let limits = Limits()
        let hello = Hello(client: "test/1", name: "test", role: .worker, policy: Policy(limits))
        var configuration = LayerSession.Configuration(endpoints: [], hello: hello, limits: limits)
        configuration.retries = retries
        return LayerSession(loop: loop, configuration: configuration, carrier: broker, logger: MeetingPlace.quiet)
    }

    private func send(_ bytes: Int = 1) -> @Sendable (RequestID) -> Request {
        { .send(id: $0, channel: "c", body: Body(repeating: 1, count: bytes), SendOptions()) }
    }

    @Test("every call ends exactly once however the link breaks", arguments: 1...40)
    func exactlyOnce(seed: UInt64) async throws {
        let make = send()
        let counts = try await loop.submit { [loop] in
            var random = Seeded(state: seed)
            let broker = ScriptedBroker()
            let session = Self.session(broker, loop)
            var made = 0
            var ended: [Int: Int] = [:]
            func call(depth: Int) {
                made += 1
                let number = made
                session.call(make) { result in
                    ended[number, default: 0] += 1
                    // Completions ask again, also while the link is coming apart.
                    if depth < 3, case .failure = result, number % 2 == 0 { call(depth: depth + 1) }
                    if number % 97 == 0, let link = broker.links.last { link.drop() }
                }
            }
            session.start()
            for _ in 0..<2_000 {
                switch Int.random(in: 0..<12, using: &random) {
                case 0: broker.links.last?.welcome()
                case 1: broker.links.last?.drop()
                case 2: session.start()
                case 3..<7:
                    if let link = broker.links.last, let id = link.open.randomElement(using: &random) {
                        link.answer(id, &random)
                    }
                case 7: broker.links.first?.answer(UInt64.random(in: 1...50, using: &random), &random)
                default: call(depth: 0)
                }
            }
            session.stop()
            return (made, ended)
        }.get()
        #expect(counts.0 > 500)
        #expect(counts.1.count == counts.0, "a completion was lost")
        #expect(counts.1.values.allSatisfy { $0 == 1 }, "a completion ran twice")
    }

    @Test("completions run in the order of the answers, those a broken link fails in the order of the calls")
    func order() async throws {
        let make = send()
        let order = try await loop.submit { [loop] in
            let broker = ScriptedBroker()
            let session = Self.session(broker, loop)
            var order: [Int] = []
            session.start()
            let link = broker.links[0]
            link.welcome()
            for number in 1...9 { session.call(make) { _ in order.append(number) } }
            let ids = link.open
            for index in [2, 0, 1] { session.linkReceived(.ack(ids[index])) }
            link.drop()
            return order
        }.get()
        #expect(order == [3, 1, 2, 4, 5, 6, 7, 8, 9])
    }

    @Test("the reason why there is no link is the latest one")
    func latestReason() async throws {
        let reasons = try await loop.submit { [loop] in
            let broker = ScriptedBroker()
            let session = Self.session(broker, loop)
            let witness = Witness()
            session.delegate = witness
            session.start()
            // The broker's word counts more than that it closed, before and after the welcome.
            session.linkReceived(.error(nil, Failure(.nodeTaken, "taken")))
            broker.links[0].drop()
            session.start()
            broker.links[1].welcome()
            session.linkReceived(.error(nil, Failure(.kicked, "kicked")))
            broker.links[1].drop()
            // Afterwards nobody answers.
            broker.refusal = Failure(.silence, "connection refused")
            session.start()
            return withExtendedLifetime(witness) { witness.failures + [session.lastFailure].compactMap { $0 } }
        }.get()
        #expect(reasons.map(\.text) == ["taken", "kicked", "connection refused", "connection refused"])
    }

    @Test("a body over the broker's limit never reaches the link")
    func tooLarge() async throws {
        let limit = Limits().bodyBytes
        let (fits, over) = (send(limit), send(limit + 1))
        let outcome = try await loop.submit { [loop] in
            let broker = ScriptedBroker()
            let session = Self.session(broker, loop)
            session.start()
            broker.links[0].welcome()
            var codes: [ErrorCode?] = []
            for make in [fits, over] {
                session.call(make) { if case .failure(let failure) = $0 { codes.append(failure.code) } }
            }
            let posted = [session.post(fits(7)), session.post(over(8))]
            let group = Request.groupSend(
                id: nil,
                group: "g",
                body: Body(repeating: 1, count: limit + 1),
                GroupSendOptions()
            )
            return (codes, posted + [session.post(group)], broker.links[0].requests.count)
        }.get()
        #expect(outcome.0 == [.messageTooLarge])
        #expect(outcome.1 == [true, false, false])
        #expect(outcome.2 == 3, "the hello, one call, one post")
    }

    @Test("a stopped session stays away, and its link is closed")
    func stop() async throws {
        let make = send()
        let outcome = try await loop.submit { [loop] in
            let broker = ScriptedBroker()
            let session = Self.session(broker, loop, retries: true)
            let witness = Witness()
            session.delegate = witness
            var failed = 0
            session.start()
            let link = broker.links[0]
            link.welcome()
            session.call(make) { if case .failure = $0 { failed += 1 } }
            session.stop()
            session.call(make) { if case .failure = $0 { failed += 1 } }
            link.drop()
            session.start()
            return (failed, link.isClosed, link.requests.last, broker.links.count, witness.failures.count)
        }.get()
        #expect(outcome.0 == 2)
        #expect(outcome.1)
        #expect(outcome.2 == .goodbye)
        #expect(outcome.3 == 1)
        #expect(outcome.4 == 1)
    }

    @Test("a session that lost its link dials again without being told")
    func dialsAgain() async throws {
        let state = try await loop.submit { [loop] in
            let broker = ScriptedBroker()
            let session = Self.session(broker, loop, retries: true)
            session.start()
            broker.links[0].welcome()
            broker.links[0].drop()
            return NIOLoopBound((broker, session), eventLoop: loop)
        }.get()
        try await poll("a second link") { try await loop.submit { state.value.0.links.count == 2 }.get() }
        try await loop.submit { state.value.1.stop() }.get()
    }
}

/// The engine by itself: what its callers cannot provoke at will.
struct LayerEngineTests {
    @Test("a receive cancelled before it has begun takes nothing")
    func cancelledBeforeReceive() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let outcome = try await loop.submit {
            let broker = ScriptedBroker()
            let limits = Limits()
            let hello = Hello(client: "test/1", name: "test", role: .worker, policy: Policy(limits))
            let configuration = LayerSession.Configuration(endpoints: [], hello: hello, limits: limits)
            let session = LayerSession(
                loop: loop,
                configuration: configuration,
                carrier: broker,
                logger: MeetingPlace.quiet
            )
            let engine = LayerEngine(session: session, node: "n", policy: hello.policy, limits: limits, loop: loop)
            session.start()
            broker.links[0].welcome()
            var cancelled = 0
            for channel in ["normal", "n!1"] {
                let token = engine.newToken()
                engine.cancel(token)
                engine.receive(token, from: channel, hearsGaps: false) { result in
                    if case .failure(let error) = result, error is CancellationError { cancelled += 1 }
                }
            }
            let receives = broker.links[0].requests.count { if case .receive = $0 { true } else { false } }
            engine.close()
            return (cancelled, receives)
        }.get()
        #expect(outcome.0 == 2)
        #expect(outcome.1 == 0)
    }
}
