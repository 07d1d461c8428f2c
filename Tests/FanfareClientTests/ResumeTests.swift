import FanfareModel
import NIOCore
import NIOEmbedded
import Testing

@testable import FanfareClient

/// Sessions that go on over another link: `proto/PROTOCOL.md`, section 8.2.
struct ResumeTests {
    /// Twelve sends, some before the first link, some without an answer.
    private func talk(cutAt cuts: [Int], noticedAfter: Int) -> Conversation {
        let conversation = Conversation()
        for number in 0..<3 { conversation.send(isCall: number != 1) }
        var noticeAt: Int?
        for step in 0..<60 {
            if step >= 4, step < 40, step % 4 == 0 { conversation.send(isCall: step % 3 != 0) }
            if cuts.contains(step) {
                conversation.broker.cut()
                noticeAt = step + noticedAfter
            }
            if noticeAt == step { conversation.broker.tell() }
            conversation.step(step)
            conversation.loop.advanceTime(by: .milliseconds(20))
        }
        conversation.settle()
        return conversation
    }

    private func expectWhole(_ conversation: Conversation, _ comment: Comment) {
        let all = Array(1...12)
        #expect(conversation.broker.accepted == all, comment)
        #expect(conversation.delivered == all, comment)
        #expect(conversation.called.allSatisfy { conversation.ends[$0] == [.accepted] }, comment)
        #expect(conversation.called.count + conversation.posted.count == 12, comment)
        #expect(conversation.session.counters.unknown == 0, comment)
        #expect(conversation.session.counters.unsent == 0, comment)
        #expect(conversation.connects == 1, comment)
    }

    @Test("cut at any point, noticed now or later, nothing is lost, doubled or out of order", arguments: 0..<60)
    func everyPoint(point: Int) {
        for noticedAfter in 0..<8 {
            let conversation = talk(cutAt: [point], noticedAfter: noticedAfter)
            expectWhole(conversation, "cut at \(point), noticed after \(noticedAfter)")
        }
    }

    @Test("the same for a second cut at any point after the first, also before its welcome", arguments: 0..<40)
    func everyTwoPoints(point: Int) {
        for second in (point + 1)..<min(point + 20, 60) {
            let conversation = talk(cutAt: [point, second], noticedAfter: 0)
            expectWhole(conversation, "cut at \(point) and \(second)")
        }
    }

    @Test("in any history nothing is doubled, and every call ends as it truly ended", arguments: 1...60)
    func anyHistory(seed: UInt64) {
        var random = Seeded(state: seed)
        let restarts = seed % 2 == 0
        let conversation = Conversation { $0.sendsWhileAway = .wait(seconds: seed % 3 == 0 ? 0.5 : 600) }
        let broker = conversation.broker
        broker.grace = Milliseconds(100_000)
        for step in 0..<1_500 {
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<3: broker.cut()
            case 3 where restarts: broker.restart()
            case 4: broker.isReachable.toggle()
            case 5: broker.isReachable = true
            case 6..<20: broker.tell()
            case 20..<50: conversation.send(isCall: Bool.random(using: &random))
            case 50..<60: conversation.loop.advanceTime(by: .milliseconds(Int64.random(in: 1...400, using: &random)))
            default: conversation.step(step)
            }
        }
        conversation.settle()
        let accepted = broker.accepted
        #expect(accepted == accepted.sorted() && Set(accepted).count == accepted.count, "order, and no doubles")
        let delivered = conversation.delivered
        #expect(delivered == delivered.sorted() && Set(delivered).count == delivered.count)
        let taken = Set(accepted)
        #expect(taken.isSuperset(of: delivered))
        for number in conversation.called {
            switch conversation.ends[number] {
            case [.accepted]: #expect(taken.contains(number))
            case [.unsent]: #expect(!taken.contains(number))
            case [.unknown]: break
            default: Issue.record("call \(number) ended as \(conversation.ends[number] ?? [])")
            }
        }
        guard !restarts else { return }
        #expect(delivered == accepted, "nothing that was taken is lost")
        #expect(!conversation.ends.values.contains([.unknown]))
        #expect(conversation.connects == 1)
        if seed % 3 != 0 { #expect(accepted.count == conversation.called.count + conversation.posted.count) }
    }

    @Test("a session nobody knows any more fails what was under way, and says that it may have been carried out")
    func restarted() {
        let conversation = Conversation()
        conversation.settle()
        conversation.send(isCall: true)
        #expect(conversation.broker.takeRequest())
        conversation.broker.restart()
        conversation.broker.tell()
        conversation.send(isCall: true)
        #expect(conversation.ends.isEmpty, "the session may still go on")
        conversation.settle()
        #expect(conversation.ends == [1: [.unknown], 2: [.accepted]])
        #expect(conversation.connects == 2 && conversation.resumes == 0)
        #expect(conversation.session.counters.unknown == 1)
    }

    @Test("without a broker a call in flight fails after twice the grace, not before, and never later")
    func grace() {
        let conversation = Conversation()
        conversation.settle()
        conversation.send(isCall: true)
        conversation.broker.isReachable = false
        conversation.broker.cut()
        conversation.broker.tell()
        conversation.loop.advanceTime(by: .milliseconds(19_900))
        #expect(conversation.ends.isEmpty)
        conversation.loop.advanceTime(by: .milliseconds(200))
        #expect(conversation.ends == [1: [.unknown]])
        conversation.settle()
        #expect(conversation.connects == 2)
        #expect(conversation.broker.accepted.isEmpty, "it is not repeated by itself")
    }

    @Test("requests of a session wait for it alone, sends for any")
    func sessionRequests() {
        let conversation = Conversation()
        conversation.settle()
        var discards: [Bool] = []
        func discard() {
            conversation.session.call({ .groupDiscard(id: $0, group: "g", channels: ["c"]) }) { result in
                if case .success = result { discards.append(true) } else { discards.append(false) }
            }
        }
        conversation.broker.cut()
        conversation.broker.tell()
        discard()
        #expect(discards.isEmpty)
        conversation.settle()
        #expect(discards == [true])
        conversation.broker.restart()
        conversation.broker.tell()
        discard()
        conversation.settle()
        #expect(discards == [true, false])
    }

    @Test("what was received is reported within 50 ms, and not when there is nothing new")
    func reports() {
        let conversation = Conversation()
        conversation.settle()
        #expect(conversation.broker.reports.isEmpty)
        conversation.send(isCall: true)
        while conversation.broker.takeRequest() || conversation.broker.passReply() {}
        conversation.loop.advanceTime(by: .milliseconds(50))
        _ = conversation.broker.takeRequest()
        #expect(conversation.broker.reports == [2], "the acknowledgement and the push")
        conversation.settle()
        #expect(conversation.broker.reports == [2])
        // Whatever a delegate writes as received, the truth leaves.
        conversation.session.post(.report(Report(received: 77, taken: [], dropped: [])))
        _ = conversation.broker.takeRequest()
        #expect(conversation.broker.reports == [2, 2])
        // A megabyte does not wait for the time.
        conversation.send(isCall: false)
        _ = conversation.broker.takeRequest()
        conversation.session.linkRead(bytes: 600_000)
        _ = conversation.broker.passReply()
        _ = conversation.broker.takeRequest()
        #expect(conversation.broker.reports == [2, 2, 3])
    }

    @Test("who asks for no answers asks for one now and then, and keeps no more than it must")
    func questions() {
        let conversation = Conversation()
        conversation.settle()
        for _ in 0..<3_000 { conversation.send(isCall: false) }
        while conversation.broker.takeRequest() {}
        #expect((2...3).contains(conversation.broker.pings))
        conversation.settle()
        #expect(conversation.session.unconfirmed.count < UnconfirmedRequests.questionAfter)
        let before = conversation.broker.pings
        for _ in 0..<3_000 { conversation.send(isCall: true) }
        conversation.settle()
        #expect(conversation.broker.pings == before, "every answer tells")
    }

    @Test("more than may be kept cannot be resumed, and the broker's session makes room for the new one")
    func tooMany() {
        let conversation = Conversation { $0.limits.unconfirmedRequests = 10 }
        conversation.settle()
        for _ in 0..<12 { conversation.send(isCall: true) }
        #expect(!conversation.session.unconfirmed.isComplete)
        conversation.broker.cut()
        conversation.broker.tell()
        #expect(conversation.ends.count == 12)
        conversation.settle()
        #expect(conversation.connects == 2 && conversation.resumes == 0)
        // Once the broker has shown that it took them, the session can be resumed again.
        for _ in 0..<12 { conversation.send(isCall: true) }
        conversation.settle()
        #expect(conversation.session.unconfirmed.isComplete)
        conversation.broker.cut()
        conversation.broker.tell()
        conversation.settle()
        #expect(conversation.connects == 2 && conversation.resumes == 1)
    }

    @Test("a broker that goes on with what it cannot know is left")
    func impossible() {
        for taken in [UInt64(1), .max] {
            let loop = EmbeddedEventLoop()
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
            session.start()
            var welcome = Welcome(session: SessionID(1), epoch: 1, broker: "b", policy: Policy(limits), limits: limits)
            welcome.resumption = Welcome.Resumption(token: [1], grace: Milliseconds(10_000), resumedAfter: taken)
            session.linkReceived(.welcome(welcome))
            #expect(broker.links[0].isClosed)
            #expect(session.welcome == nil)
            session.stop()
        }
    }
}

/// Numbers that depend on the seed only.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
