import FanfareModel
import FanfareProtocol
import Testing

@testable import FanfareWorker

@Suite struct WorkerLinkTests {
    @Test func `sockets of one turn are declared together and opened by the acknowledgement`() throws {
        let run = EmbeddedWorker()
        run.connect()
        run.broker.acknowledges = false
        let first = try run.socket("a", wantsHello: true)
        let second = try run.socket("a")
        run.turn()
        #expect(run.broker.requests.count == 2)
        guard case .openChannels(nil, let opened) = run.broker.requests[0] else { throw Unexpected() }
        #expect(opened.map(\.name) == ["ws.node!1", "ws.node!2"])
        #expect(opened[0].attributes == ["remote": "127.0.0.1:9", "consumer": "chat", "path": "/ws/x/a/"])
        #expect(
            run.broker.requests[1] == .groupAdd(id: 1, group: "chat_a", channels: opened.map(\.name), groupExpiry: nil)
        )
        run.push(groupMessage("chat_a", "too early"))
        #expect(try first.frames().isEmpty)
        run.broker.answerAll()
        run.push(groupMessage("chat_a", "hi"))
        let frames = try first.frames()
        #expect(
            frames[0].json
                == ["type": "hello", "worker": "embedded", "pid": 7, "room": "a", "channel": "ws.node!1"]
        )
        #expect(frames.dropFirst().map(\.message) == ["hi"])
        #expect(try second.messages() == ["hi"])
    }

    @Test func `what a client sends right after the handshake follows its membership`() throws {
        let run = EmbeddedWorker()
        run.connect()
        run.broker.acknowledges = false
        let socket = try run.socket("a")
        try socket.receiveInSameTurn(ClientFrame.text(#"{"message":"x"}"#))
        guard run.broker.requests.count == 3, case .openChannels = run.broker.requests[0],
            case .groupAdd = run.broker.requests[1]
        else { throw Unexpected() }
        #expect(
            run.broker.requests[2]
                == .groupSend(id: nil, group: "chat_a", body: chatBody("x"), GroupSendOptions())
        )
        #expect(MessagePack.encode(["message": "x", "type": "chat.message"]) == chatBody("x"))
    }

    @Test func `a refused membership lets nobody in and troubles no other`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let other = try run.socket("b")
        run.turn()
        run.broker.acknowledges = false
        let socket = try run.socket("a")
        run.turn()
        run.broker.answerAll(.failure(Failure(.badName, "no")))
        run.turn()
        #expect(socket.socket.state == .closed)
        #expect(try socket.frames().isEmpty)
        run.push(groupMessage("chat_b", "hi"))
        #expect(try other.messages() == ["hi"])
        #expect(run.worker.counters.closes.isEmpty)
        #expect(run.worker.openSockets.count == 1)
    }

    @Test func `without a broker a socket is closed with a code that says to come back`() throws {
        let run = EmbeddedWorker()
        let socket = try run.socket("a")
        run.turn()
        let frames = try socket.frames()
        #expect(frames.map(\.closeCode) == [1_013])
        #expect(frames[0].closeReason == "no broker")
        #expect(run.broker.requests.isEmpty)
    }

    @Test func `a lost link keeps the sockets and refuses what they send until it is back`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let sockets = try (0..<6).map { _ in try run.socket("a") }
        run.turn()
        run.broker.isReachable = false
        run.worker.link.layerDidDisconnect(Failure(.silence, "gone"))
        try sockets[0].receive(ClientFrame.text(#"{"message":"lost"}"#))
        #expect(
            try sockets[0].frames().map(\.json) == [["error": "the broker is not reachable; message not sent"]]
        )
        // Whether the memberships are lost is not known yet.
        #expect(run.members(of: "chat_a").count == 6)
        run.broker.isReachable = true
        run.broker.forgetRequests()
        run.connect()
        let added = run.broker.requests.compactMap { request -> [String]? in
            guard case .groupAdd(_, "chat_a", let channels, _) = request else { return nil }
            return channels
        }
        // Four names to a frame, as the welcome says.
        #expect(added.map(\.count) == [4, 2])
        #expect(Set(added.joined()) == Set(sockets.map(\.socket.channelName)))
        run.push(groupMessage("chat_a", "back"))
        for socket in sockets { #expect(try socket.messages() == ["back"]) }
        #expect(run.worker.counters.closes.isEmpty)
    }

    @Test func `a link lost while sockets join adds them again with the next one, once`() throws {
        let run = EmbeddedWorker()
        run.connect()
        run.broker.acknowledges = false
        let socket = try run.socket("a", wantsHello: true)
        run.turn()
        run.broker.answerAll(.failure(Failure(.silence, "gone")))
        run.worker.link.layerDidDisconnect(Failure(.silence, "gone"))
        run.connect()
        run.broker.answerAll()
        run.worker.link.layerDidDisconnect(Failure(.silence, "gone"))
        run.connect()
        run.broker.answerAll()
        run.push(groupMessage("chat_a", "once"))
        let frames = try socket.frames()
        #expect(frames.compactMap { $0.json?["type"]?.string } == ["hello", "missed"])
        #expect(frames.compactMap(\.message) == ["once"])
    }

    @Test func `a link that goes on keeps every membership, declares nothing and tells of no gap`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let sockets = try (0..<3).map { _ in try run.socket("a", wantsHello: true) }
        run.turn()
        for socket in sockets { #expect(try socket.frames().count == 1) }
        run.worker.link.layerDidDisconnect(Failure(.silence, "gone"))
        #expect(!run.worker.health.isConnected)
        run.broker.forgetRequests()
        // Who leaves meanwhile leaves at the broker too: the session takes it along.
        try sockets[2].receive(ClientFrame.close(1_000))
        run.turn()
        #expect(run.broker.requests == [.closeChannels(id: nil, [sockets[2].socket.channelName])])
        run.worker.link.layerDidResume(ScriptedBroker.welcome)
        run.turn()
        #expect(run.broker.requests.count == 1)
        #expect(run.worker.health.isConnected)
        run.push(groupMessage("chat_a", "on and on"))
        for socket in sockets.prefix(2) { #expect(try socket.frames().map(\.message) == ["on and on"]) }
        #expect(run.worker.counters.gapNotices == 0)
        #expect((run.worker.counters.links, run.worker.counters.sessions) == (2, 1))
    }

    @Test func `after a session that does not go on all are told of the gap once, behind what came before`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let page = try run.socket("a", wantsHello: true)
        let tutorial = try run.socket("a")
        run.turn()
        _ = try page.frames()
        // Gathered, and not sent yet when the link comes back.
        run.worker.link.layerDidReceive(groupMessage("chat_a", "before"))
        run.worker.link.layerDidDisconnect(Failure(.silence, "gone"))
        run.worker.link.layerDidDisconnect(Failure(.silence, "still gone"))
        run.connect()
        run.push(groupMessage("chat_a", "after"))
        let frames = try page.frames()
        #expect(frames.map(\.message) == ["before", nil, "after"])
        #expect(frames[1].json == ["type": "missed", "reason": "reconnected"])
        #expect(try tutorial.messages() == ["before", "after"])
        #expect(run.worker.counters.gapNotices == 2)
    }

    @Test func `a gap of the broker is told to whom it names, or to all`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let sockets = try (0..<3).map { _ in try run.socket("a", wantsHello: true) }
        run.turn()
        for socket in sockets { _ = try socket.frames() }
        run.push(.gap(Gap(name: sockets[1].socket.channelName, count: 7, reason: .expired)))
        #expect(try sockets.map { try $0.frames().count } == [0, 1, 0])
        run.push(.gap(Gap(name: nil, count: 3, reason: .linkOverflow)))
        for socket in sockets {
            #expect(try socket.frames().map(\.json) == [["type": "missed", "reason": "link_overflow", "count": 3]])
        }
        run.push(.gap(Gap(name: "ws.node!zz", count: 1, reason: .full)))
        #expect(run.worker.counters.gapNotices == 4)
        #expect(run.worker.counters.missed == 11)
    }

    @Test func `what is said without a link waits, and only what was not sent is told`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let socket = try run.socket("a")
        run.turn()
        run.worker.link.layerDidDisconnect(Failure(.silence, "gone"))
        run.broker.acknowledges = false
        try socket.receive(ClientFrame.text(#"{"message":"patient"}"#))
        #expect(try socket.frames().isEmpty)
        run.broker.answerAll()
        #expect(try socket.frames().isEmpty)
        try socket.receive(ClientFrame.text(#"{"message":"in vain"}"#))
        run.broker.answerAll(.failure(Failure(.silence, "too long")))
        run.turn()
        #expect(
            try socket.frames().map(\.json) == [["error": "the broker was not reachable; message not sent"]]
        )
        #expect(run.worker.counters.messagesRefused == 1)
    }

    @Test func `a client that closes takes its channel with it, and the close is answered`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let socket = try run.socket("a")
        run.turn()
        run.broker.forgetRequests()
        try socket.receive(ClientFrame.close(4_000, Array("bye".utf8)))
        #expect(run.broker.requests == [.closeChannels(id: nil, ["ws.node!1"])])
        #expect(try socket.frames().map(\.closeCode) == [4_000])
        #expect(!socket.isConnected)
        #expect(run.worker.health.sockets == 0)
        #expect(run.worker.health.groups == 0)
        #expect(run.worker.counters.closes == [4_000: 1])
    }

    @Test func `direct messages are reported as taken, with what could not be read`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let socket = try run.socket("a")
        run.turn()
        run.broker.forgetRequests()
        let name = socket.socket.channelName
        run.push(
            .deliver(channel: name, body: chatBody("one"), remaining: Milliseconds(5)),
            .deliver(channel: name, body: [0xc1], remaining: Milliseconds(5)),
            .deliver(channel: name, body: chatBody("late"), remaining: Milliseconds(0)),
            .deliver(channel: "ws.node!zz", body: chatBody("nobody"), remaining: Milliseconds(5)),
            .deliver(channel: "ws.node!01", body: chatBody("not its name"), remaining: Milliseconds(5))
        )
        #expect(try socket.messages() == ["one"])
        guard run.broker.requests.count == 1, case .report(let report) = run.broker.requests[0] else {
            throw Unexpected()
        }
        #expect(report.taken == [Report.Taken(channel: name, taken: 3, held: 0)])
        #expect(Set(report.dropped.map(\.reason)) == [.undecodable, .expired])
        #expect(report.dropped.allSatisfy { $0.channel == name && $0.group == nil && $0.count == 1 })
    }

    @Test func `group messages that cannot be read or come too late are counted and reported, never fatal`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let socket = try run.socket("a")
        _ = try run.socket("a")
        run.turn()
        run.broker.forgetRequests()
        let strange = MessagePack.encode(["type": "something.else"])
        var asked = GroupDelivery(group: "chat_a", body: strange, remaining: Milliseconds(9))
        asked.outcome = 77
        run.push(
            .groupDeliver(GroupDelivery(group: "chat_a", body: [0xdd, 0xff], remaining: Milliseconds(9))),
            .groupDeliver(asked),
            groupMessage("chat_a", "late", remaining: 0),
            groupMessage("chat_nobody", "hi"),
            groupMessage("chat_a", "fine")
        )
        #expect(try socket.messages() == ["fine"])
        #expect(run.worker.counters.undecodable == 4)
        #expect(run.worker.counters.expired == 2)
        #expect(run.broker.requests.first == .outcome(token: 77, accepted: 0, dropped: 2))
        guard case .report(let report)? = run.broker.requests.last else { throw Unexpected() }
        #expect(report.dropped.first { $0.reason == .undecodable }?.count == 4)
        #expect(report.dropped.first { $0.reason == .expired }?.count == 2)
        // No socket is named for what all of them lost.
        #expect(report.dropped.allSatisfy { $0.group == "chat_a" && $0.channel == nil })
    }

    @Test func `an excluded member gets nothing and everybody else keeps the order`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let sockets = try (0..<3).map { _ in try run.socket("a") }
        run.turn()
        var without = GroupDelivery(group: "chat_a", body: chatBody("2"), remaining: Milliseconds(9))
        without.exclude = [sockets[1].socket.channelName]
        without.outcome = 5
        run.push(groupMessage("chat_a", "1"), .groupDeliver(without), groupMessage("chat_a", "3"))
        #expect(try sockets.map { try $0.messages() } == [["1", "2", "3"], ["1", "3"], ["1", "2", "3"]])
        #expect(run.broker.requests.contains(.outcome(token: 5, accepted: 2, dropped: 0)))
    }

    @Test func `an excluded member is not counted among those that miss a message`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let sockets = try (0..<3).map { _ in try run.socket("a") }
        run.turn()
        run.broker.forgetRequests()
        var late = GroupDelivery(group: "chat_a", body: chatBody("late"), remaining: Milliseconds(0))
        late.exclude = [sockets[0].socket.channelName]
        late.outcome = 5
        run.push(.groupDeliver(late))
        #expect(run.broker.requests.contains(.outcome(token: 5, accepted: 0, dropped: 2)))
        guard case .report(let report)? = run.broker.requests.last else { throw Unexpected() }
        #expect(report.dropped.map(\.count) == [2])
        #expect(report.dropped.map(\.channel) != [sockets[0].socket.channelName])
    }

    @Test func `memberships others change count from their place in the stream`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let socket = try run.socket("a")
        run.turn()
        let name = socket.socket.channelName
        run.push(
            groupMessage("news", "before"),
            .members(group: "news", added: [name, "ws.node!999"], removed: []),
            groupMessage("news", "1"),
            groupMessage("chat_a", "2"),
            groupMessage("news", "3"),
            .deliver(channel: name, body: chatBody("4"), remaining: Milliseconds(9)),
            groupMessage("chat_a", "5"),
            .members(group: "news", added: [], removed: [name]),
            groupMessage("news", "after"),
            groupMessage("chat_a", "6")
        )
        #expect(try socket.messages() == ["1", "2", "3", "4", "5", "6"])
    }

    @Test func `a flush ends the memberships and tells the sockets to come back`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let socket = try run.socket("a")
        run.turn()
        run.broker.forgetRequests()
        run.push(groupMessage("chat_a", "last"), .flushed(token: 9), groupMessage("chat_a", "gone"))
        let frames = try socket.frames()
        #expect(frames.compactMap(\.message) == ["last"])
        #expect(frames.last?.closeCode == 1_012)
        #expect(run.broker.requests.first == .outcome(token: 9, accepted: 0, dropped: 0))
    }

    @Test func `two consumers in one group each render a message once`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let chat = try run.socket("a")
        let echo = try run.socket("a", isEcho: true)
        run.turn()
        #expect(run.worker.fanOut.audiences(of: "chat_a").count == 2)
        run.push(groupMessage("chat_a", "1"), groupMessage("chat_a", "2"))
        #expect(try chat.messages() == ["1", "2"])
        #expect(try echo.messages() == ["1", "2"])
        #expect(run.echo.opened == 1)
    }
}

struct Unexpected: Error {}
