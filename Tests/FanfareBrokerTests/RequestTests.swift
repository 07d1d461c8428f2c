import FanfareBroker
import FanfareModel
import FanfareProtocol
import Testing

/// What sessions ask of a running broker, and what they get for bad frames.
struct RequestTests {
    @Test("an unknown operation is answered under its id and the connection goes on")
    func unknownOperation() async throws {
        try await TemporaryBroker.run { broker in
            let client = try await broker.session()
            try await client.write(payload: MessagePack.encode([99, 5, "x"]))
            try await client.write(payload: MessagePack.encode([99, nil]))
            try await client.write(payload: MessagePack.encode([70, 6]))
            try await client.write(.ping(9))
            let first = try await client.reply()
            #expect(first?.isError(.unknownOperation, id: 5) == true)
            if case .error(_, let failure)? = first { #expect(failure.text.contains("99")) }
            #expect(try await client.reply()?.isError(.unknownOperation, id: nil) == true)
            #expect(try await client.reply()?.isError(.unknownOperation, id: nil) == true)
            #expect(try await client.reply() == .pong(9))
        }
    }

    @Test(
        "a wrong type, a missing field or a number out of range is a bad request and the connection goes on",
        arguments: [
            ([10, 5, 7, .binary([])], 5), ([10, 5, "c", "text"], 5), ([10, 5, "c"], 5), ([10, 5], 5),
            ([10, 5, nil, .binary([])], 5), ([10, "5", "c", .binary([])], nil), ([10, 0, "c", .binary([])], nil),
            ([10, -1, "c", .binary([])], nil), ([11, nil, "c"], nil), ([11, 5, "c", 0], 5), ([11, 5, "c", 65_536], 5),
            ([20, 5, "g", "c"], 5), ([20, 5, "g", [1]], 5), ([10, 5, "c", .binary([]), 1], 5),
            ([31, 5, "nonsense", [:]], 5),
        ] as [(MessageValue, RequestID?)]
    )
    func badRequests(frame: MessageValue, id: RequestID?) async throws {
        try await TemporaryBroker.run { broker in
            let client = try await broker.session(.admin)
            try await client.write(payload: MessagePack.encode(frame))
            try await client.write(.ping(9))
            let reply = try await client.reply()
            #expect(reply?.isError(.badRequest, id: id) == true, "\(String(describing: reply))")
            #expect(try await client.reply() == .pong(9))
        }
    }

    @Test(
        "a payload that is no frame ends the connection with an error, and nobody else's",
        arguments: [
            [0xc1], [0x91], [0x92, 1], [0xdd, 0xff, 0xff, 0xff, 0xff], [0x91, 0xc7, 1, 1, 1], [0x80], [0x01], [0xc0],
            [0x91, 0xa1, 0x61], [0x91, 0x02, 0x00], [0x91, 0xff], [0x92, 0x0a, 0xa1, 0xff],
            [UInt8](repeating: 0x91, count: 40) + [0xc0],
        ] as [[UInt8]]
    )
    func malformed(payload: [UInt8]) async throws {
        try await TemporaryBroker.run { broker in
            let witness = try await broker.session()
            let client = try await broker.session(node: "bad")
            try await client.write(payload: payload)
            // What follows in the same stream is not looked at any more.
            try await client.write(.send(id: nil, channel: "c", body: [1], SendOptions()))
            #expect(try await client.repliesToEnd().map(\.refusal) == [.malformedFrame])
            try await broker.eventually("sessions", is: 1)
            #expect(try await witness.settled().isEmpty)
            #expect(try await broker.count("queued_messages") == 0)
        }
    }

    @Test("a length of 0 or over the limit ends the connection", arguments: [0, 2_162_689, UInt32.max])
    func lengths(length: UInt32) async throws {
        try await TemporaryBroker.run { broker in
            let client = try await broker.session()
            try await client.write(withUnsafeBytes(of: length.bigEndian) { Array($0) })
            #expect(try await client.repliesToEnd().map(\.refusal) == [.frameTooLarge])
        }
    }

    @Test("a frame cut anywhere means the same")
    func cutAnywhere() async throws {
        try await TemporaryBroker.run { broker in
            let client = try await broker.session()
            let buffer = FrameBuffer()
            buffer.append(.send(id: 1, channel: "cut", body: [1, 2, 3], SendOptions()))
            buffer.append(.receive(id: 2, channel: "cut", count: 1))
            for byte in buffer.withUnsafeBytes({ Array($0) }) { try await client.write([byte]) }
            #expect(try await client.reply() == .ack(1))
            guard case .handOut(2, let message)? = try await client.reply() else {
                Issue.record("no hand-out")
                return
            }
            #expect(message.body == [1, 2, 3])
        }
    }

    @Test(
        "a role may do what its row says and nothing else",
        arguments: [
            (.publish, [10, 22]), (.inspect, [31, 32]), (.worker, [10, 11, 13, 14, 15, 20, 22, 30]),
            (.admin, [10, 11, 13, 14, 15, 20, 22, 30, 31, 32, 33]),
        ] as [(Role, Set<Int>)]
    )
    func roles(role: Role, permitted: Set<Int>) async throws {
        let requests: [Int: Request] = [
            10: .send(id: 1, channel: "c", body: [], SendOptions()), 11: .receive(id: 1, channel: "r", count: 1),
            13: .giveBack(id: 1, channel: "c", GivenBack(body: [], order: 1, deadline: Instant(nanoseconds: 0))),
            14: .report(Report(received: 0, taken: [.init(channel: "c", taken: 1, held: 0)], dropped: [])),
            15: .openChannels(id: 1, []),
            20: .groupAdd(id: 1, group: "g", channels: ["c"], groupExpiry: nil),
            22: .groupSend(id: 1, group: "g", body: [], GroupSendOptions()), 30: .flush(1),
            31: .inspect(1, InspectionQuery(.status)), 32: .tail(1, TailQuery(kind: .group, match: Glob("*"))),
            33: .admin(1, command: "kick", arguments: [:]),
        ]
        try await TemporaryBroker.run { broker in
            for (number, request) in requests {
                let client = try await broker.session(role)
                try await client.write(request)
                let replies = try await client.settled()
                let isForbidden = replies.contains { $0.isError(.forbidden, id: request.id) }
                #expect(isForbidden == !permitted.contains(number), "\(role) and operation \(number): \(replies)")
                client.close()
            }
        }
    }

    @Test("a goodbye ends the session at once and closes, after what was asked before it")
    func goodbye() async throws {
        try await TemporaryBroker.run { broker in
            let client = try await broker.session(node: "n1")
            try await client.write(
                .send(id: 1, channel: "c", body: [1], SendOptions()),
                .goodbye,
                .send(id: 2, channel: "c", body: [2], SendOptions())
            )
            #expect(try await client.repliesToEnd() == [.ack(1)])
            #expect(try await broker.count("sessions") == 0)
            #expect(try await broker.count("queued_messages") == 1)
        }
    }

    @Test("a group send costs one frame for each process that owns members")
    func oneFrameAProcess() async throws {
        try await TemporaryBroker.run { broker in
            let owners = [try await broker.session(node: "n0"), try await broker.session(node: "n1", over: broker.tcp)]
            for (number, owner) in owners.enumerated() {
                let names = (0..<500).map { "n\(number)!\($0)" }
                try await owner.write(.groupAdd(id: 1, group: "room", channels: names, groupExpiry: nil))
                #expect(try await owner.reply() == .ack(1))
            }
            #expect(try await broker.count("memberships") == 1_000)
            let publisher = try await broker.session(.publish)
            let before = try await (broker.count("frames_out"), broker.count("group_deliver_frames"))
            try await publisher.write(.groupSend(id: 7, group: "room", body: [1, 2], GroupSendOptions()))
            #expect(try await publisher.reply() == .ack(7))
            for owner in owners {
                guard case .groupDeliver(let delivery)? = try await owner.reply() else {
                    Issue.record("no delivery")
                    return
                }
                #expect(delivery.group == "room")
                #expect(delivery.body == [1, 2])
            }
            #expect(try await broker.count("group_deliver_frames") - before.1 == 2)
            #expect(try await broker.count("frames_out") - before.0 == 3, "two deliveries and an acknowledgement")
        }
    }

    @Test("a process that goes takes its members with it at once and leaves the others'")
    func membersGoWithTheirOwner() async throws {
        try await TemporaryBroker.run { broker in
            let staying = try await broker.session(node: "stays")
            let leaving = try await broker.session(node: "leaves", over: broker.tcp)
            for (owner, node) in [(staying, "stays"), (leaving, "leaves")] {
                let names = (0..<100).map { "\(node)!\($0)" }
                try await owner.write(.groupAdd(id: 1, group: "room", channels: names, groupExpiry: nil))
                #expect(try await owner.reply() == .ack(1))
            }
            #expect(try await broker.count("memberships") == 200)
            leaving.close()
            try await broker.eventually("memberships", is: 100)
            #expect(try await broker.count("channels") == 100)
            #expect(try await broker.count("sessions") == 1)
            #expect(try await staying.settled().isEmpty)
        }
    }

    @Test("clients of every endpoint share one broker")
    func severalEndpoints() async throws {
        try await TemporaryBroker.run { broker in
            let unix = try await broker.session()
            let tcp = try await broker.session(over: broker.tcp)
            try await tcp.write(.receive(id: 1, channel: "shared", count: 2))
            _ = try await tcp.settled()
            try await unix.write(.send(id: 2, channel: "shared", body: [5], SendOptions()))
            #expect(try await unix.reply() == .ack(2))
            guard case .handOut(1, let message)? = try await tcp.reply() else {
                Issue.record("no hand-out over TCP")
                return
            }
            #expect(message.body == [5])
        }
    }

    @Test("messages expire by the broker's clock also when everybody left in between")
    func expiryAfterEverybodyLeft() async throws {
        try await TemporaryBroker.run { broker in
            let client = try await broker.session()
            let options = SendOptions(expiry: Milliseconds(300))
            try await client.write(.send(id: 1, channel: "c", body: [1], options))
            #expect(try await client.reply() == .ack(1))
            client.close()
            try await broker.eventually("sessions", is: 0)
            try await broker.eventually("queued_messages", is: 0)
            #expect(try await broker.server.status()["drops"]?["expired"]?.int == 1)
            // And once more: the timer must have been armed anew.
            let second = try await broker.session()
            try await second.write(.send(id: 1, channel: "c", body: [1], options))
            #expect(try await second.reply() == .ack(1))
            try await broker.eventually("queued_messages", is: 0)
        }
    }
}
