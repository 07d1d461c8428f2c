import FanfareCore
import FanfareModel
import Testing

@Suite("Overflow policies")
struct CoreOverflowTests {
    /// A broker with an owner of node `w1` under `overflow`, and a sender.
    private static func start(
        _ overflow: Overflow,
        capacity: Int = 2
    ) throws -> (broker: Broker, owner: SessionID, sender: SessionID) {
        var broker = Broker()
        let adjust = { (policy: inout Policy) in
            policy.capacity = capacity
            policy.overflow = [.init(pattern: Glob("*"), overflow: overflow)]
        }
        let owner = try broker.open(node: "w1", adjust)
        let sender = try broker.open(adjust)
        return (broker, owner, sender)
    }

    private static func taken(_ count: UInt64, of channel: String) -> Request {
        .report(Report(received: 0, taken: [.init(channel: channel, taken: count, held: 0)], dropped: []))
    }

    // MARK: reject

    @Test("reject without id tells the owner of the hole, before the next message of the channel")
    func rejectWithoutID() throws {
        var (broker, owner, sender) = try Self.start(.reject)
        for number in 1...4 { broker.send("\(number)", to: "w1!a", from: sender, id: nil) }
        #expect(broker.core.counters[drop: .full] == 2)
        let said = broker.apply(Self.taken(2, of: "w1!a"), from: owner)
        #expect(said[owner] == [.gap(Gap(name: "w1!a", count: 2, reason: .full))])
        for number in 5...7 { broker.send("\(number)", to: "w1!a", from: sender, id: nil) }
        #expect(broker.apply(Self.taken(2, of: "w1!a"), from: owner)[owner].count == 1)
        #expect(broker.send("8", to: "w1!a", from: sender).delivered(to: owner) == ["8"])
    }

    @Test("reject with an id tells the sender and nobody else")
    func rejectWithID() throws {
        var (broker, owner, sender) = try Self.start(.reject)
        for number in 1...2 { broker.send("\(number)", to: "w1!a", from: sender) }
        #expect(broker.send("3", to: "w1!a", from: sender).refusal(of: sender) == .channelFull)
        #expect(broker.apply(Self.taken(2, of: "w1!a"), from: owner)[owner].isEmpty)
        #expect(broker.send("4", to: "w1!a", from: sender)[owner].count == 1)
    }

    // MARK: drop_newest

    @Test("drop_newest keeps a queue as it is, and the send succeeds")
    func dropNewestInQueue() throws {
        var (broker, _, sender) = try Self.start(.dropNewest)
        for number in 1...5 { #expect(broker.send("\(number)", to: "jobs", from: sender)[sender] == [.ack(1)]) }
        #expect(broker.core.counters[drop: .full] == 3)
        #expect(broker.drain("jobs", by: sender) == ["1", "2"])
    }

    @Test("drop_newest tells the owner how many it missed, once, where they would have stood")
    func dropNewestOfOwner() throws {
        var (broker, owner, sender) = try Self.start(.dropNewest)
        for number in 1...5 { #expect(broker.send("\(number)", to: "w1!a", from: sender)[sender] == [.ack(1)]) }
        #expect(broker.core.counters[drop: .full] == 3)
        // Room comes by a report about another channel's neighbour in time: this one's reader has not been heard of.
        #expect(broker.send("other", to: "w1!b", from: sender).delivered(to: owner) == ["other"])
        let said = broker.apply(Self.taken(1, of: "w1!a"), from: owner)
        #expect(said[owner] == [.gap(Gap(name: "w1!a", count: 3, reason: .full))])
        let next = broker.send("6", to: "w1!a", from: sender)
        #expect(next[owner].count == 1)
        #expect(next.delivered(to: owner) == ["6"])
    }

    @Test("a hole is told right before the next message, even when no report came in between")
    func gapBeforeMessage() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1") {
            $0.capacity = 1
            $0.capacityScope = .process
            $0.overflow = [.init(pattern: Glob("*"), overflow: .dropNewest)]
        }
        broker.send("1", to: "w1!a", from: owner)
        for number in 2...4 { broker.send("\(number)", to: "w1!b", from: owner) }
        #expect(broker.apply(Self.taken(1, of: "w1!a"), from: owner)[owner].isEmpty)
        let said = broker.send("5", to: "w1!b", from: owner)
        #expect(said[owner].first == .gap(Gap(name: "w1!b", count: 3, reason: .full)))
        #expect(said[owner].count == 3)
        #expect(said.delivered(to: owner) == ["5"])
    }

    // MARK: drop_oldest

    @Test("drop_oldest keeps the newest messages of a queue")
    func dropOldestInQueue() throws {
        var (broker, _, sender) = try Self.start(.dropOldest)
        for number in 1...5 { #expect(broker.send("\(number)", to: "jobs", from: sender)[sender] == [.ack(1)]) }
        #expect(broker.core.counters[drop: .full] == 3)
        #expect(broker.drain("jobs", by: sender) == ["4", "5"])
    }

    @Test("drop_oldest pushes all the same, and the owner reports the oldest it let fall")
    func dropOldestOfOwner() throws {
        var (broker, owner, sender) = try Self.start(.dropOldest)
        for number in 1...9 {
            #expect(broker.send("\(number)", to: "w1!a", from: sender).delivered(to: owner) == ["\(number)"])
            guard number > 2 else { continue }
            let dropped = Report.Dropped(channel: "w1!a", group: nil, count: 1, reason: .full)
            let taken = Report.Taken(channel: "w1!a", taken: 1, held: 0)
            broker.apply(.report(Report(received: 0, taken: [taken], dropped: [dropped])), from: owner)
        }
        #expect(broker.core.counters[drop: .full] == 7)
    }

    @Test("an owner that has stopped is sent at most as many again as its capacity")
    func dropOldestOfStoppedOwner() throws {
        var (broker, owner, sender) = try Self.start(.dropOldest)
        let said = (1...7).map { broker.send("\($0)", to: "w1!a", from: sender) }
        #expect(said.flatMap { $0.delivered(to: owner) } == ["1", "2", "3", "4"])
        #expect(said.allSatisfy { $0[sender] == [.ack(1)] })
        let told = broker.apply(Self.taken(4, of: "w1!a"), from: owner)
        #expect(told[owner] == [.gap(Gap(name: "w1!a", count: 3, reason: .full))])
    }

    // MARK: disconnect

    @Test("disconnect closes the channel: out of its groups, its messages dropped, its neighbours untouched")
    func disconnect() throws {
        var (broker, owner, sender) = try Self.start(.disconnect)
        broker.add(["w1!slow", "w1!quick"], to: "chat", from: owner)
        broker.send("x", to: "w1!quick", from: sender)
        for number in 1...2 { broker.send("\(number)", to: "w1!slow", from: sender) }
        let said = broker.send("3", to: "w1!slow", from: sender)
        #expect(said[owner] == [.gap(Gap(name: "w1!slow", count: 1, reason: .full, isClosed: true))])
        #expect(said.refusal(of: sender) == .channelFull)
        #expect(broker.core.counters[drop: .full] == 1)
        #expect(broker.core.counters[drop: .ownerGone] == 2)
        #expect(try broker.rows(.groups).map { $0["members"] } == [1])
        #expect(try broker.rows(.channels).map { $0["channel"] } == ["w1!quick"])
        // What comes later finds an open channel: whether anybody reads it is for the owner to say.
        #expect(broker.send("4", to: "w1!slow", from: sender).delivered(to: owner) == ["4"])
    }

    @Test("disconnect without id still closes the channel")
    func disconnectWithoutID() throws {
        var (broker, owner, sender) = try Self.start(.disconnect, capacity: 1)
        broker.send("1", to: "w1!a", from: sender, id: nil)
        let said = broker.send("2", to: "w1!a", from: sender, id: nil)
        #expect(said[owner] == [.gap(Gap(name: "w1!a", count: 1, reason: .full, isClosed: true))])
        #expect(said[sender].isEmpty)
    }

    @Test("disconnect of a channel nobody owns is as reject")
    func disconnectInQueue() throws {
        var (broker, _, sender) = try Self.start(.disconnect, capacity: 1)
        broker.send("1", to: "jobs", from: sender)
        #expect(broker.send("2", to: "jobs", from: sender).refusal(of: sender) == .channelFull)
        #expect(broker.drain("jobs", by: sender) == ["1"])
    }

    // MARK: Which policy

    @Test("of several overflow patterns the first match wins; a process channel follows its owner")
    func whichPolicy() throws {
        var broker = Broker()
        let owner = try broker.open(node: "w1") {
            $0.capacity = 1
            $0.overflow = [
                .init(pattern: Glob("*!log"), overflow: .dropNewest), .init(pattern: Glob("*"), overflow: .reject),
            ]
        }
        let sender = try broker.open { $0.overflow = [.init(pattern: Glob("*"), overflow: .dropOldest)] }
        for channel in ["w1!log", "w1!a"] { broker.send("1", to: channel, from: sender) }
        #expect(broker.send("2", to: "w1!log", from: sender)[sender] == [.ack(1)])
        #expect(broker.send("2", to: "w1!a", from: sender).refusal(of: sender) == .channelFull)
        #expect(broker.send("2", to: "w1!a", from: owner).refusal(of: owner) == .channelFull)
    }

    @Test("a group send to members nobody owns follows the sender's policy, and its outcome counts what fell")
    func groupMembers() throws {
        var (broker, _, sender) = try Self.start(.dropNewest, capacity: 1)
        broker.add(["jobs", "mail"], to: "all", from: sender)
        broker.send("old", to: "mail", from: sender)
        let said = broker.sendToGroup("new", "all", from: sender, wantsOutcome: true)
        #expect(said[sender] == [.result(1, ["members": 2, "accepted": 1, "dropped": 1])])
        #expect(broker.drain("mail", by: sender) == ["old"])
    }
}
