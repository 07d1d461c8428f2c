import FanfareModel
import FanfareTransport
import Testing

@testable import FanfareWorker

/// Members of one group over real descriptors, some of which do not read: what the policy says happens to them, and
/// nothing happens to the others.
@Suite(.timeLimit(.minutes(1))) struct SlowReaderTests {
    @Test func `a byte that waits longer than its age closes the socket, whoever has read stays`() async throws {
        var limits = WorkerLimits()
        limits.outgoingAge = Milliseconds(5_000)
        limits.closeWithin = Milliseconds(1_000_000)
        let run = try await DescriptorRun(limits, members: 3)
        var sent = 0
        while try await run.waitingCount() < 3 {
            try await run.publish(sent..<(sent + 1))
            sent += 1
        }
        run.startReading([0])
        try await run.untilWaiting(atMost: 2)
        try await run.timePassed(ticks: 5)
        #expect(try await run.health().counters.closes == [:])
        run.startReading([1])
        try await run.untilWaiting(atMost: 1)
        try await run.timePassed(ticks: 1)
        let health = try await run.health()
        #expect(health.counters.closes == [1_013: 1])
        #expect(health.counters.slowReadersClosed == 1)
        #expect(health.slowReaders == 0)
        #expect(health.sockets == 2)
        try await run.publish(sent..<(sent + 10))
        // It wakes up too late.
        run.startReading([2])
        let heard = try await run.finish().map(Heard.init)
        for index in 0..<2 {
            #expect(heard[index].numbers == Array(0..<(sent + 10)))
            #expect(heard[index].closeCode == 1_000)
        }
        #expect(heard[2].numbers == Array(0..<(sent - Int(health.counters.outgoingOverflow))))
        #expect(heard[2].closeCode == 1_013)
    }

    @Test("What too much does to a member that does not read", arguments: OutgoingQueue.Policy.allCases)
    func policy(policy: OutgoingQueue.Policy) async throws {
        var limits = WorkerLimits()
        limits.outgoingPolicy = policy
        limits.outgoingMessages = 40
        limits.closeWithin = Milliseconds(1_000_000)
        let run = try await DescriptorRun(limits, members: 4)
        run.startReading([0, 1])
        let count = 1_200
        for burst in 0..<(count / 4) {
            try await run.publish((burst * 4)..<(burst * 4 + 4))
            // The readers keep up: what they lack is not the policy's doing.
            try await run.untilWaiting(atMost: 2)
        }
        let health = try await run.health()
        run.startReading([2, 3])
        let heard = try await run.finish().map(Heard.init)
        for index in 0..<2 { #expect(heard[index].numbers == Array(0..<count)) }
        let lost = heard[2...].reduce(0) { $0 + count - $1.numbers.count }
        #expect(lost > 0)
        for slow in heard[2...] {
            switch policy {
            case .disconnect:
                #expect(slow.closeCode == 1_013)
                #expect(slow.numbers == Array(0..<slow.numbers.count))
            case .dropNewest:
                #expect(slow.closeCode == 1_000)
                #expect(slow.numbers == Array(0..<slow.numbers.count))
            case .dropOldest:
                #expect(slow.closeCode == 1_000)
                #expect(slow.numbers == slow.numbers.sorted())
                #expect(Array(slow.numbers.suffix(40)) == Array((count - 40)..<count))
            }
        }
        #expect(health.counters.closes == (policy == .disconnect ? [1_013: 2] : [:]))
        // Those disconnected also miss what was sent when they were gone.
        #expect(policy == .disconnect || health.counters.outgoingFull == UInt64(lost))
        #expect((health.counters.outgoingOverflow > 0) == (policy == .disconnect))
    }

    @Test func `what a member that is disconnected misses is counted to the message`() async throws {
        var limits = WorkerLimits()
        limits.outgoingMessages = 40
        limits.closeWithin = Milliseconds(1_000_000)
        let run = try await DescriptorRun(limits, members: 1)
        var sent = 0
        while try await run.health().counters.closes == [:] {
            try await run.publish(sent..<(sent + 4))
            sent += 4
        }
        let missed = Int(try await run.health().counters.outgoingOverflow)
        run.startReading([0])
        let heard = try await run.finish().map(Heard.init)
        #expect(heard[0].closeCode == 1_013)
        #expect(heard[0].numbers == Array(0..<(sent - missed)))
    }

    @Test func `a message to one socket is bounded like one to its group`() async throws {
        var limits = WorkerLimits()
        limits.outgoingPolicy = .dropNewest
        limits.outgoingBytes = 20_000
        let run = try await DescriptorRun(limits, members: 1)
        for index in 0..<400 { try await run.publish(index..<(index + 1), toChannel: index % 2 == 0) }
        let health = try await run.health()
        #expect(health.slowReaders == 1)
        run.startReading([0])
        let heard = try await run.finish().map(Heard.init)
        #expect(heard[0].numbers == Array(0..<(400 - Int(health.counters.outgoingFull))))
        #expect(health.counters.outgoingFull > 0)
    }
}

/// What a peer got.
private struct Heard {
    var numbers: [Int] = []
    var closeCode: Int?

    init(_ frames: [ReceivedFrame]) {
        for frame in frames {
            if let message = frame.message { numbers.append(Int(message.prefix { $0 != " " }) ?? -1) }
            closeCode = closeCode ?? frame.closeCode
        }
    }
}

extension DescriptorRun {
    fileprivate convenience init(_ limits: WorkerLimits, members: Int) async throws {
        try await self.init(limits, groups: Array(repeating: ["chat_a"], count: members))
    }

    /// One read burst from the broker: numbered messages of a kilobyte.
    fileprivate func publish(_ numbers: Range<Int>, toChannel: Bool = false) async throws {
        try await push(
            numbers.map { number in
                let text = "\(number) " + String(repeating: "x", count: 1_000)
                return toChannel
                    ? .deliver(channel: "ws.node!1", body: chatBody(text), remaining: Milliseconds(9))
                    : groupMessage("chat_a", text)
            }
        )
    }

    fileprivate func timePassed(ticks: Int) async throws {
        try await onLoop { worker in
            for _ in 0..<ticks { worker.timePassed() }
        }
    }

    fileprivate func untilWaiting(atMost count: Int) async throws {
        while try await waitingCount() > count {
            // The time limit ends it.
            try Task.checkCancellation()
            await Task.yield()
        }
    }
}
