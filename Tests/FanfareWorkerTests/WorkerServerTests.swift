import FanfareBroker
import FanfareClient
import FanfareModel
import Glibc
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import FanfareWorker

/// Real workers on real sockets with a real broker.
@Suite(.timeLimit(.minutes(2))) struct WorkerServerTests {
    @Test func `a room spans workers, in order, and other rooms hear nothing`() async throws {
        let place = try await Place.start()
        let first = try await place.worker("first")
        let second = try await place.worker("second")
        let stranger = try await TestClient.open(second.port, "/ws/chat/other/?hello=1")
        #expect(try await stranger.frame()?.json?["room"] == "other")
        let each = 2_000
        // Both are members before anybody speaks.
        let left = try await Speaker.enter(first.port, "first")
        let right = try await Speaker.enter(second.port, "second")
        async let leftHeard = left.exchange(each, name: "l")
        async let rightHeard = right.exchange(each, name: "r")
        let heard = try await [leftHeard, rightHeard]
        #expect(heard[0].count == 2 * each)
        #expect(heard[0] == heard[1])
        for name in ["l", "r"] {
            #expect(heard[0].filter { $0.hasPrefix(name) } == (0..<each).map { "\(name)\($0)" })
        }
        try await stranger.say("own")
        #expect(try await stranger.messages(1) == ["own"])
        #expect(try await first.health().counters.messagesIn == UInt64(each))
        try await place.stop()
    }

    @Test func `a frame sent in one segment with the handshake is not lost`() async throws {
        let place = try await Place.start()
        let worker = try await place.worker("only")
        for _ in 0..<20 {
            let client = try await TestClient.open(
                worker.port,
                "/ws/chat/a/?hello=1",
                first: ClientFrame.text(#"{"message":"early"}"#)
            )
            #expect(try await client.frame()?.json?["type"] == "hello")
            #expect(try await client.frame()?.message == "early")
            // Closing alone: the next one must not hear this one.
            try await client.write(ClientFrame.close(1_000))
            #expect(try await client.frame()?.closeCode == 1_000)
            #expect(try await client.frame() == nil)
        }
        try await place.stop()
    }

    @Test func `what comes behind a handshake arrives once and in order, wherever the stream is cut`() async throws {
        let place = try await Place.start()
        let worker = try await place.worker("only")
        let handshake = Array(TestClient.handshake("/ws/chat/a/?hello=1").utf8)
        let frames = (0..<4).flatMap { ClientFrame.text(#"{"message":"\#($0)"}"#) }
        let stream = handshake + frames
        for cut in [1, handshake.count - 1] + Array(handshake.count..<stream.count) {
            let client = try await TestClient.connect(worker.port)
            try await client.write(Array(stream[..<cut]))
            // The loop has its turn in between.
            _ = try await worker.health()
            try await client.write(Array(stream[cut...]) + ClientFrame.text(#"{"message":"last"}"#))
            #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 101 "))
            #expect(try await client.frame()?.json?["type"] == "hello")
            #expect(try await client.messages(5) == ["0", "1", "2", "3", "last"])
            try await client.write(ClientFrame.close(1_000))
            #expect(try await client.frame()?.closeCode == 1_000)
            #expect(try await client.frame() == nil)
        }
        try await place.stop()
    }

    @Test func `a descriptor that cannot listen is refused`() async throws {
        var pair: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair) == 0)
        var configuration = WorkerServer.Configuration()
        configuration.listenDescriptor = pair[0]
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        let failure = await #expect(throws: ProgramFailure.self) {
            try await WorkerServer.start(configuration, router: .chat, logger: logger)
        }
        #expect(failure?.exit == .configuration)
        for descriptor in pair { close(descriptor) }
    }

    @Test func `a program is given what its worker has counted, by itself`() async throws {
        let place = try await Place.start()
        let (told, continuation) = AsyncStream.makeStream(of: WorkerHealth.self)
        var configuration = WorkerServer.Configuration()
        configuration.name = "counted"
        configuration.listenPort = 0
        configuration.brokers = [place.endpoint]
        configuration.onHealth = { continuation.yield($0) }
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        let worker = try await WorkerServer.start(configuration, router: .chat, logger: logger)
        let client = try await TestClient.open(worker.port, "/ws/chat/a/")
        try await client.say("hello")
        #expect(try await client.messages(1) == ["hello"])
        var last: WorkerHealth?
        for await health in told where health.counters.deliveries == 1 {
            last = health
            break
        }
        #expect(last?.name == "counted" && last?.isConnected == true)
        #expect(last?.socketsByRoute == ["/ws/chat/<str:room>/": 1])
        #expect(last?.counters.messagesIn == 1 && last?.messagesOut == 1)
        await worker.stop(within: Milliseconds(1_000))
        try await place.stop()
    }

    @Test func `a restarted broker closes no socket and finds each membership once`() async throws {
        let place = try await Place.start()
        var limits = WorkerLimits()
        limits.sendsWait = Milliseconds(120_000)
        let worker = try await place.worker("only", limits)
        var clients: [TestClient] = []
        for _ in 0..<20 {
            let client = try await TestClient.open(worker.port, "/ws/chat/a/?hello=1")
            #expect(try await client.frame()?.json?["type"] == "hello")
            clients.append(client)
        }
        await place.broker.stop(within: Milliseconds(500))
        while try await worker.health().isConnected { await Task.yield() }
        try await clients[0].say("patient")
        let late = try await TestClient.open(worker.port, "/ws/chat/a/")
        let refusal = try await late.frame()
        #expect(refusal?.closeCode == 1_013)
        #expect(refusal?.closeReason == "no broker")
        try await place.restartBroker()
        #expect(try await place.members(of: "chat_a", count: 20).count == 20)
        try await clients[7].say("again")
        for client in clients {
            #expect(try await client.frame()?.json == ["type": "missed", "reason": "reconnected"])
            #expect(try await client.messages(2) == ["patient", "again"])
        }
        #expect(try await worker.health().counters.closes == [1_013: 1])
        try await place.stop()
    }

    @Test func `a client that goes away leaves its group at once`() async throws {
        let place = try await Place.start()
        let worker = try await place.worker("only")
        let stays = try await Speaker.enter(worker.port, "only")
        let goes = try await Speaker.enter(worker.port, "only")
        let members = try await place.members(of: "chat_a", count: 2)
        #expect(members.count == 2)
        await goes.client.close()
        #expect(try await place.members(of: "chat_a", count: 1).count == 1)
        let row = try await place.members(of: "chat_a", count: 1)[0]
        #expect(row["worker"] == "only")
        #expect(row["remote"]?.string?.hasPrefix("127.0.0.1:") == true)
        try await stays.client.say("alone")
        #expect(try await stays.client.messages(1) == ["alone"])
        try await place.stop()
    }

    @Test func `a client that does not read is closed with 1013, the others get everything in order`() async throws {
        let place = try await Place.start()
        var limits = WorkerLimits()
        limits.outgoingBytes = 262_144
        limits.closeWithin = Milliseconds(100_000)
        let worker = try await place.worker("only", limits)
        let reader = try await Speaker.enter(worker.port, "only")
        let stalled = try await TestClient.open(worker.port, "/ws/chat/a/", receiveBytes: 4_096)
        _ = try await place.members(of: "chat_a", count: 2)
        let text = String(repeating: "x", count: 20_000)
        let count = 600
        for index in 0..<count {
            try await reader.client.say("\(index) \(text)")
            #expect(try await reader.client.messages(1) == ["\(index) \(text)"])
        }
        #expect(try await worker.health().counters.closes == [1_013: 1])
        _ = try await place.members(of: "chat_a", count: 1)
        // What the stalled one gets when it wakes up is a whole prefix, then the reason.
        try await stalled.readOn()
        #expect(await stalled.head()?.hasPrefix("HTTP/1.1 101 ") == true)
        var expected = 0
        var last: ReceivedFrame?
        while let frame = try await stalled.frame() {
            last = frame
            guard let message = frame.message else { break }
            #expect(message == "\(expected) \(text)")
            expected += 1
        }
        #expect(expected > 0 && expected < count)
        #expect(last?.closeCode == 1_013)
        try await place.stop()
    }

    @Test(
        "What breaks the rules is closed with its code and troubles nobody else",
        arguments: [
            (ClientFrame.bytes(first: 0x81, [65], masked: false), 1_002),
            (ClientFrame.bytes(first: 0xc1, [65]), 1_002),
            (ClientFrame.bytes(first: 0x81, [0xff]), 1_007),
            ([0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4], 1_009),
            (ClientFrame.bytes(first: 0x82, [1]), 1_003),
            (ClientFrame.close(1_000), 1_000),
            (ClientFrame.bytes(first: 0x88, []), 1_005),
            (ClientFrame.close(1_005), 1_002),
        ]
    )
    func violation(bytes: [UInt8], code: Int) async throws {
        let place = try await Place.start()
        let worker = try await place.worker("only")
        let other = try await Speaker.enter(worker.port, "only")
        let client = try await TestClient.open(worker.port, "/ws/chat/b/")
        try await client.write(bytes + [UInt8](repeating: 0x55, count: 5_000))
        #expect(try await client.frame()?.closeCode == code)
        await client.close()
        try await other.client.say("fine")
        #expect(try await other.client.messages(1) == ["fine"])
        try await place.stop()
    }

    @Test(
        "Requests that are no handshake are answered and closed",
        arguments: [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "200"), ("GET /chat/lobby/ HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
            ("GET /chat/lobby HTTP/1.1\r\nHost: a\r\n\r\n", "308"), ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "405"),
            ("GET /ws/chat/a/ HTTP/1.1\r\nHost: a\r\n\r\n", "426"), ("nonsense\r\n\r\n", "400"),
            (
                "GET /ws/chat/a/ HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "403"
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "x", count: 20_000) + "\r\n\r\n", "400"),
            (
                "GET / HTTP/1.1\r\nHost: a\r\n" + (0..<120).map { "X\($0): y\r\n" }.joined() + "\r\n", "400"
            ),
        ]
    )
    func refusal(request: String, status: String) async throws {
        let worker = try await Place.lonelyWorker()
        let client = try await TestClient.connect(worker.port)
        try await client.write(Array(request.utf8))
        let head = try #require(await client.head())
        #expect(head.hasPrefix("HTTP/1.1 \(status) "), "\(head)")
        _ = await client.rest()
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `HEAD has the headers of GET and no body`() async throws {
        let worker = try await Place.lonelyWorker()
        let client = try await TestClient.connect(worker.port)
        try await client.write(Array("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
        let head = try #require(await client.head())
        #expect(head.lowercased().contains("content-length: \(PackageResources.index_html.count)\r\n"))
        #expect(await client.rest().isEmpty)
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `a connection that never finishes its request is closed`() async throws {
        var limits = WorkerLimits()
        limits.handshakeWithin = Milliseconds(1_000)
        let worker = try await Place.lonelyWorker(limits)
        let client = try await TestClient.connect(worker.port)
        // On a busy machine the deadline may come first.
        try? await client.write(Array("GET / HTTP/1.1\r\nHost:".utf8))
        #expect(await client.rest().isEmpty)
        #expect(try await worker.health().counters.handshakesDropped == 1)
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `connections that say nothing are closed, and who leaves without a word leaves nothing`() async throws {
        var limits = WorkerLimits()
        limits.handshakeWithin = Milliseconds(1_000)
        let worker = try await Place.lonelyWorker(limits)
        // More than are closed in one turn.
        var silent: [TestClient] = []
        for _ in 0..<10 { silent.append(try await TestClient.connect(worker.port)) }
        for client in silent { #expect(await client.rest().isEmpty) }
        #expect(try await worker.health().counters.handshakesDropped == 10)
        try await TestClient.connect(worker.port).close()
        try await eventually { try await worker.health().handshakes == 0 }
        #expect(try await worker.health().counters.handshakesDropped == 10)
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `a stopping worker closes who has said nothing yet`() async throws {
        let worker = try await Place.lonelyWorker()
        let silent = try await TestClient.connect(worker.port)
        try await eventually { try await worker.health().handshakes == 1 }
        await worker.stop(within: Milliseconds(60_000))
        #expect(await silent.rest().isEmpty)
    }

    @Test func `sockets over the limit are refused with 503`() async throws {
        let place = try await Place.start()
        var limits = WorkerLimits()
        limits.sockets = 1
        let worker = try await place.worker("only", limits)
        let first = try await Speaker.enter(worker.port, "only")
        let second = try await TestClient.connect(worker.port)
        try await second.write(Array(TestClient.handshake("/ws/chat/a/").utf8))
        #expect(try #require(await second.head()).hasPrefix("HTTP/1.1 503 "))
        try await first.client.say("still here")
        #expect(try await first.client.messages(1) == ["still here"])
        try await place.stop()
    }

    @Test func `workers share a port, and a port that is not shared is a failure of one line`() async throws {
        let first = try await Place.lonelyWorker()
        let second = try await Place.lonelyWorker(port: first.port)
        #expect(second.port == first.port)
        await second.stop(within: Milliseconds(200))
        await first.stop(within: Milliseconds(200))
        let taken = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(taken.localAddress?.port)
        let failure = await #expect(throws: ProgramFailure.self) { try await Place.lonelyWorker(port: port) }
        #expect(failure?.exit == .configuration)
        #expect(failure?.text.contains("127.0.0.1:\(port)") == true)
        #expect(failure?.text.contains("\n") == false)
        try await taken.close()
    }

    @Test func `stopping tells the sockets, the broker and comes back`() async throws {
        let place = try await Place.start()
        let worker = try await place.worker("only")
        let polite = try await Speaker.enter(worker.port, "only")
        let silent = try await Speaker.enter(worker.port, "only")
        async let stopped: Void = worker.stop(within: Milliseconds(300))
        #expect(try await polite.client.frame()?.closeCode == 1_001)
        try await polite.client.write(ClientFrame.close(1_001))
        #expect(try await silent.client.frame()?.closeCode == 1_001)
        await stopped
        #expect(await polite.client.rest().isEmpty)
        #expect(try await place.members(of: "chat_a", count: 0).isEmpty)
        await worker.stop(within: Milliseconds(300))
        try await place.stop()
    }
}
