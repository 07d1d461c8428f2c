import FanfareClient
import FanfareModel
import HTTPTypes
import Testing

@testable import FanfareWorker

/// Consumers behind real sockets, with a real broker.
@Suite(.timeLimit(.minutes(2))) struct ConsumerTests {
    private enum Parallel: Serving {
        static var options: ConsumerOptions {
            var options = ConsumerOptions()
            options.concurrentHandlers = 3
            return options
        }
    }

    @Test func `groups are joined before connect, and what is sent from inside it arrives after the acceptance`()
        async throws
    {
        let place = try await Place.start()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    groups: ["g"],
                    connected: { socket in
                        try await socket.send("first")
                        try await socket.layer.groupSend(Line(text: "all"), type: "line.all", to: "g")
                        try await socket.layer.groupSend(Line(text: "one"), type: "line.one", to: "g")
                        try await socket.layer.send(Line(text: "direct"), type: "line_all", to: socket.channelName)
                    }
                )
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        #expect(try await client.frame()?.text == "first")
        var heard: [String] = []
        for _ in 0..<3 { heard.append(try #require(try await client.frame()).text) }
        // What handlers send and what is broadcast have no order between them.
        #expect(heard.sorted() == ["all", "direct", "told one"])
        #expect(heard.firstIndex(of: "all")! < heard.firstIndex(of: "direct")!)
        #expect(try await worker.health().counters.socketsOpened == 1)
        try await place.stop()
    }

    @Test func `both spellings of a type meet the same handler, once for all or for each`() async throws {
        let place = try await Place.start()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    groups: ["g"],
                    text: { type, socket in
                        try await socket.layer.groupSend(["type": .string(type), "text": "x"], to: "g")
                    }
                )
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        for (type, expected) in [
            ("line.all", "x"), ("line_all", "x"), ("line.one", "told x"), ("line_one", "told x"),
        ] {
            try await client.write(ClientFrame.text(type))
            #expect(try await client.frame()?.text == expected)
        }
        try await place.stop()
    }

    @Test func `a message nobody handles is counted, dropped and reported, and the next one arrives`() async throws {
        let place = try await Place.start()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    groups: ["g"],
                    text: { _, socket in
                        try await socket.layer.groupSend(["type": "line.other", "text": "x"], to: "g")
                        try await socket.layer.groupSend(["text": "x"], to: "g")
                        try await socket.layer.groupSend(["type": "line.all", "text": 7], to: "g")
                        try await socket.layer.groupSend(["type": "line.one", "wrong": "x"], to: "g")
                        try await socket.layer.groupSend(["type": "line.all", "text": "right"], to: "g")
                    }
                )
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        try await client.write(ClientFrame.text(""))
        #expect(try await client.frame()?.text == "right")
        #expect(try await worker.health().counters.undecodable == 4)
        try await eventually { try await place.drops("undecodable") == 4 }
        try await place.stop()
    }

    @Test func `a subprotocol and headers are in the answer, and an early acceptance does not wait for connect`()
        async throws
    {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    groups: ["g"],
                    connected: { socket in
                        socket.accept(subprotocol: "b", headers: [HTTPField.Name("X-Served-By")!: "test"])
                        socket.accept(subprotocol: "never")
                        try await socket.send("early")
                        try await gate.pass()
                        chronicle.note("connected")
                    },
                    text: { text, socket in
                        chronicle.note(text)
                        try await socket.send(text)
                    }
                )
            }
        )
        let client = try await TestClient.knock(worker.port, "/ws/", headers: "Sec-WebSocket-Protocol: a, b\r\n")
        let head = try #require(await client.head())
        #expect(head.hasPrefix("HTTP/1.1 101 "))
        #expect(head.contains("Sec-WebSocket-Protocol: b\r\n"))
        #expect(head.contains("X-Served-By: test\r\n"))
        #expect(try await client.frame()?.text == "early")
        try await client.write(ClientFrame.text("question"))
        try await eventually { try await worker.health().counters.messagesIn == 1 }
        #expect(chronicle.all.isEmpty)
        gate.open()
        #expect(try await client.frame()?.text == "question")
        #expect(chronicle.all == ["connected", "question"])
        try await place.stop()
    }

    @Test func `what is sent before the acceptance is bounded, one message alone fits, and the rest is counted`()
        async throws
    {
        let place = try await Place.start()
        var limits = WorkerLimits()
        limits.outgoingBytes = 100_000
        let worker = try await place.worker(
            "only",
            limits,
            router: .serving { request, _ in
                Scripted(connected: { socket in
                    let large = String(repeating: "x", count: 150_000)
                    try await socket.send(large)
                    if request.rawQuery == "two" { try await socket.send(large) }
                })
            }
        )
        let one = try await TestClient.open(worker.port, "/ws/")
        #expect(try await one.frame()?.text.utf8.count == 150_000)
        try await one.write(ClientFrame.text("question"))
        #expect(try await one.frame()?.text == "question")
        #expect(try await worker.health().counters.outgoingOverflow == 0)
        let two = try await TestClient.open(worker.port, "/ws/?two")
        #expect(try await two.frame()?.text.utf8.count == 150_000)
        #expect(try await two.frame()?.closeCode == 1_013)
        #expect(try await worker.health().counters.outgoingOverflow == 1)
        try await eventually { try await place.drops("link_overflow") == 1 }
        try await place.stop()
    }

    @Test func `connect may refuse with a status and a body, and a failure in it is a 500 or a close`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            router: .serving("/ws/<how>") { _, context in
                let how = try context.captures.string("how")
                if how == "maker" { throw Denial(.init(code: 402), "pay", reason: "unpaid") }
                return Scripted(
                    groups: ["g"],
                    connected: { socket in
                        switch how {
                        case "deny": throw Denial(try .json(.forbidden, ["error": "no"]), reason: "rules")
                        case "throw": throw Mishap()
                        case "late":
                            socket.accept()
                            throw Mishap()
                        case "latedeny":
                            socket.accept()
                            throw Denial(.forbidden, "too late")
                        default: socket.close(4_004, reason: "no such room")
                        }
                    },
                    ended: { code, _, _ in chronicle.note("\(how) \(code.rawValue)") }
                )
            }
        )
        for (how, status, body) in [
            ("maker", 402, "pay\n"), ("deny", 403, #"{"error":"no"}"#),
            ("throw", 500, "Something failed on this side.\n"),
        ] {
            let client = try await TestClient.knock(worker.port, "/ws/\(how)")
            #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 \(status) "), "\(how)")
            #expect(String(decoding: await client.rest(), as: UTF8.self) == body)
        }
        for (how, code) in [("late", 1_011), ("latedeny", 1_011), ("close", 4_004)] {
            let client = try await TestClient.open(worker.port, "/ws/\(how)")
            #expect(try await client.frame()?.closeCode == code, "\(how)")
            try await client.write(ClientFrame.close(1_000))
            #expect(try await client.frame() == nil)
        }
        try await eventually { try await worker.health().sockets == 0 }
        #expect(try await place.members(of: "g", count: 0).isEmpty)
        await chronicle.reach(2)
        #expect(chronicle.all == ["late 1011", "latedeny 1011"])
        let counters = try await worker.health().counters
        #expect(counters.refusals == ["unpaid": 1, "rules": 1, "failed": 1])
        #expect(counters.handlerFailures == 2)
        try await place.stop()
    }

    @Test func `a handler that throws closes with 1011, disconnect runs, the groups are left, others go on`()
        async throws
    {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            router: .serving { request, _ in
                let name = request.rawQuery
                return Scripted(
                    groups: ["g"],
                    text: { text, socket in
                        if text == "throw" { throw Mishap() }
                        chronicle.note("\(name) \(text)")
                        try await socket.send(text)
                    },
                    ended: { code, reason, socket in
                        do { try await socket.send("too late") } catch is SocketClosed {
                            chronicle.note("\(name) closed")
                        }
                        try await gate.pass()
                        chronicle.note("\(name) ended \(code.rawValue) \(reason)")
                        throw Mishap()
                    }
                )
            }
        )
        let failing = try await TestClient.open(worker.port, "/ws/?failing")
        let other = try await TestClient.open(worker.port, "/ws/?other")
        let texts = ["one", "throw", "never"].map { ClientFrame.text($0) }
        try await failing.write(Array(texts.joined()))
        #expect(try await failing.frame()?.text == "one")
        #expect(try await failing.frame()?.closeCode == 1_011)
        // Its last handler still runs, so it is still in its group.
        #expect(try await place.members(of: "g", count: 2).count == 2)
        gate.open()
        #expect(try await place.members(of: "g", count: 1).count == 1)
        try await other.write(ClientFrame.text("still here"))
        #expect(try await other.frame()?.text == "still here")
        #expect(chronicle.all == ["failing one", "failing closed", "failing ended 1011 ", "other still here"])
        #expect(try await worker.health().counters.handlerFailures == 2)
        try await place.stop()
    }

    @Test func `disconnect is told the code and the reason, once`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(
                    text: { _, socket in socket.close(4_321, reason: "enough") },
                    ended: { code, reason, _ in chronicle.note("\(code.rawValue) \(reason)") }
                )
            }
        )
        let polite = try await TestClient.open(worker.port, "/ws/")
        try await polite.write(ClientFrame.close(4_000, Array("bye".utf8)) + ClientFrame.close(4_001))
        #expect(try await polite.frame()?.closeCode == 4_000)
        await chronicle.reach(1)
        let mute = try await TestClient.open(worker.port, "/ws/")
        try await mute.write(ClientFrame.bytes(first: 0x88, []))
        #expect(try await mute.frame()?.closeCode == 1_005)
        await chronicle.reach(2)
        await (try await TestClient.open(worker.port, "/ws/")).close()
        await chronicle.reach(3)
        let violator = try await TestClient.open(worker.port, "/ws/")
        try await violator.write([0xff, 0xff])
        #expect(try await violator.frame()?.closeCode == 1_002)
        await violator.close()
        await chronicle.reach(4)
        let closed = try await TestClient.open(worker.port, "/ws/")
        try await closed.write(ClientFrame.text(""))
        let frame = try await closed.frame()
        #expect(frame?.closeCode == 4_321)
        #expect(frame?.closeReason == "enough")
        try await closed.write(ClientFrame.close(4_321))
        #expect(try await closed.frame() == nil)
        await chronicle.reach(5)
        try await eventually { try await worker.health().sockets == 0 }
        #expect(chronicle.all == ["4000 bye", "1005 ", "1006 ", "1002 ", "4321 "])
        try await place.stop()
    }

    @Test func `events are handled one at a time in order, and several at once when asked for`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        let gate = Gate()
        var router = Router()
        router.webSocket("/one/") { _, _ in
            Scripted(
                text: { text, socket in
                    chronicle.note("begin \(text)")
                    for _ in 0..<Int.random(in: 0..<20) { await Task.yield() }
                    chronicle.note("end \(text)")
                },
                ended: { _, _, _ in chronicle.note("bye") }
            )
        }
        router.webSocket("/many/") { _, _ in
            ScriptedConsumer<Parallel>(
                text: { text, socket in
                    chronicle.note("begin \(text)")
                    if text == "last" { gate.open() }
                    try await gate.pass()
                },
                ended: { _, _, _ in chronicle.note("bye") }
            )
        }
        let worker = try await place.worker("only", router: router)
        let one = try await TestClient.open(worker.port, "/one/")
        let names = (0..<200).map(String.init)
        for name in names { try await one.write(ClientFrame.text(name)) }
        try await one.write(ClientFrame.close(1_000))
        let serial = await chronicle.reach(401)
        #expect(serial == names.flatMap { ["begin \($0)", "end \($0)"] } + ["bye"])
        let many = try await TestClient.open(worker.port, "/many/")
        // Each of the first two waits for the third.
        try await many.write(["a", "b", "last"].flatMap { ClientFrame.text($0) } + ClientFrame.close(1_000))
        let parallel = await chronicle.reach(405)[401...]
        #expect(Set(parallel) == ["begin a", "begin b", "begin last", "bye"])
        #expect(parallel.last == "bye")
        try await place.stop()
    }

    @Test func `empty messages go both ways, as text and as bytes`() async throws {
        let place = try await Place.start()
        let worker = try await place.worker("only", router: .serving { _, _ in Scripted() })
        let client = try await TestClient.open(worker.port, "/ws/")
        try await client.write(
            ClientFrame.text("") + ClientFrame.bytes(first: 0x82, []) + ClientFrame.bytes(first: 0x82, [0, 255])
        )
        for (opcode, payload) in [(1, []), (2, []), (2, [0, 255])] as [(UInt8, [UInt8])] {
            let frame = try #require(try await client.frame())
            #expect(frame.opcode == opcode)
            #expect(frame.payload == payload)
        }
        try await place.stop()
    }

    @Test func `a consumer that takes no text or no bytes says so`() async throws {
        struct Deaf: Consumer {}
        let place = try await Place.start()
        let worker = try await place.worker("only", router: .serving { _, _ in Deaf() })
        for frame in [ClientFrame.text("a"), ClientFrame.bytes(first: 0x82, [])] {
            let client = try await TestClient.open(worker.port, "/ws/")
            try await client.write(frame)
            #expect(try await client.frame()?.closeCode == 1_003)
        }
        try await place.stop()
    }

    @Test func `JSON that is none, or not what is expected, is answered by the consumer or closes with 1007`()
        async throws
    {
        struct Strict: JSONConsumer {
            func receiveJSON(_ message: Line, from socket: WebSocket) async throws {
                try await socket.sendJSON(["heard": message.text])
            }
        }
        struct Patient: JSONConsumer {
            func receiveJSON(_ message: Line, from socket: WebSocket) async throws {
                try await socket.sendJSON(["heard": message.text])
            }
            func receiveInvalid(_ error: any Error, from socket: WebSocket) async throws {
                try await socket.sendJSON(["error": "what?"])
            }
        }
        let place = try await Place.start()
        var router = Router()
        router.webSocket("/strict/") { _, _ in Strict() }
        router.webSocket("/patient/") { _, _ in Patient() }
        let worker = try await place.worker("only", router: router)
        let patient = try await TestClient.open(worker.port, "/patient/")
        for (text, answer) in [
            (#"{"text":"a"}"#, #"{"heard":"a"}"#), ("", #"{"error":"what?"}"#), ("{", #"{"error":"what?"}"#),
            (#"{"text":1}"#, #"{"error":"what?"}"#), (#"{"text":"b","more":[]}"#, #"{"heard":"b"}"#),
        ] {
            try await patient.write(ClientFrame.text(text))
            #expect(try await patient.frame()?.text == answer)
        }
        let strict = try await TestClient.open(worker.port, "/strict/")
        try await strict.write(ClientFrame.text("nonsense"))
        #expect(try await strict.frame()?.closeCode == 1_007)
        #expect(try await worker.health().counters.invalidMessages == 4)
        try await place.stop()
    }

    @Test func `groups are joined and left while the connection lives`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(text: { text, socket in
                    let group = String(text.dropFirst())
                    switch text.first {
                    case "+": try await socket.groupAdd(group)
                    case "-": try await socket.groupDiscard(group)
                    case "?":
                        do { try await socket.groupAdd("no such name!") } catch ChannelLayerError.badName {
                            try await socket.send("bad name")
                        }
                    default:
                        try await socket.layer.groupSend(Line(text: text), type: "line.all", to: String(text.prefix(1)))
                    }
                })
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        for text in ["+a", "+a", "a1", "+b", "b1", "-a", "-a", "a2", "b2", "+a", "a3", "?"] {
            try await client.write(ClientFrame.text(text))
        }
        for expected in ["a1", "b1", "b2", "a3", "bad name"] { #expect(try await client.frame()?.text == expected) }
        #expect(chronicle.all.isEmpty)
        #expect(try await place.members(of: "a", count: 1).count == 1)
        try await client.write(ClientFrame.close(1_000))
        #expect(try await client.frame()?.closeCode == 1_000)
        #expect(try await place.members(of: "a", count: 0).isEmpty)
        try await place.stop()
    }

    @Test func `what is done to a socket after its own close throws`() async throws {
        let place = try await Place.start()
        let chronicle = Chronicle()
        let worker = try await place.worker(
            "only",
            router: .serving { _, _ in
                Scripted(text: { _, socket in
                    try await socket.send("before")
                    socket.close()
                    socket.close(4_000)
                    for act: @Sendable () async throws -> Void in [
                        { try await socket.send("after") }, { try await socket.groupAdd("g") },
                        { try await socket.groupDiscard("g") },
                    ] {
                        do { try await act() } catch { chronicle.note("\(error is SocketClosed)") }
                    }
                })
            }
        )
        let client = try await TestClient.open(worker.port, "/ws/")
        try await client.write(ClientFrame.text(""))
        #expect(try await client.frame()?.text == "before")
        #expect(try await client.frame()?.closeCode == 1_000)
        #expect(await chronicle.reach(3) == ["true", "true", "true"])
        #expect(try await worker.health().counters.handlerFailures == 0)
        try await place.stop()
    }
}
