import FanfareModel
import FanfareProtocol
import NIOCore
import NIOEmbedded
import Testing

@testable import FanfareWorker

@Suite struct RelayConsumerTests {
    private static let group = "relay_lobby"

    private func place(_ change: (inout RelayOptions) -> Void = { _ in }) -> (ServiceWorker, RelayOptions) {
        var options = RelayOptions(group: "relay_<room>")
        change(&options)
        return (ServiceWorker(RelayConsumer(options)), options)
    }

    private func enter(_ place: (ServiceWorker, RelayOptions), user: String? = nil) throws -> EmbeddedSocket {
        let seat = RelayConsumer.Seat(group: Self.group, user: user, limits: place.1.limits)
        return try place.0.socket(in: [Self.group], seat)
    }

    @Test func `every frame goes to the whole group, text as text and bytes as bytes`() throws {
        let place = place()
        let (a, b) = (try enter(place), try enter(place))
        try a.receive(ClientFrame.text("hello"))
        try a.receive(ClientFrame.text(""))
        try a.receive(ClientFrame.bytes(first: 0x82, [0, 255]))
        try place.0.deliver()
        for socket in [a, b] {
            let frames = try socket.frames()
            #expect(frames.map(\.opcode) == [1, 1, 2])
            #expect(frames.map(\.payload) == [Array("hello".utf8), [], [0, 255]])
        }
    }

    @Test func `in the group a message has a type, its content and its sender`() throws {
        let place = place()
        let socket = try enter(place)
        try socket.receive(ClientFrame.text("a"))
        try socket.receive(ClientFrame.bytes(first: 0x82, [1]))
        let from = MessageValue.string(socket.socket.channelName)
        let published = try place.0.published()
        #expect(published.map(\.group) == [Self.group, Self.group])
        #expect(published.map(\.exclude) == [[], []])
        #expect(
            published.map(\.message) == [
                ["type": "relay.text", "text": "a", "from": from],
                ["type": "relay.binary", "bytes": .binary([1]), "from": from],
            ]
        )
    }

    @Test func `without echo the others hear it and the sender does not`() throws {
        let place = place { $0.echo = false }
        let (a, b) = (try enter(place), try enter(place))
        try a.receive(ClientFrame.text("one"))
        #expect(try place.0.published().map(\.exclude) == [[a.socket.channelName]])
        try b.receive(ClientFrame.text("two"))
        try place.0.deliver()
        #expect(try a.texts() == ["two"])
        #expect(try b.texts() == [])
        // Left out is somebody of another worker: nobody here.
        place.0.receive(["type": "relay.text", "text": "three"], in: Self.group, exclude: ["ws.other!1"])
        place.0.endBurst()
        #expect(try a.texts() == ["three"])
        #expect(try b.texts() == ["three"])
    }

    @Test func `other senders reach the clients, and what is no relay message is counted`() throws {
        let place = place()
        let socket = try enter(place)
        place.0.receive(["type": "relay_text", "text": "from Django"], in: Self.group)
        for strange in [
            ["type": "chat.message", "message": "a"], ["type": "relay.text"], ["type": "relay.text", "text": 1],
            ["type": "relay.binary", "bytes": "text"], ["text": "a"], "text", .null,
        ] as [MessageValue] {
            place.0.receive(strange, in: Self.group)
        }
        place.0.endBurst()
        #expect(try socket.texts() == ["from Django"])
        #expect(place.0.worker.counters.undecodable == 7)
        #expect(socket.socket.state == .open)
    }

    @Test func `a message over the limit closes with 1009 and goes nowhere`() throws {
        let place = place { $0.limits.messageBytes = 3 }
        let (a, b) = (try enter(place), try enter(place))
        try a.receive(ClientFrame.text("abc"))
        try b.receive(ClientFrame.bytes(first: 0x82, [1, 2, 3, 4]))
        #expect(try b.closeCode() == 1_009)
        #expect(try place.0.published().count == 1)
        #expect(place.0.worker.counters.refusals == ["message_bytes": 1])
        #expect(a.socket.state == .open)
    }

    @Test(arguments: ClientLimits.RatePolicy.allCases)
    func `beyond the rate the policy decides, for this client alone`(policy: ClientLimits.RatePolicy) throws {
        let rate = try RateLimit(2, perSeconds: 60)
        let place = place {
            $0.limits.rate = rate
            $0.limits.ratePolicy = policy
        }
        let (a, b) = (try enter(place), try enter(place))
        for number in 0..<4 { try a.receive(ClientFrame.text("a\(number)")) }
        try b.receive(ClientFrame.text("b"))
        #expect(try place.0.published().map { $0.message["text"] } == ["a0", "a1", "b"])
        let isClosed = policy == .close
        #expect(try a.closeCode() == (isClosed ? 1_008 : nil))
        #expect(place.0.worker.counters.refusals == ["message_rate": isClosed ? 1 : 2])
        place.0.loop.advanceTime(by: .seconds(60))
        try a.receive(ClientFrame.text("later"))
        #expect(try place.0.published().count == (isClosed ? 0 : 1))
    }

    @Test func `members are told who comes and who leaves, and each who it is itself`() throws {
        let place = place { $0.presence = true }
        let a = try enter(place, user: "7")
        let (aID, welcome) = (a.socket.channelName, try a.frames().map(\.json))
        #expect(welcome == [["type": "presence", "event": "welcome", "id": .string(aID), "user": "7"]])
        try place.0.deliver()
        #expect(try a.frames().isEmpty)
        let b = try enter(place)
        let bID = MessageValue.string(b.socket.channelName)
        try place.0.deliver()
        #expect(try a.frames().map(\.json) == [["type": "presence", "event": "join", "id": bID]])
        #expect(try b.frames().map { $0.json?["event"] } == ["welcome"])
        try b.receive(ClientFrame.close(1_000))
        try place.0.deliver()
        #expect(try a.frames().map(\.json) == [["type": "presence", "event": "leave", "id": bID]])
    }

    @Test func `notices of a group are not for routes without presence`() throws {
        let place = place()
        let socket = try enter(place)
        #expect(try place.0.published().isEmpty)
        place.0.receive(["type": "relay.presence", "event": "join", "id": "x"], in: Self.group)
        place.0.endBurst()
        #expect(try socket.frames().isEmpty)
        #expect(place.0.worker.counters.undecodable == 0)
    }

    @Test func `without a broker a message is lost, counted, and costs nobody the connection`() throws {
        let place = place()
        let socket = try enter(place)
        place.0.broker.isReachable = false
        try socket.receive(ClientFrame.text("lost"))
        #expect(place.0.worker.counters.messagesRefused == 1)
        #expect(socket.socket.state == .open)
        #expect(try socket.frames().isEmpty)
    }
}
