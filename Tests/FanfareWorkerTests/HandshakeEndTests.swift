import FanfareBroker
import FanfareClient
import FanfareModel
import HTTPTypes
import NIOCore
import Synchronization
import Testing

@testable import FanfareWorker

/// Clients, brokers and workers that leave at every stage of a handshake, and what is left behind.
@Suite(.timeLimit(.minutes(2))) struct HandshakeEndTests {
    /// Where a handshake is held until its test says so.
    private final class Stages: Sendable {
        let chronicle = Chronicle()
        let gates = ["middleware": Gate(), "maker": Gate(), "connect": Gate(), "accepted": Gate()]

        /// Notes that `stage` is reached by a request for it, and waits.
        func hold(_ stage: String, _ wanted: String) async throws {
            guard stage == wanted else { return }
            chronicle.note("at \(stage)")
            do {
                try await gates[stage]?.pass()
                chronicle.note("through \(stage)")
            } catch {
                chronicle.note("cancelled \(stage)")
                throw error
            }
        }

        var router: Router {
            var router = Router()
            router.use(
                MiddlewareClosure { [self] request, context, next in
                    try await hold("middleware", request.rawQuery)
                    return try await next(request, context)
                }
            )
            router.webSocket("/ws/") { [self] request, _ in
                let stage = request.rawQuery
                try await hold("maker", stage)
                return Scripted(
                    groups: ["g"],
                    connected: { socket in
                        try await self.hold("connect", stage)
                        if stage == "accepted" { socket.accept() }
                        try await self.hold("accepted", stage)
                    },
                    ended: { code, _, _ in self.chronicle.note("ended \(code.rawValue)") }
                )
            }
            return router
        }

        func openAll() { for gate in gates.values { gate.open() } }
    }

    /// Nothing of any connection is left.
    private func isQuiet(_ worker: WorkerServer) async throws -> Bool {
        let health = try await worker.health()
        return health.sockets == 0 && health.handshakes == 0 && health.groups == 0
    }

    @Test(arguments: ["middleware", "maker", "connect", "accepted"])
    func `a client that leaves in the middle of its handshake leaves nothing behind`(stage: String) async throws {
        let place = try await Place.start()
        let stages = Stages()
        var limits = WorkerLimits()
        limits.sockets = 1
        let worker = try await place.worker("only", limits, router: stages.router)
        for round in 1...3 {
            let client = try await TestClient.knock(worker.port, "/ws/?\(stage)")
            await stages.chronicle.reach((round - 1) * (stage == "accepted" ? 3 : 2) + 1)
            if stage == "accepted" { #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 101 ")) }
            await client.close()
            if stage == "accepted" {
                try await eventually { try await worker.health().sockets == 0 }
                // An early acceptance makes `connect` a handler like any other: it may finish.
                stages.gates["accepted"]?.open()
            }
            await stages.chronicle.reach(round * (stage == "accepted" ? 3 : 2))
            try await eventually { try await isQuiet(worker) }
        }
        let round =
            stage == "accepted"
            ? ["at accepted", "through accepted", "ended 1006"] : ["at \(stage)", "cancelled \(stage)"]
        #expect(stages.chronicle.all == round + round + round)
        _ = try await place.members(of: "g", count: 0)
        #expect(try await worker.health().counters.handlerFailures == 0)
        // The only place there is must be free again.
        let last = try await TestClient.open(worker.port, "/ws/")
        try await last.write(ClientFrame.close(1_000))
        #expect(try await last.frame()?.closeCode == 1_000)
        try await place.stop()
    }

    @Test(arguments: ["middleware", "maker", "connect", "accepted"])
    func `a worker that stops in the middle of a handshake waits for no dead one`(stage: String) async throws {
        let place = try await Place.start()
        let stages = Stages()
        let worker = try await place.worker("only", router: stages.router)
        let client = try await TestClient.knock(worker.port, "/ws/?\(stage)")
        await stages.chronicle.reach(1)
        if stage == "accepted" { #expect(await client.head() != nil) }
        let stopped = Atomic(false)
        async let stopping: Void = {
            // Far longer than the time limit of the suite: only an empty worker ends it.
            await worker.stop(within: Milliseconds(1_000_000))
            stopped.store(true, ordering: .releasing)
        }()
        if stage == "accepted" {
            #expect(try await client.frame()?.closeCode == 1_001)
            try await client.write(ClientFrame.close(1_001))
            let isStopped = stopped.load(ordering: .acquiring)
            #expect(!isStopped)
            stages.openAll()
        }
        await stopping
        #expect(await client.rest().isEmpty)
        let rest = stage == "accepted" ? ["through accepted", "ended 1001"] : ["cancelled \(stage)"]
        #expect(await stages.chronicle.reach(1 + rest.count) == ["at \(stage)"] + rest)
        try await place.stop()
    }

    @Test func `a socket closed before its acceptance whose client then leaves is forgotten`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        let gate = Gate()
        var limits = WorkerLimits()
        limits.sockets = 1
        limits.closeWithin = Milliseconds(0)
        let worker = try await place.worker(
            "only",
            limits,
            router: .serving { request, _ in
                let isClosing = request.rawQuery == "close"
                return Scripted(connected: { socket in
                    guard isClosing else { return }
                    socket.close(4_000)
                    // The loop has seen it.
                    try? await socket.groupDiscard("g")
                    chronicle.note("closed")
                    try await gate.pass()
                    throw Denial(.forbidden, "changed my mind")
                })
            }
        )
        let leaver = try await TestClient.knock(worker.port, "/ws/?close")
        await chronicle.reach(1)
        await leaver.close()
        try await eventually { try await worker.health().handshakes == 0 }
        gate.open()
        let denied = try await TestClient.knock(worker.port, "/ws/?close")
        #expect(try #require(await denied.head()).hasPrefix("HTTP/1.1 403 "))
        _ = try await TestClient.open(worker.port, "/ws/")
        try await place.stop()
    }

    @Test func `handlers see that a client left before it was accepted`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(connected: { socket in
                    chronicle.note("sending")
                    do {
                        while true {
                            try await socket.send("x")
                            await Task.yield()
                        }
                    } catch {
                        chronicle.note("\(error is SocketClosed)")
                        throw error
                    }
                })
            }
        )
        let client = try await TestClient.knock(worker.port, "/ws/")
        await chronicle.reach(1)
        await client.close()
        #expect(await chronicle.reach(2) == ["sending", "true"])
        try await place.stop()
    }

    @Test func `a broker that is lost while groups are joined is joined when it is back`() async throws {
        let place = try await Place.start()
        let stages = Stages()
        let worker = try await place.worker("only", router: stages.router)
        for stage in ["maker", "connect"] {
            let client = try await TestClient.knock(worker.port, "/ws/?\(stage)")
            await stages.chronicle.reach(1)
            await place.broker.stop(within: Milliseconds(200))
            try await eventually { try await !worker.health().isConnected }
            if stage == "connect" {
                try await place.restartBroker()
                try await eventually { try await worker.health().isConnected }
            }
            stages.openAll()
            #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 101 "))
            if stage == "maker" {
                #expect(try await client.frame()?.closeCode == 1_013)
                try await place.restartBroker()
                try await eventually { try await worker.health().isConnected }
            } else {
                _ = try await place.members(of: "g", count: 1)
                try await client.write(ClientFrame.text("served"))
                #expect(try await client.frame()?.text == "served")
            }
            await client.close()
        }
        try await place.stop()
    }

    @Test func `after a restart of the broker every membership is whole, those added at run time too`() async throws {
        let place = try await Place.start()
        let sockets = Mutex<[WebSocket]>([])
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    groups: ["declared"],
                    connected: { socket in
                        try await socket.groupAdd("late")
                        try await socket.groupAdd("gone")
                        try await socket.groupDiscard("gone")
                        sockets.withLock { $0.append(socket) }
                    }
                )
            }
        )
        var clients: [TestClient] = []
        for _ in 0..<5 { clients.append(try await TestClient.open(worker.port, "/ws/")) }
        await place.broker.stop(within: Milliseconds(200))
        try await eventually { try await !worker.health().isConnected }
        let socket = try #require(sockets.withLock { $0.first })
        let failure = await #expect(throws: ChannelLayerError.self) { try await socket.groupAdd("never") }
        guard case .notConnected = failure else {
            Issue.record("not told that there is no broker")
            return
        }
        try await place.restartBroker()
        for group in ["declared", "late"] { #expect(try await place.members(of: group, count: 5).count == 5) }
        for group in ["gone", "never"] { _ = try await place.members(of: group, count: 0) }
        for group in ["declared", "late"] {
            try await socket.layer.groupSend(Line(text: group), type: "line.all", to: group)
            try await socket.layer.groupSend(Line(text: group), type: "line.one", to: group)
            for client in clients {
                #expect(try await client.frame()?.text == group)
                #expect(try await client.frame()?.text == "told \(group)")
            }
        }
        try await place.stop()
    }

    @Test func `a stop waits for the last handlers`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        let gate = Gate()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    text: { text, _ in chronicle.note(text) },
                    ended: { code, _, _ in
                        chronicle.note("ending \(code.rawValue)")
                        try await gate.pass()
                        chronicle.note("ended")
                    }
                )
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        try await client.write(ClientFrame.text("in hand"))
        await chronicle.reach(1)
        async let stopped: Void = {
            await worker.stop(within: Milliseconds(1_000_000))
            chronicle.note("stopped")
        }()
        #expect(try await client.frame()?.closeCode == 1_001)
        try await client.write(ClientFrame.close(1_001))
        #expect(try await client.frame() == nil)
        gate.open()
        await stopped
        #expect(chronicle.all == ["in hand", "ending 1001", "ended", "stopped"])
        try await place.stop()
    }

    @Test func `a last handler that takes too long is cancelled, and the groups are left`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        var limits = WorkerLimits()
        limits.disconnectWithin = Milliseconds(0)
        let worker = try await place.worker(
            "only",
            limits,
            router: .serving { request, _ in
                let isEarly = request.rawQuery == "early"
                return Scripted(
                    groups: ["g"],
                    connected: { socket in
                        guard isEarly else { return }
                        socket.accept()
                        do { try await Gate().pass() } catch { chronicle.note("connect cancelled") }
                    },
                    ended: { _, _, _ in
                        do { try await Gate().pass() } catch { chronicle.note("cancelled") }
                    }
                )
            }
        )
        await (try await TestClient.open(worker.port, "/ws/")).close()
        _ = try await place.members(of: "g", count: 0)
        #expect(await chronicle.reach(1) == ["cancelled"])
        await (try await TestClient.open(worker.port, "/ws/?early")).close()
        #expect(await chronicle.reach(3) == ["cancelled", "connect cancelled", "cancelled"])
        try await place.stop()
    }

    @Test func `nothing of a connection is kept when it has ended, whatever its end`() async throws {
        let place = try await Place.start()
        let remains = Remains()
        let worker = try await place.worker(
            "only",
            router: .serving { request, _ in
                RememberingConsumer(how: request.rawQuery, remains: remains)
            }
        )
        for how in ["close", "leave", "deny", "throw", "early", "closed", "fail"] {
            for _ in 0..<5 {
                let client = try await TestClient.knock(worker.port, "/ws/?\(how)")
                let head = await client.head()
                if head?.hasPrefix("HTTP/1.1 101 ") == true, how != "leave" {
                    if how == "fail" { try await client.write(ClientFrame.text("")) }
                    try await client.write(ClientFrame.close(1_000))
                    #expect(try await client.frame()?.closeCode != nil)
                }
                await client.close()
            }
        }
        #expect(remains.count == 35 * 3)
        try await eventually { remains.living == 0 }
        try await eventually { Counted.count.load(ordering: .relaxed) == 0 }
        try await place.stop()
    }

    @Test func `a handshake that names websocket many times is carried out once`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        var router = Router()
        router.webSocket("/ws/") { _, _ -> Scripted in
            chronicle.note("asked")
            throw Denial(.forbidden, "no", reason: "no")
        }
        let worker = try await place.worker("only", router: router)
        let client = try await TestClient.connect(worker.port)
        let many = Array(repeating: "websocket", count: 500).joined(separator: ", ")
        try await client.write(
            Array(
                TestClient.handshake("/ws/").replacing("Upgrade: websocket\r\n", with: "Upgrade: \(many)\r\n").utf8
            )
        )
        #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 403 "))
        #expect(chronicle.all == ["asked"])
        try await place.stop()
    }

    @Test func `bytes sent before the handshake is answered wait in the kernel`() async throws {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        var limits = WorkerLimits()
        limits.handshakeWithin = Milliseconds(3_600_000)
        let worker = try await place.worker(
            "only",
            limits,
            router: .serving { _, _ in
                Scripted(
                    connected: { _ in
                        chronicle.note("connect")
                        try await gate.pass()
                    },
                    text: { text, _ in chronicle.note("\(text.utf8.count)") }
                )
            }
        )
        let client = try await TestClient.knock(worker.port, "/ws/")
        await chronicle.reach(1)
        let frame = ClientFrame.text(String(repeating: "x", count: 1_000_000))
        let written = Atomic(0)
        let writer = client.writer
        async let writing: Void = {
            for _ in 0..<32 {
                try await writer.write(frame)
                written.add(1, ordering: .relaxed)
            }
        }()
        // The kernel takes about ten of them for a connection nobody reads.
        for _ in 0..<500 {
            _ = try await worker.health()
            try await Task.sleep(for: .milliseconds(2))
        }
        let taken = written.load(ordering: .relaxed)
        #expect(taken < 20)
        gate.open()
        #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 101 "))
        try await writing
        #expect(await chronicle.reach(33)[1...].allSatisfy { $0 == "1000000" })
        try await place.stop()
    }
}
