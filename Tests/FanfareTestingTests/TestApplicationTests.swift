import FanfareClient
import FanfareModel
import FanfareTesting
import FanfareWorker
import HTTPTypes
import Synchronization
import Testing

@Suite struct TestApplicationTests {
    private let shop = Shop()

    @Test func `an HTTP request is answered, and reaches sockets through a group`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/ws/chat/lobby/")
        let response = try await app.post("/rooms/lobby", json: ChatMessage(message: "from a page"))
        #expect(response.status == .created)
        #expect(try response.decoded(as: ChatMessage.self) == ChatMessage(message: "from a page"))
        #expect(try await socket.expectJSON(ChatMessage.self) == ChatMessage(message: "from a page"))
        #expect(try await app.get("/nowhere").status == .notFound)
        #expect(try await app.request(.delete, "/rooms/lobby").status == .methodNotAllowed)
        #expect(try await app.request(.get, "/address", address: "2001:db8::7").text == "2001:db8::7\n")
        #expect(try await app.get("/broken").status == .internalServerError)
        #expect(try await app.handlerFailures().map(\.consumer) == ["http"])
        #expect(try await app.health().counters.responses == [200: 1, 201: 1, 404: 1, 405: 1, 500: 1])
        await app.stop()
    }

    @Test func `a token is asked for, and ends the connection when it expires`() async throws {
        let app = try await TestApplication(shop.router)
        let token = try Shop.signer.sign(["sub": "anna"])
        let socket = try await app.connect("/members/ws/?token=\(token)")
        #expect(try await app.get("/members/me", headers: [.authorization: "Bearer \(token)"]).text == "anna\n")
        #expect(try await app.expectDenial("/members/ws/").status == .unauthorized)
        #expect(try await app.get("/members/me?token=forged").status == .unauthorized)

        try await app.advance(seconds: 3_500)
        try await socket.expectNothing()
        try await app.advance(seconds: 101)
        #expect(try await socket.expectClose().code == .unauthorized)
        await app.stop()
    }

    @Test func `another process sends to groups and channels, and receives`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/ws/chat/lobby/")
        try await app.layer.groupSend(["type": "chat.message", "message": "from Python"], to: "chat_lobby")
        #expect(try await socket.expectJSON(ChatMessage.self).message == "from Python")
        try await app.layer.send(["type": "chat_message", "message": "you only"], to: socket.channelName)
        #expect(try await socket.expectJSON(ChatMessage.self).message == "you only")
        let other = try await ChannelLayer.embedded(.init(name: "other"), with: app.broker)
        let channel = other.newChannel()
        try await other.groupAdd(channel, to: "chat_lobby")
        try await socket.send("hello")
        #expect(try await other.receive(from: channel)["message"] == "hello")
        #expect(try await app.members(of: "chat_lobby") == [channel, socket.channelName].sorted())
        await other.close()
        await app.stop()
    }

    @Test func `a background worker does what consumers leave for it, and nothing passes it by`() async throws {
        let app = try await TestApplication(shop.router)
        let (gate, socket) = (shop.gate, try await app.connect("/puppet/ws/"))
        struct Job: Decodable {
            var channel: String
        }
        let worker = BackgroundWorker(layer: app.layer) {
            $0.channel("jobs") { (job: Job, context: BackgroundContext) in
                try await gate.pass()
                try await context.layer.send(["type": "job.done", "what": "thumbnail"], to: job.channel)
            }
        }
        try await app.start(worker)
        try await socket.expectNothing()
        try await socket.send("job")
        let failure = await #expect(throws: TestFailure.self) {
            gate.openLater()
            try await socket.expectNothing()
        }
        #expect(failure?.description.contains(#"but got the text "done: thumbnail""#) == true)
        #expect(try await socket.expectText() == "done: thumbnail")
        try await app.settle()
        #expect(worker.health["jobs"]?.succeeded == 1)
        await app.stop()
    }

    @Test func `connections survive a restart of the broker`() async throws {
        let app = try await TestApplication(shop.router, workers: 2)
        let anna = try await app.connect("/ws/chat/lobby/")
        let bert = try await app.connect("/ws/chat/lobby/", worker: 1)
        try await app.restartBroker()
        #expect(try await app.members(of: "chat_lobby") == [anna.channelName, bert.channelName].sorted())
        try await anna.send("still here")
        #expect(try await bert.expectJSON(ChatMessage.self).message == "still here")
        #expect(try await app.health(worker: 1).counters.links == 2)
        await app.stop()
    }

    @Test func `nobody notices that the links to the broker break`() async throws {
        let app = try await TestApplication(shop.router, workers: 2)
        let anna = try await app.connect("/ws/chat/lobby/")
        let bert = try await app.connect("/ws/chat/lobby/", worker: 1)
        for number in 0..<3 {
            try await anna.send("before \(number)")
            try await app.breakLinks()
            #expect(try await bert.expectJSON(ChatMessage.self).message == "before \(number)")
            try await anna.send("after \(number)")
            #expect(try await bert.expectJSON(ChatMessage.self).message == "after \(number)")
        }
        try await bert.expectNothing()
        #expect(try await app.members(of: "chat_lobby") == [anna.channelName, bert.channelName].sorted())
        await app.stop()
    }

    @Test func `clients answer pings, and a silent one may be too silent for a limit`() async throws {
        var configuration = Worker.Configuration()
        configuration.limits.idle = Milliseconds(600_000)
        let app = try await TestApplication(shop.router, configuration: configuration)
        let socket = try await app.connect("/puppet/ws/")
        try await app.advance(seconds: 599)
        try await socket.expectNothing()
        try await app.advance(seconds: 2)
        #expect(try await socket.expectClose().code == .timeout)
        await app.stop()
    }

    @Test func `a consumer of a closed connection is not kept`() async throws {
        final class Witness: Sendable {}
        struct Guest: Consumer { let witness: Witness }
        let made = Mutex<[Weak<Witness>]>([])
        var router = Router()
        router.webSocket("/ws/") { _, _ in
            let witness = Witness()
            made.withLock { $0.append(Weak(witness)) }
            return Guest(witness: witness)
        }
        let app = try await TestApplication(router)
        for _ in 0..<3 {
            let socket = try await app.connect("/ws/")
            try await socket.disconnect()
        }
        try await app.settle()
        #expect(made.withLock { $0.count } == 3)
        #expect(made.withLock { $0.count { $0.value != nil } } == 0)
        await app.stop()
    }

    @Test func `a consumer is told of each time the broker forgot everything, once`() async throws {
        struct Listener: Consumer {
            var groups: [String] { ["news"] }

            func missed(_ missed: Missed, from socket: WebSocket) async throws {
                try await socket.send("missed \(missed.count.map { "\($0)" } ?? "some"): \(missed.reason)")
            }
        }
        var router = Router()
        router.webSocket("/ws/") { _, _ in Listener() }
        let app = try await TestApplication(router)
        let socket = try await app.connect("/ws/")
        for _ in 0..<2 {
            try await app.restartBroker()
            #expect(try await socket.expectText() == "missed some: reconnected")
            try await socket.expectNothing()
        }
        #expect(try await app.members(of: "news").count == 1)
        await app.stop()
    }

    @Test func `stopping cancels handlers that do not return`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        try await socket.send("slow")
        app.timeout = .milliseconds(50)
        await app.stop()
        #expect(try await socket.expectClose().code == .goingAway)
        await #expect(throws: TestFailure.self) { try await socket.send("more") }
    }
}

/// Holds a reference that does not keep.
struct Weak<Value: AnyObject & Sendable>: Sendable {
    private let reference: @Sendable () -> Value?

    init(_ value: Value) {
        reference = { [weak value] in value }
    }

    var value: Value? { reference() }
}
