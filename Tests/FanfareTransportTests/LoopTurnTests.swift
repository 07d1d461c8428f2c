import FanfareModel
import NIOCore
import Synchronization
import Testing

@testable import FanfareTransport

@Suite struct LoopTurnTests {
    @Test func `every turn is counted once`() async throws {
        let loop = try EpollLoop(name: "test")
        let before = try await loop.submit { loop.turnSeconds.count }.get()
        // Each waits for the one before: a turn at least.
        for _ in 0..<20 { try await loop.submit {}.get() }
        let after = try await loop.submit { loop.turnSeconds }.get()
        #expect(after.count >= before + 20)
        #expect(after.sum > 0)
        try await loop.shutdownGracefully()
    }

    @Test func `a turn that was held says what held it`() throws {
        let told = Mutex<[LoopTurn]>([])
        var watch = TurnWatch(.milliseconds(5)) { turn in told.withLock { $0.append(turn) } }
        let now = NIODeadline.now()
        watch.did("Socket", \.descriptors, since: now - .milliseconds(20))
        watch.did("task", \.tasks, since: now)
        watch.ended(.milliseconds(21), at: now)
        // At most once a second, and only those that took long.
        watch.ended(.milliseconds(50), at: now + .milliseconds(999))
        watch.did("timer", \.timers, since: now)
        watch.ended(.milliseconds(4), at: now + .seconds(2))
        watch.ended(.milliseconds(5), at: now + .seconds(2))
        let turns = told.withLock { $0 }
        try #require(turns.count == 2)
        #expect(turns[0].longestName == "Socket" && turns[0].longest >= .milliseconds(20))
        #expect(turns[0].descriptors == 1 && turns[0].tasks == 1 && turns[0].timers == 0)
        #expect(turns[0].facts["milliseconds"] == "21.0" && turns[0].facts["longest"] == "Socket")
        #expect(turns[1].timers == 0 && turns[1].longestName.isEmpty)
    }

    @Test func `a watched loop does what any loop does`() async throws {
        let loop = try EpollLoop(name: "test")
        let told = Mutex<[LoopTurn]>([])
        try await loop.submit {
            loop.watchTurns(longerThan: .nanoseconds(0)) { turn in told.withLock { $0.append(turn) } }
        }.get()
        let timer = loop.scheduleTask(in: .milliseconds(1)) { 7 }
        #expect(try await timer.futureResult.get() == 7)
        try await loop.shutdownGracefully()
        // Once a second, and this takes longer on a busy machine.
        #expect(told.withLock { $0.count } >= 1)
    }
}
