import FanfareModel
import Synchronization
import Testing

@testable import FanfareWorker

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Consumers that are given more than they take.
@Suite(.timeLimit(.minutes(2))) struct ConsumerPressureTests {
    private enum Narrow: Serving {
        static var options: ConsumerOptions {
            var options = ConsumerOptions()
            options.waitingMessages = 3
            return options
        }
    }

    private enum Rationed: Serving {
        static var options: ConsumerOptions {
            var options = ConsumerOptions()
            options.messageRate = try? RateLimit(1, perSeconds: 3_600, burst: 3)
            return options
        }
    }

    @Test func `a client faster than its handlers is held back and loses nothing`() async throws {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    text: { text, _ in
                        try await gate.pass()
                        chronicle.note(String(text.prefix { $0 != " " }))
                    },
                    ended: { _, _, _ in chronicle.note("bye") }
                )
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        let count = 10_000
        let filler = String(repeating: "x", count: 2_000)
        let writer = client.writer
        async let written: Void = {
            for index in 0..<count { try await writer.write(ClientFrame.text("\(index) \(filler)")) }
            try await writer.write(ClientFrame.close(1_000))
        }()
        try await eventually { try await worker.health().counters.messagesIn > 33 }
        // Each look is a turn of the loop in which it could read on.
        for _ in 0..<200 {
            _ = try await worker.health()
            try await Task.sleep(for: .milliseconds(2))
        }
        #expect(try await worker.health().counters.messagesIn < 200)
        gate.open()
        try await written
        #expect(await chronicle.reach(count + 1) == (0..<count).map(String.init) + ["bye"])
        try await place.stop()
    }

    @Test func `large messages are held back by their bytes, long before there are many`() async throws {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(text: { text, _ in
                    chronicle.note("\(text.utf8.count)")
                    try await gate.pass()
                })
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        let writer = client.writer
        let frame = ClientFrame.text(String(repeating: "x", count: 600_000))
        async let written: Void = {
            for _ in 0..<12 { try await writer.write(frame) }
        }()
        await chronicle.reach(1)
        try await eventually { try await worker.health().counters.messagesIn == 3 }
        try await Task.sleep(for: .milliseconds(500))
        #expect(try await worker.health().counters.messagesIn == 3)
        gate.open()
        try await written
        #expect(await chronicle.reach(12).count == 12)
        try await place.stop()
    }

    @Test func `a client that leaves thousands of messages behind costs a bounded number of them`() async throws {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    text: { text, _ in
                        chronicle.note(text)
                        try await gate.pass()
                    },
                    ended: { code, _, _ in chronicle.note("ended \(code.rawValue)") }
                )
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        try await client.write(ClientFrame.text("first"))
        await chronicle.reach(1)
        // As many as fit into the kernel beside what one read takes, so that the end is seen behind them.
        let many = Array(repeating: ClientFrame.text(""), count: 20_000)
        try await client.write(Array(many.joined()))
        await client.close()
        try await eventually { try await worker.health().sockets == 0 }
        let counters = try await worker.health().counters
        #expect(counters.messagesIn < 17_000)
        #expect(counters.refusals == ["waiting_frames": 1])
        gate.open()
        try await eventually { chronicle.all.last == "ended 1013" }
        try await place.stop()
    }

    /// A client's frame with `count` letters, compressed.
    private static func squeezed(_ count: Int) -> [UInt8] {
        var frame: [UInt8] = []
        Compressor(level: 9).append(.text, [UInt8](repeating: 0x78, count: count), windowBits: 15, to: &frame)
        return ClientFrame.bytes(first: 0xc1, Array(frame[4...]))
    }

    private static func compressing() -> WorkerLimits {
        var limits = WorkerLimits()
        limits.compression = true
        return limits
    }

    @Test func `compressed messages are held back by what they inflate to`() async throws {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            Self.compressing(),
            router: .serving { _, _ in
                Scripted(text: { text, _ in
                    chronicle.note("\(text.utf8.count)")
                    try await gate.pass()
                })
            }
        )
        let client = try await TestClient.knock(
            worker.port,
            "/ws/",
            headers: "Sec-WebSocket-Extensions: permessage-deflate\r\n"
        )
        _ = await client.head()
        // All of it in one read.
        try await client.write(Array(Array(repeating: Self.squeezed(600_000), count: 12).joined()))
        await chronicle.reach(1)
        try await eventually { try await worker.health().counters.messagesIn >= 3 }
        try await Task.sleep(for: .milliseconds(500))
        #expect(try await worker.health().counters.messagesIn == 3)
        gate.open()
        #expect(await chronicle.reach(12).count == 12)
        try await place.stop()
    }

    @Test func `a client that leaves compressed messages behind costs a bounded number of bytes`() async throws {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            Self.compressing(),
            router: .serving { _, _ in
                Scripted(
                    text: { text, _ in
                        chronicle.note("\(text.utf8.count)")
                        try await gate.pass()
                    },
                    ended: { code, _, _ in chronicle.note("ended \(code.rawValue)") }
                )
            }
        )
        let client = try await TestClient.knock(
            worker.port,
            "/ws/",
            headers: "Sec-WebSocket-Extensions: permessage-deflate\r\n"
        )
        _ = await client.head()
        try await client.write(Array(Array(repeating: Self.squeezed(1_000_000), count: 40).joined()))
        await client.close()
        try await eventually { try await worker.health().sockets == 0 }
        let counters = try await worker.health().counters
        #expect(counters.messagesIn < 25)
        #expect(counters.refusals == ["waiting_frames": 1])
        gate.open()
        try await eventually { chronicle.all.last == "ended 1013" }
        try await place.stop()
    }

    @Test func `messages behind a handler that fails are given up and reported`() async throws {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        let socket = Handed<WebSocket>()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    groups: ["g"],
                    connected: { socket.give($0) },
                    told: { text, _ in
                        chronicle.note(text)
                        try await gate.pass()
                        if text == "second" { throw Mishap() }
                    },
                    ended: { _, _, _ in chronicle.note("ended") }
                )
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        let (layer, name) = (try await socket.take().layer, try await socket.take().channelName)
        try await layer.send(Line(text: "first"), type: "line.one", to: name)
        await chronicle.reach(1)
        for text in ["second", "third"] { try await layer.send(Line(text: text), type: "line.one", to: name) }
        try await layer.groupSend(Line(text: "fourth"), type: "line.one", to: "g")
        try await layer.groupSend(Line(text: "seen"), type: "line.all", to: "g")
        #expect(try await client.frame()?.text == "seen")
        gate.open()
        #expect(await chronicle.reach(3) == ["first", "second", "ended"])
        #expect(try await worker.health().counters.ownerGone == 2)
        try await eventually { try await place.drops("owner_gone") == 2 }
        try await place.stop()
    }

    @Test func `messages that wait for the handlers of a connection that ends are given up and reported`() async throws
    {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        let socket = Handed<WebSocket>()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    groups: ["g"],
                    connected: { socket.give($0) },
                    told: { text, _ in
                        chronicle.note(text)
                        try await gate.pass()
                    },
                    ended: { _, _, _ in chronicle.note("ended") }
                )
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        let (layer, name) = (try await socket.take().layer, try await socket.take().channelName)
        try await layer.send(Line(text: "first"), type: "line.one", to: name)
        await chronicle.reach(1)
        try await layer.send(Line(text: "second"), type: "line.one", to: name)
        try await layer.groupSend(Line(text: "third"), type: "line.one", to: "g")
        try await layer.groupSend(Line(text: "seen"), type: "line.all", to: "g")
        #expect(try await client.frame()?.text == "seen")
        await client.close()
        try await eventually { try await place.drops("owner_gone") == 2 }
        gate.open()
        #expect(await chronicle.reach(2) == ["first", "ended"])
        try await place.stop()
    }

    @Test func `more messages than may wait for a handler are dropped and reported as full`() async throws {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        let socket = Handed<WebSocket>()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                ScriptedConsumer<Narrow>(
                    groups: ["g"],
                    connected: { socket.give($0) },
                    told: { text, _ in
                        chronicle.note(text)
                        try await gate.pass()
                    }
                )
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        let layer = try await socket.take().layer
        try await layer.groupSend(Line(text: "0"), type: "line.one", to: "g")
        await chronicle.reach(1)
        for index in 1...10 { try await layer.groupSend(Line(text: "\(index)"), type: "line.one", to: "g") }
        try await eventually { try await place.drops("full") == 7 }
        // Broadcasts need no handler.
        try await layer.groupSend(Line(text: "all"), type: "line.all", to: "g")
        #expect(try await client.frame()?.text == "all")
        #expect(try await worker.health().counters.handlersFull == 7)
        gate.open()
        #expect(await chronicle.reach(4) == ["0", "1", "2", "3"])
        try await layer.groupSend(Line(text: "later"), type: "line.one", to: "g")
        #expect(await chronicle.reach(5).last == "later")
        try await place.stop()
    }

    @Test func `a client that says too much is closed with 1008`() async throws {
        let place = try await Place.start()
        let worker = try await place.worker("only", router: .serving { _, _ in ScriptedConsumer<Rationed>() })
        let client = try await TestClient.open(worker.port, "/ws/")
        for index in 0..<5 { try await client.write(ClientFrame.text("\(index)")) }
        var last: ReceivedFrame?
        while let frame = try await client.frame(), last?.closeCode == nil { last = frame }
        #expect(last?.closeCode == 1_008)
        #expect(try await worker.health().counters.refusals == ["message_rate": 1])
        try await place.stop()
    }

    @Test func `a handler that blocks a thread delays no other socket's messages`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        let blocked = Blocked()
        let socket = Handed<WebSocket>()
        let worker = try await place.worker(
            "only",
            router: .serving { request, _ in
                let isBlocking = request.rawQuery == "blocking"
                return Scripted(
                    groups: ["g"],
                    connected: { if !isBlocking { socket.give($0) } },
                    text: { _, socket in
                        try await blocking {
                            chronicle.note("blocks")
                            blocked.wait()
                        }
                        chronicle.note("goes on")
                        try await socket.send("free")
                    }
                )
            }
        )
        let stuck = try await TestClient.open(worker.port, "/ws/?blocking")
        let other = try await TestClient.open(worker.port, "/ws/")
        try await stuck.write(ClientFrame.text(""))
        await chronicle.reach(1)
        let layer = try await socket.take().layer
        for index in 0..<100 { try await layer.groupSend(Line(text: "\(index)"), type: "line.all", to: "g") }
        for index in 0..<100 { #expect(try await other.frame()?.text == "\(index)") }
        // The blocked one's own messages do not wait for its handler either: a broadcast needs none.
        for index in 0..<100 { #expect(try await stuck.frame()?.text == "\(index)") }
        #expect(chronicle.all == ["blocks"])
        blocked.free()
        #expect(try await stuck.frame()?.text == "free")
        #expect(chronicle.all == ["blocks", "goes on"])
        try await place.stop()
    }

    @Test func `blocking calls run so many at once, so many wait, and one more is refused`() async throws {
        let pool = BlockingPool(threads: 2, waiting: 3)
        let chronicle = Chronicle()
        let blocked = Blocked()
        let calls = (0..<5).map { index in
            Task {
                try await pool.run {
                    chronicle.note("\(index)")
                    blocked.wait()
                    return index
                }
            }
        }
        await chronicle.reach(2)
        // All five count once they were called, whether they run yet or not.
        try await eventually {
            do {
                try await pool.run { chronicle.note("sixth") }
                return false
            } catch is BlockingPool.Full { return true }
        }
        #expect(!chronicle.all.isEmpty)
        blocked.free()
        var results: Set<Int> = []
        for call in calls { results.insert(try await call.value) }
        #expect(results == Set(0..<5))
        await #expect(throws: Mishap.self) { try await pool.run { throw Mishap() } }
        #expect(try await pool.run { 7 } == 7)
    }
}

/// Blocks threads until they are freed.
final class Blocked: Sendable {
    private let isFree = Atomic(false)

    func wait() {
        while !isFree.load(ordering: .acquiring) { usleep(1_000) }
    }

    func free() { isFree.store(true, ordering: .releasing) }
}
