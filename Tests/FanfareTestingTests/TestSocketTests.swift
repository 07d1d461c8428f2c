import FanfareTesting
import FanfareWorker
import HTTPTypes
import Testing

/// Tests as a user of the harness writes them.
@Suite struct TestSocketTests {
    private let shop = Shop()

    @Test func `what one member of a room says reaches all members on all workers`() async throws {
        let app = try await TestApplication(shop.router, workers: 2)
        let anna = try await app.connect("/ws/chat/lobby/")
        let bert = try await app.connect("/ws/chat/lobby/", worker: 1)
        let other = try await app.connect("/ws/chat/kitchen/", worker: 1)

        try await anna.send("hello")
        #expect(try await anna.expectJSON(ChatMessage.self) == ChatMessage(message: "hello"))
        #expect(try await bert.expectText() == #"{"message":"hello"}"#)
        try await other.expectNothing()

        #expect(try await app.members(of: "chat_lobby") == [anna.channelName, bert.channelName].sorted())
        try await anna.disconnect(code: .goingAway, reason: "bye")
        #expect(shop.notes.all == ["lobby left with 1001 bye"])
        #expect(try await app.members(of: "chat_lobby") == [bert.channelName])
        await app.stop()
        let left = ["kitchen left with 1001 ", "lobby left with 1001 ", "lobby left with 1001 bye"]
        #expect(shop.notes.all.sorted() == left)
    }

    @Test func `JSON goes in and comes out as values`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/ws/add/")
        try await socket.sendJSON(Adder.Incoming(numbers: [1, 2, 3]))
        #expect(try await socket.expectJSON() == Adder.Sum(sum: 6))
        try await socket.send("no JSON")
        let (code, _) = try await socket.expectClose()
        #expect(code == .invalidPayload)
        #expect(try await app.health().counters.invalidMessages == 1)
        await app.stop()
    }

    @Test func `binary messages keep their bytes, whatever their length`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        for count in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
            try await socket.send(bytes)
            #expect(try await socket.expectBinary() == bytes.reversed())
        }
        await app.stop()
    }

    @Test func `a subprotocol and headers come with the acceptance`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/", subprotocols: ["chat.v1", "chat.v2"])
        #expect(socket.subprotocol == "chat.v2")
        #expect(socket.responseHeaders[HTTPField.Name("X-Served-By")!] == "puppet")
        let plain = try await app.connect("/puppet/ws/")
        #expect(plain.subprotocol == nil)
        await app.stop()
    }

    @Test func `a refusal is an answer that can be read, and is counted`() async throws {
        let app = try await TestApplication(shop.router)
        let denial = try await app.expectDenial("/ws/chat/secret/")
        #expect(denial.status == .forbidden)
        #expect(denial.text == "This room is closed.\n")
        #expect(try await app.expectDenial("/ws/nowhere/").status == .notFound)
        #expect(try await app.expectDenial("/ws/chat/lobby/", origin: "https://evil.example").status == .forbidden)
        #expect(try await app.health().counters.refusals == ["closed_room": 1, "no_route": 1, "origin": 1])
        #expect(try await app.members(of: "chat_secret") == [])
        await app.stop()
    }

    @Test func `a handler that throws closes its connection with 1011 and no other`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        let other = try await app.connect("/puppet/ws/")
        try await socket.send("throw")
        let (code, reason) = try await socket.expectClose()
        #expect(code == .internalError)
        #expect(reason == "the server failed")
        try await other.expectNothing()
        let failures = try await app.handlerFailures()
        #expect(failures.map(\.consumer) == ["Puppet"])
        #expect(failures.first?.error is Puppet.Oops)
        #expect(try await app.health().counters.handlerFailures == 1)
        await app.stop()
    }

    @Test func `a close of the consumer is read with its code and reason, after what was sent before`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        try await socket.send([1, 2])
        try await socket.send("close")
        #expect(try await socket.expectBinary() == [2, 1])
        let (code, reason) = try await socket.expectClose()
        #expect(code == 4_001)
        #expect(reason == "as you wish")
        try await socket.expectNothing()
        await app.stop()
    }

    @Test func `groups joined and left by a handler are seen`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        try await socket.send("join")
        #expect(try await app.members(of: "crowd") == [socket.channelName])
        try await socket.send("leave")
        #expect(try await app.members(of: "crowd") == [])
        await app.stop()
    }

    @Test func `a connection that breaks is no polite end`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/ws/chat/lobby/")
        try await socket.cut()
        #expect(shop.notes.all == ["lobby left with 1006 "])
        #expect(try await app.members(of: "chat_lobby") == [])
        await app.stop()
    }

    @Test func `messages wait for their handlers, also beyond what a consumer reads ahead`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        try await socket.send("slow")
        let numbers = (0..<100).map { "\($0)" }
        for number in numbers { try await socket.send(number) }
        #expect(shop.notes.all == [])
        shop.gate.open()
        #expect(try await socket.expectText() == "late")
        try await socket.expectNothing()
        #expect(shop.notes.all == numbers)
        await app.stop()
    }
}
