import FanfareModel
import NIOCore
import NIOEmbedded
import Testing

@testable import FanfareWorker

/// A worker that takes its leave, its time moved by the test.
@Suite struct DrainTests {
    private static let plan = DrainPlan(
        delay: Milliseconds(0),
        spread: Milliseconds(1_000),
        rest: Milliseconds(1_000)
    )

    /// What a drain told its caller.
    private final class Story {
        var events: [String] = []
    }

    private func begin(_ run: EmbeddedWorker, _ plan: DrainPlan = plan) -> Story {
        let story = Story()
        run.worker.drain(
            plan,
            stopAccepting: { story.events.append("stops accepting") },
            onEnd: { story.events.append("ended") }
        )
        return story
    }

    @Test func `sockets are closed with 1012 and a hint, one after the other, and their channels are left`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let sockets = try (0..<10).map { _ in try run.socket("a") }
        run.turn()
        run.broker.forgetRequests()
        let story = begin(run)
        #expect(run.worker.health.isDraining)
        run.loop.advanceTime(by: .milliseconds(0))
        #expect(story.events == ["stops accepting"])
        var counts: [Int] = []
        for _ in 0..<12 {
            run.turn()
            counts.append(run.worker.health.sockets)
            run.loop.advanceTime(by: .milliseconds(20))
        }
        // 20 ms each, so that few sockets need less than the whole time.
        #expect(counts == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0])
        #expect(run.worker.health.closing == 10)
        var reasons: Set<String> = []
        for socket in sockets {
            let frame = try #require(try socket.frames().first)
            #expect(frame.closeCode == 1_012)
            #expect(frame.closeReason.hasPrefix("restart; reconnect in "))
            reasons.insert(frame.closeReason)
            #expect(story.events == ["stops accepting"])
            try socket.receive(ClientFrame.close(1_012))
        }
        // Ten equal ones of a thousand would be no jitter.
        #expect(reasons.count > 1)
        run.loop.advanceTime(by: .milliseconds(20))
        #expect(story.events == ["stops accepting", "ended"])
        let closed = run.broker.requests.flatMap { request in
            if case .closeChannels(_, let channels) = request { channels } else { [String]() }
        }
        #expect(Set(closed) == Set(sockets.map(\.socket.channelName)))
        #expect(run.worker.counters.closes == [1_012: 10])
        #expect(run.worker.counters.drained == 10)
        run.worker.cutOff()
        #expect(run.worker.counters.drainCutOff == 0)
    }

    @Test func `until the delay is over the port accepts and nobody is closed`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let first = try run.socket("a")
        var plan = Self.plan
        plan.delay = Milliseconds(500)
        let story = begin(run, plan)
        #expect(run.worker.health.isDraining && run.worker.hasRoom && run.worker.admitsStranger())
        run.loop.advanceTime(by: .milliseconds(499))
        #expect(story.events.isEmpty)
        let late = try run.socket("a")
        run.turn()
        #expect(try first.frames().isEmpty && late.frames().isEmpty)
        run.loop.advanceTime(by: .milliseconds(1))
        #expect(story.events == ["stops accepting"])
        // Handshakes under way are still answered, with 503.
        #expect(!run.worker.hasRoom && run.worker.admitsStranger())
        run.loop.advanceTime(by: .milliseconds(40))
        #expect(try first.frames().map(\.closeCode) == [1_012])
        #expect(try late.frames().map(\.closeCode) == [1_012])
    }

    @Test func `a second drain that takes longer changes nothing, and a stop ends the first`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let sockets = try (0..<10).map { _ in try run.socket("a") }
        run.turn()
        let story = begin(run)
        var longer = Self.plan
        longer.rest = Milliseconds(1_001)
        let second = begin(run, longer)
        run.loop.advanceTime(by: .milliseconds(0))
        #expect(run.worker.health.sockets == 9)
        var isEmpty = false
        run.worker.stop { isEmpty = true }
        run.loop.advanceTime(by: .seconds(10))
        let codes = try sockets.map { try $0.frames().compactMap(\.closeCode) }
        #expect(codes.count { $0 == [1_012] } == 1 && codes.count { $0 == [1_001] } == 9)
        for socket in sockets { try socket.receive(ClientFrame.close(1_001)) }
        #expect(isEmpty)
        #expect(story.events == ["stops accepting"] && second.events.isEmpty)
    }

    @Test(arguments: [0, 600_000])
    func `a second drain that ends sooner decides the end of the first`(delay: UInt64) throws {
        let run = EmbeddedWorker()
        run.connect()
        let sockets = try (0..<100).map { _ in try run.socket("a") }
        run.turn()
        let long = DrainPlan(
            delay: Milliseconds(delay),
            spread: Milliseconds(600_000),
            rest: Milliseconds(600_000)
        )
        let story = begin(run, long)
        run.loop.advanceTime(by: .milliseconds(0))
        let second = begin(run)
        run.loop.advanceTime(by: .milliseconds(500))
        #expect((20...80).contains(run.worker.health.sockets), "half of its time, about half of the sockets")
        run.loop.advanceTime(by: .milliseconds(540))
        for socket in sockets {
            #expect(try socket.frames().compactMap(\.closeCode) == [1_012])
            try socket.receive(ClientFrame.close(1_012))
        }
        run.loop.advanceTime(by: .milliseconds(20))
        #expect(story.events == ["stops accepting", "ended"] && second.events.isEmpty)
        #expect(run.worker.counters.drained == 100)
    }

    @Test func `what was sent to a large group before is heard before the close frame`() throws {
        var limits = WorkerLimits()
        limits.membersPerTurn = 1
        let run = EmbeddedWorker(limits)
        run.connect()
        let sockets = try (0..<5).map { _ in try run.socket("a") }
        run.turn()
        run.worker.link.layerDidReceive(groupMessage("chat_a", "last words"))
        run.worker.link.layerDidFinishBurst()
        _ = begin(run, DrainPlan(delay: Milliseconds(0), spread: Milliseconds(0), rest: Milliseconds(0)))
        run.loop.advanceTime(by: .milliseconds(0))
        for socket in sockets {
            let frames = try socket.frames()
            #expect(frames.compactMap(\.message) == ["last words"])
            #expect(frames.last?.closeCode == 1_012)
        }
    }

    @Test func `what is left when the time is over is counted`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let sockets = try (0..<3).map { _ in try run.socket("a") }
        run.turn()
        let story = begin(run, DrainPlan(delay: Milliseconds(0), spread: Milliseconds(0), rest: Milliseconds(0)))
        run.loop.advanceTime(by: .milliseconds(100))
        try sockets[0].receive(ClientFrame.close(1_012))
        run.worker.cutOff()
        #expect(run.worker.counters.drainCutOff == 2)
        #expect(story.events == ["stops accepting"])
    }

    @Test func `the broker asks for a drain with its option only`() {
        let run = EmbeddedWorker()
        run.connect()
        var asked: [Milliseconds] = []
        run.worker.link.onDrainAsked = { asked.append($0) }
        run.push(.goAway(within: Milliseconds(7), reason: "the broker stops", drains: false))
        #expect(asked.isEmpty && !run.worker.health.isDraining)
        run.push(.goAway(within: Milliseconds(8), reason: "an operator", drains: true))
        #expect(asked == [Milliseconds(8)])
    }

    @Test func `one client's frames are taken a part at a time`() throws {
        var limits = WorkerLimits()
        limits.framesPerTurn = 3
        let run = EmbeddedWorker(limits)
        run.connect()
        let socket = try run.socket("a", isEcho: true)
        run.turn()
        let frame = ClientFrame.text("hi")
        var bytes = Array(repeating: frame, count: 7).flatMap { $0 }
        for part in [3, 3, 1] {
            let taken = bytes.withUnsafeBytes { socket.socket.take($0) }
            run.turn()
            #expect(taken == part * frame.count)
            #expect(try socket.frames().count == part)
            bytes.removeFirst(taken)
        }
    }
}
