import FanfareModel
import Testing

@testable import FanfareWorker

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Limits of a socket's life, on an embedded loop.
@Suite struct SocketLifeTests {
    private func pass(_ ticks: Int, _ run: EmbeddedWorker) {
        for _ in 0..<ticks {
            run.worker.timePassed()
            run.turn()
        }
    }

    @Test func `a client that says nothing for too long is closed with 3008, pongs do not count`() throws {
        var limits = WorkerLimits()
        limits.idle = Milliseconds(3_000)
        let run = EmbeddedWorker(limits)
        run.connect()
        let silent = try run.socket("a")
        let talker = try run.socket("b")
        run.turn()
        for _ in 0..<4 {
            pass(1, run)
            try silent.receive(ClientFrame.bytes(first: 0x8a, []))
            try talker.receive(ClientFrame.text("x"))
        }
        #expect(try silent.frames().map(\.closeCode) == [3_008])
        #expect(talker.socket.takesFrames)
        pass(3, run)
        #expect(talker.socket.takesFrames)
        pass(1, run)
        #expect(!talker.socket.takesFrames)
        #expect(run.worker.counters.closes == [3_008: 2])
    }

    @Test func `a client that is not being read is neither silent nor dead`() throws {
        var limits = WorkerLimits()
        limits.idle = Milliseconds(2_000)
        limits.pingAfter = Milliseconds(1_000)
        let run = EmbeddedWorker(limits)
        run.connect()
        let held = try run.socket("a")
        run.turn()
        held.socket.setReading(false)
        pass(10, run)
        #expect(held.socket.takesFrames)
        held.socket.setReading(true)
        pass(1, run)
        #expect(held.socket.takesFrames)
        pass(3, run)
        #expect(!held.socket.takesFrames)
    }

    @Test func `a socket is closed with 1012 when it is old, spread over a tenth of its life`() throws {
        var limits = WorkerLimits()
        limits.lifetime = Milliseconds(100_000)
        limits.pingAfter = Milliseconds(10_000_000)
        let run = EmbeddedWorker(limits)
        run.connect()
        let sockets = try (0..<50).map { _ in try run.socket("a") }
        pass(89, run)
        #expect(sockets.allSatisfy { $0.socket.takesFrames })
        pass(6, run)
        #expect(sockets.contains { $0.socket.takesFrames })
        #expect(sockets.contains { !$0.socket.takesFrames })
        pass(5, run)
        #expect(run.worker.counters.closes == [1_012: 50])
    }

    @Test func `a socket is closed with 3000 when its credentials expire, and not before`() throws {
        let run = EmbeddedWorker()
        run.connect()
        func identity(_ seconds: Double) throws -> Identity {
            try Identity(claims: ["sub": "a"], expiresAt: Date(timeIntervalSinceNow: seconds))
        }
        let soon = try run.socket("a", identity: try identity(3))
        let past = try run.socket("a", identity: try identity(-5))
        let days = try run.socket("a", identity: try identity(10 * 86_400))
        let never = try run.socket("a", identity: try Identity(claims: ["sub": "a"], expiresAt: nil))
        let broken = try run.socket("a", identity: try Identity(claims: [:], expiresAt: Date.distantFuture))
        run.turn()
        func tick() {
            run.worker.timePassed()
            for socket in [soon, past, days, never, broken] {
                _ = try? socket.receive(ClientFrame.bytes(first: 0x8a, []))
            }
        }
        tick()
        #expect(try past.frames().compactMap(\.closeCode) == [3_000])
        tick()
        #expect(soon.socket.takesFrames)
        // The tick the socket was opened in had begun before: only after one more have three seconds passed for sure.
        tick()
        #expect(soon.socket.takesFrames)
        tick()
        #expect(try soon.frames().compactMap(\.closeCode) == [3_000])
        for _ in 0..<90_000 { tick() }
        #expect(days.socket.takesFrames)
        #expect(never.socket.takesFrames)
        #expect(broken.socket.takesFrames)
    }

    @Test func `sockets that have gone leave no deadline behind`() {
        var table = DeadlineTable()
        for number in UInt64(0)..<1_000 { table.add(number, at: 100) }
        for number in UInt64(0)..<1_000 where number != 500 { table.remove(number, at: 100) }
        table.remove(7, at: 99)
        #expect(table.count == 1)
        #expect(table.due(at: 100) == [500])
        #expect(table.count == 0)
        #expect(table.due(at: 100).isEmpty)
    }
}
