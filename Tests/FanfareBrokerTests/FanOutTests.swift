import FanfareModel
import Testing

/// Group messages that one read brings are gathered for the links they go to; nobody may notice.
struct FanOutTests {
    @Test("a publishing member hears messages and acknowledgements in order, and the others all messages in order")
    func order() async throws {
        try await TemporaryBroker.run { broker in
            let publisher = try await broker.session(node: "a")
            let other = try await broker.session(node: "b")
            try await join(publisher, "a.a!1", groups: ["both"])
            try await join(other, "b.b!1", groups: ["both", "one"])
            let framesBefore = try await broker.count("frames_out")
            // Runs of the same audience, broken by another audience, an error and a message for one channel.
            let requests = (1...60).map { (id: RequestID) -> Request in
                switch id % 10 {
                case 7: .groupSend(id: id, group: "one", body: body(id), GroupSendOptions())
                case 8: .send(id: id, channel: "b.b!1", body: body(id), SendOptions())
                case 9: .send(id: id, channel: "no name", body: body(id), SendOptions())
                default:
                    .groupSend(id: id.isMultiple(of: 2) ? id : nil, group: "both", body: body(id), GroupSendOptions())
                }
            }
            try await publisher.write(requests)
            let heard = try await publisher.settled().map(summary)
            #expect(
                heard
                    == (1...60).flatMap { (id: RequestID) -> [String] in
                        switch id % 10 {
                        case 7, 8: ["ack \(id)"]
                        case 9: ["error \(id)"]
                        default: ["both \(id)"] + (id.isMultiple(of: 2) ? ["ack \(id)"] : [])
                        }
                    }
            )
            let told = try await other.settled().map(summary)
            #expect(
                told
                    == (1...60).filter { (id: RequestID) in id % 10 != 9 }.map { id in
                        id % 10 == 7 ? "one \(id)" : id % 10 == 8 ? "b.b!1 \(id)" : "both \(id)"
                    }
            )
            // Two pongs besides; however they travelled, each frame counts.
            #expect(try await broker.count("frames_out") == framesBefore + Int64(heard.count + told.count) + 2)
        }
    }

    @Test("who leaves gets what was sent before, and nothing is kept from those who stay")
    func leaving() async throws {
        try await TemporaryBroker.run { broker in
            let stays = try await broker.session(node: "a")
            let leaves = try await broker.session(node: "b")
            try await join(stays, "a.a!1", groups: ["g"])
            try await join(leaves, "b.b!1", groups: ["g"])
            let sends = (1...5).map { Request.groupSend(id: nil, group: "g", body: body($0), GroupSendOptions()) }
            try await leaves.write(sends + [.goodbye])
            #expect(try await leaves.repliesToEnd().map(summary) == (1...5).map { "g \($0)" })
            try await broker.eventually("sessions", is: 1)
            let comes = try await broker.session(node: "c")
            try await join(comes, "c.c!1", groups: ["g"])
            try await stays.write(.groupSend(id: 6, group: "g", body: body(6), GroupSendOptions()))
            #expect(try await stays.settled().map(summary) == (1...6).map { "g \($0)" } + ["ack 6"])
            #expect(try await comes.settled().map(summary) == ["g 6"])
        }
    }

    private func join(_ member: RawConnection, _ channel: String, groups: [String]) async throws {
        for group in groups {
            try await member.write(.groupAdd(id: 100, group: group, channels: [channel], groupExpiry: nil))
            #expect(try await member.reply() == .ack(100))
        }
    }

    private func body(_ number: RequestID) -> Body { Body("\(number)".utf8) }

    private func summary(_ reply: Reply) -> String {
        switch reply {
        case .ack(let id): "ack \(id)"
        case .error(let id, _): "error \(id ?? 0)"
        case .groupDeliver(let delivery): "\(delivery.group) \(String(decoding: delivery.body, as: UTF8.self))"
        case .deliver(let channel, let body, _, _): "\(channel) \(String(decoding: body, as: UTF8.self))"
        default: "\(reply)"
        }
    }
}
