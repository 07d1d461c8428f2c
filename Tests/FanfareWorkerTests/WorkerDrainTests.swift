import FanfareModel
import HTTPTypes
import Synchronization
import Testing

@testable import FanfareWorker

/// Workers that take their leave, with a broker and clients of their own.
@Suite(.timeLimit(.minutes(2))) struct WorkerDrainTests {
    /// Far longer than the time limit of the suite: only an empty worker ends it.
    private static let patient = DrainPlan(
        delay: Milliseconds(0),
        spread: Milliseconds(100),
        rest: Milliseconds(1_000_000)
    )

    @Test func `a drain tells the sockets, waits for the last handlers and leaves the groups`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        let gate = Gate()
        let isStopped = Atomic(false)
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    groups: ["g"],
                    ended: { code, _, _ in
                        chronicle.note("ending \(code.rawValue)")
                        try await gate.pass()
                        chronicle.note("ended")
                    }
                )
            }
        )
        let clients = [
            try await TestClient.open(worker.port, "/ws/"), try await TestClient.open(worker.port, "/ws/"),
        ]
        _ = try await place.members(of: "g", count: 2)
        async let drained: Void = {
            await worker.drain(Self.patient)
            isStopped.store(true, ordering: .releasing)
        }()
        for client in clients {
            let frame = try #require(try await client.frame())
            #expect(frame.closeCode == 1_012)
            #expect(frame.closeReason.hasPrefix("restart; reconnect in "))
            try await client.write(ClientFrame.close(1_012))
            #expect(try await client.frame() == nil)
        }
        await chronicle.reach(2)
        let health = try await worker.health()
        #expect(health.isDraining && health.sockets == 0 && health.closing == 2)
        let tooEarly = isStopped.load(ordering: .acquiring)
        #expect(!tooEarly)
        // Nobody is let in any more.
        await #expect(throws: (any Error).self) { try await TestClient.connect(worker.port) }
        gate.open()
        await drained
        #expect(chronicle.all == ["ending 1012", "ending 1012", "ended", "ended"])
        _ = try await place.members(of: "g", count: 0)
        // Once over, it is over for everybody who asks.
        await worker.drain(Self.patient)
        await worker.stop(within: Milliseconds(0))
        try await place.stop()
    }

    @Test func `a page under way is answered, one who has asked for nothing is not waited for`() async throws {
        let gate = Gate()
        let chronicle = Chronicle()
        var router = Router()
        router.get("/slow/") { _, _ in
            chronicle.note("asked")
            try await gate.pass()
            return .text(.ok, "late but whole")
        }
        let worker = try await Place.lonelyWorker(router: router)
        let silent = try await TestClient.connect(worker.port)
        let client = try await TestClient.connect(worker.port)
        try await client.write(Array("GET /slow/ HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
        await chronicle.reach(1)
        async let drained: Void = worker.drain(Self.patient)
        #expect(await silent.rest().isEmpty)
        gate.open()
        #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 200 "))
        #expect(String(decoding: await client.rest(), as: UTF8.self) == "late but whole\n")
        await client.close()
        await drained
    }

    @Test func `a stop in the middle of a drain ends it at once`() async throws {
        let place = try await Place.start()
        let stops = Atomic(0)
        let worker = try await place.worker("only")
        let silent = try await Speaker.enter(worker.port, "only")
        async let drained: Void = {
            await worker.drain(Self.patient)
            stops.add(1, ordering: .relaxed)
        }()
        #expect(try await silent.client.frame()?.closeCode == 1_012)
        await worker.stop(within: Milliseconds(0))
        await drained
        #expect(stops.load(ordering: .relaxed) == 1)
        _ = try await place.members(of: "chat_a", count: 0)
        try await place.stop()
    }

    @Test func `what does not end in time is cut off, and whoever waits is told`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    groups: ["g"],
                    ended: { _, _, _ in
                        do {
                            try await Task.sleep(for: .seconds(1_000_000))
                        } catch {
                            chronicle.note("cancelled")
                            throw error
                        }
                    }
                )
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        await worker.drain(DrainPlan(delay: Milliseconds(0), spread: Milliseconds(0), rest: Milliseconds(200)))
        #expect(try await client.frame()?.closeCode == 1_012)
        #expect(await client.rest().isEmpty)
        await chronicle.reach(1)
        _ = try await place.members(of: "g", count: 0)
        try await place.stop()
    }
}
