import FanfareCore
import FanfareModel
import Testing

@Suite("Sending to a channel")
struct CoreSendTests {
    @Test("a send to a channel whose reader stopped fails after exactly capacity messages")
    func capacityOfNormalChannel() throws {
        var broker = Broker()
        let sender = try broker.open { $0.capacity = 3 }
        for number in 1...3 { #expect(broker.send("\(number)", to: "jobs", from: sender)[sender] == [.ack(1)]) }
        #expect(broker.send("4", to: "jobs", from: sender).refusal(of: sender) == .channelFull)
        #expect(broker.core.counters[drop: .full] == 1)
        #expect(broker.drain("jobs", by: sender) == ["1", "2", "3"])
    }

    @Test("a push to an owner that reports nothing fails after exactly the owner's capacity, not the sender's")
    func capacityOfOwner() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1") { $0.capacity = 2 }
        let sender = try broker.open { $0.capacity = 50 }
        #expect(broker.send("1", to: "w1!a", from: sender).delivered(to: owner) == ["1"])
        #expect(broker.send("2", to: "w1!a", from: sender).delivered(to: owner) == ["2"])
        let refused = broker.send("3", to: "w1!a", from: sender)
        #expect(refused.refusal(of: sender) == .channelFull)
        #expect(refused.delivered(to: owner).isEmpty)
    }

    @Test("a report of what was taken makes room, a report of what is held takes it")
    func reports() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1") { $0.capacity = 2 }
        for number in 1...2 { broker.send("\(number)", to: "w1!a", from: owner) }
        let taken = Report(received: 2, taken: [.init(channel: "w1!a", taken: 1, held: 0)], dropped: [])
        broker.apply(.report(taken), from: owner)
        #expect(broker.send("3", to: "w1!a", from: owner).delivered(to: owner) == ["3"])
        let held = Report(received: 3, taken: [.init(channel: "w1!a", taken: 2, held: 2)], dropped: [])
        broker.apply(.report(held), from: owner)
        #expect(broker.send("4", to: "w1!a", from: owner).refusal(of: owner) == .channelFull)
    }

    @Test("a report of more than was pushed takes what was pushed and no more")
    func absurdReport() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1") { $0.capacity = 2 }
        broker.send("1", to: "w1!a", from: owner)
        let absurd = Report(received: 0, taken: [.init(channel: "w1!a", taken: .max, held: 0)], dropped: [])
        broker.apply(.report(absurd), from: owner)
        for number in 2...3 { broker.send("\(number)", to: "w1!a", from: owner) }
        #expect(broker.send("4", to: "w1!a", from: owner).refusal(of: owner) == .channelFull)
    }

    @Test("with process scope all channels of the owner fill one capacity")
    func processScope() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1") {
            $0.capacity = 2
            $0.capacityScope = .process
        }
        broker.send("1", to: "w1!a", from: owner)
        broker.send("2", to: "w1!b", from: owner)
        #expect(broker.send("3", to: "w1!c", from: owner).refusal(of: owner) == .channelFull)
    }

    @Test("of several capacity patterns the first match wins")
    func patterns() throws {
        var broker = Broker()
        let sender = try broker.open {
            $0.capacity = 5
            $0.channelCapacity = [.init(pattern: Glob("jobs.*"), capacity: 1), .init(pattern: Glob("*"), capacity: 2)]
        }
        broker.send("1", to: "jobs.mail", from: sender)
        #expect(broker.send("2", to: "jobs.mail", from: sender).refusal(of: sender) == .channelFull)
        for number in 1...2 { broker.send("\(number)", to: "other", from: sender) }
        #expect(broker.send("3", to: "other", from: sender).refusal(of: sender) == .channelFull)
    }

    @Test("without an id a full channel is silent and counted")
    func silentDrop() throws {
        var broker = Broker()
        let sender = try broker.open { $0.capacity = 1 }
        broker.send("1", to: "jobs", from: sender)
        #expect(broker.send("2", to: "jobs", from: sender, id: nil)[sender].isEmpty)
        #expect(broker.core.counters[drop: .full] == 1)
    }

    @Test("expired messages are never handed out")
    func expiry() throws {
        var broker = Broker()
        let sender = try broker.open()
        broker.send("short", to: "jobs", from: sender, expiry: 10)
        broker.send("long", to: "jobs", from: sender, expiry: 20)
        broker.pass(milliseconds: 10)
        #expect(broker.drain("jobs", by: sender) == ["long"])
        #expect(broker.core.counters[drop: .expired] == 1)
    }

    @Test("a message that lives no time is accepted, counted as expired and given to nobody")
    func deadOnArrival() throws {
        var broker = Broker()
        let sender = try broker.open(node: "w1")
        broker.apply(.receive(id: 7, channel: "jobs", count: 1), from: sender)
        #expect(broker.send("1", to: "jobs", from: sender, expiry: 0)[sender] == [.ack(1)])
        #expect(broker.send("2", to: "w1!a", from: sender, expiry: 0)[sender] == [.ack(1)])
        #expect(broker.core.counters[drop: .expired] == 2)
    }

    @Test("bytes bound a queue as messages do, and reading releases them")
    func channelBytes() throws {
        var broker = Broker { $0.channelBytes = 10 }
        let sender = try broker.open()
        broker.send("12345678", to: "jobs", from: sender)
        #expect(broker.send("123", to: "jobs", from: sender).refusal(of: sender) == .channelFull)
        #expect(broker.drain("jobs", by: sender) == ["12345678"])
        #expect(broker.send("123", to: "jobs", from: sender)[sender] == [.ack(1)])
    }

    @Test("a body over the limit is refused and counted")
    func tooLarge() throws {
        var broker = Broker { $0.bodyBytes = 4 }
        let sender = try broker.open()
        #expect(broker.send("12345", to: "jobs", from: sender).refusal(of: sender) == .messageTooLarge)
        #expect(broker.core.counters[drop: .tooLarge] == 1)
    }
}
