import FanfareModel
import NIOCore
import NIOPosix
import Testing

@testable import FanfareClient

/// Messages on their way to somebody who has gone: they go back before the layer leaves.
struct GivingBackTests {
    @Test func `what was on its way when a layer closes is given back before it says goodbye`() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let trace = TraceContext([.init("traceparent", "00-1-2-01")])
        let requests = try await loop.submit {
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
            let link = broker.links[0]
            link.welcome()
            let tokens = [engine.newToken(), engine.newToken()]
            for token in tokens { engine.receive(token, from: "normal", hearsGaps: false) { _ in } }
            engine.cancel(tokens[0])
            var isClosed = false
            engine.close { isClosed = true }
            for token in tokens {
                let handOut = HandOut(
                    body: Body([0x80]),
                    order: token,
                    deadline: Instant(nanoseconds: 1),
                    remaining: Milliseconds(1_000),
                    trace: trace
                )
                session.linkReceived(.handOut(token, handOut))
            }
            for _ in 0..<2 {
                #expect(!isClosed && !link.isClosed)
                let pings = link.requests.compactMap { if case .ping(let id) = $0 { id } else { nil } }
                session.linkReceived(.pong(try #require(pings.last)))
            }
            #expect(isClosed && link.isClosed)
            return link.requests
        }.get()
        let givenBack = requests.indices.filter { if case .giveBack = requests[$0] { true } else { false } }
        #expect(givenBack.count == 2)
        for case .giveBack(_, _, let message) in requests { #expect(message.trace == trace) }
        let goodbye = try #require(requests.firstIndex { if case .goodbye = $0 { true } else { false } })
        #expect(goodbye == requests.indices.last)
    }

    @Test func `a broker that does not answer does not keep a layer from closing`() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let engine = try await loop.submit {
            let broker = ScriptedBroker()
            let limits = Limits()
            let hello = Hello(client: "test/1", name: "test", role: .worker, policy: Policy(limits))
            let session = LayerSession(
                loop: loop,
                configuration: LayerSession.Configuration(endpoints: [], hello: hello, limits: limits),
                carrier: broker,
                logger: MeetingPlace.quiet
            )
            let engine = LayerEngine(session: session, node: "n", policy: hello.policy, limits: limits, loop: loop)
            session.start()
            broker.links[0].welcome()
            engine.receive(engine.newToken(), from: "normal", hearsGaps: false) { _ in }
            return NIOLoopBound((engine, broker), eventLoop: loop)
        }.get()
        try await soon {
            await withCheckedContinuation { continuation in
                loop.execute { engine.value.0.close { continuation.resume() } }
            }
        }
        #expect(try await loop.submit { engine.value.1.links[0].isClosed }.get())
    }

    @Test("a layer that closes while messages come loses none", arguments: MeetingPlace.Kind.allCases)
    func closing(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let sender = try await place.layer { $0.capacity = 10_000 }
            let taken = Collected()
            for round in 0..<60 {
                let leaving = try await place.untrackedLayer()
                let readers = (0..<8).map { _ in
                    Task {
                        while let number = try? await leaving.receive(from: "work")["number"]?.int {
                            taken.append(Int(number))
                        }
                    }
                }
                async let sent: Void = {
                    for number in round * 20..<round * 20 + 20 { try await sender.send(numbered(number), to: "work") }
                }()
                try await Task.sleep(for: .microseconds(Int.random(in: 0..<1_500)))
                if round.isMultiple(of: 2) { for reader in readers { reader.cancel() } }
                await leaving.close()
                for reader in readers { await reader.value }
                try await sent
            }
            let left = try await sender.waiting(in: "work")
            #expect((taken.numbers + left).sorted() == Array(0..<1_200))
        }
    }
}
