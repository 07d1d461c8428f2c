import FanfareBroker
import FanfareModel
import FanfareProtocol
import Testing

/// What waits and is not taken: by age, in tails, and against the memory of the whole broker.
struct OverloadTests {
    private func member(_ node: String, _ broker: TemporaryBroker) async throws -> RawConnection {
        let member = try await broker.session(node: node)
        try await member.write(.groupAdd(id: 1, group: "room", channels: ["\(node)!1"], groupExpiry: nil))
        #expect(try await member.reply() == .ack(1))
        return member
    }

    private func message(_ bytes: Int) -> Request {
        .groupSend(id: nil, group: "room", body: Body(repeating: 7, count: bytes), GroupSendOptions())
    }

    @Test("a peer that takes nothing for too long is pushed nothing more, however little waits for it")
    func age() async throws {
        var limits = Limits()
        limits.linkAge = Milliseconds(1_000)
        try await TemporaryBroker.run(limits) { broker in
            let slow = try await member("slow", broker)
            let sender = try await broker.session(.publish)
            // More than the kernel holds, far less than `link_bytes`.
            for _ in 0..<20 { try await sender.write(message(65_536)) }
            _ = try await sender.settled()
            var sent = 20
            try await poll("the old bytes are noticed") {
                try await sender.write(message(1))
                _ = try await sender.settled()
                sent += 1
                return try await broker.drops("link_overflow") > 0
            }
            let missed = UInt64(try await broker.drops("link_overflow"))
            var received: UInt64 = 0
            while let reply = try await slow.reply() {
                if case .gap(let gap) = reply {
                    #expect(gap == Gap(name: nil, count: missed, reason: .linkOverflow))
                    break
                }
                received += 1
            }
            #expect(received + missed == UInt64(sent))
        }
    }

    @Test("what waits since a broker's first second is no older than it is")
    func firstSecond() async throws {
        var limits = Limits()
        limits.linkAge = Milliseconds(600_000)
        try await TemporaryBroker.run(limits) { broker in
            let slow = try await member("slow", broker)
            let sender = try await broker.session(.publish)
            for _ in 0..<20 { try await sender.write(message(65_536)) }
            _ = try await sender.settled()
            // By then the broker has looked at all links once.
            try await poll("two seconds") { try await broker.count("uptime_milliseconds") > 2_000 }
            #expect(try await broker.drops("link_overflow") == 0)
            withExtendedLifetime(slow) {}
        }
    }

    @Test("a tail nobody reads costs only itself: its copies are skipped and counted, its connection stays")
    func stalledTail() async throws {
        var limits = Limits()
        limits.tailBytes = 65_536
        limits.linkBytes = 4 * 1_048_576
        // The watcher reads only at the end, however long that takes here.
        limits.linkAge = Milliseconds(3_600_000)
        try await TemporaryBroker.run(limits) { broker in
            let watcher = try await broker.session(.admin, node: "watcher")
            try await watcher.write(.groupAdd(id: 1, group: "other", channels: ["watcher!1"], groupExpiry: nil))
            #expect(try await watcher.reply() == .ack(1))
            var query = TailQuery(kind: .group, match: Glob("room"))
            query.ratePerSecond = 10_000
            try await watcher.write(.tail(2, query))
            try await broker.eventually("tails", is: 1)
            let reader = try await member("reader", broker)
            let sender = try await broker.session(.publish)
            let total = 400
            for _ in 0..<total {
                try await sender.write(message(16_384))
                guard case .groupDeliver? = try await reader.reply() else {
                    Issue.record("the group lost a message")
                    return
                }
            }
            try await sender.write(.groupSend(id: nil, group: "other", body: [1], GroupSendOptions()))
            _ = try await sender.settled()
            #expect(try await broker.count("tails") == 1)
            var (copies, skipped) = (0, 0)
            var others = 0
            func count(_ replies: [Reply]) {
                for reply in replies {
                    if case .tailed(2, let copy) = reply {
                        copies += 1
                        skipped += Int(copy.skipped)
                    }
                    if case .groupDeliver = reply { others += 1 }
                    if case .gap(let gap) = reply { Issue.record("the tail cost its link messages: \(gap)") }
                }
            }
            count(try await watcher.settled())
            #expect(copies < total)
            try await sender.write(message(1))
            _ = try await sender.settled()
            count(try await watcher.settled())
            #expect(copies + skipped == total + 1)
            #expect(skipped > 0)
            #expect(others == 1, "data goes on past a tail that is full")
        }
    }

    @Test("the memory of the whole broker is bounded: unread links use it up, then everything new is refused")
    func memory() async throws {
        var limits = Limits()
        limits.memoryBytes = 8 * 1_048_576
        try await TemporaryBroker.run(limits) { broker in
            let slow = [try await member("slow1", broker), try await member("slow2", broker)]
            let sender = try await broker.session(.worker)
            let (body, shortLived) = (Body(repeating: 1, count: 65_536), SendOptions(expiry: Milliseconds(500)))
            var (sent, refusal) = (UInt64(0), Failure?.none)
            while refusal == nil, sent < 1_000 {
                try await sender.write(message(65_536))
                try await sender.write(.send(id: 4, channel: "c\(sent)", body: body, shortLived))
                if case .error(4, let failure)? = try await sender.settled().first { refusal = failure }
                sent += 1
            }
            #expect(refusal?.code == .channelFull)
            #expect(refusal?.text.contains("memory_bytes") == true)
            #expect(try await broker.count("memory_bytes") < 2 * limits.memoryBytes)
            #expect(try await broker.count("memory_refusals") >= 1)
            var accounted = [UInt64](repeating: 0, count: slow.count)
            func read() async throws {
                for (index, connection) in slow.enumerated() {
                    for reply in try await connection.settled() {
                        if case .groupDeliver = reply { accounted[index] += 1 }
                        if case .gap(let gap) = reply, gap.reason == .full { accounted[index] += gap.count }
                    }
                }
            }
            try await read()
            try await poll("there is room again") {
                let much = Body(repeating: 1, count: 1_048_576)
                try await sender.write(.send(id: 5, channel: "c", body: much, SendOptions()))
                return try await sender.settled() == [.ack(5)]
            }
            try await sender.write(message(1))
            _ = try await sender.settled()
            try await read()
            #expect(accounted == [sent + 1, sent + 1], "what was promised arrives, the rest is told")
        }
    }

    /// A session that has asked for far more than the kernel holds, read none of it, and said goodbye.
    private func leaver(_ broker: TemporaryBroker) async throws -> RawConnection {
        let leaver = try await broker.session(.publish)
        for _ in 0..<Self.refusals / 500 {
            let refused = (1...500).map { Request.send(id: $0, channel: Self.badName, body: [], SendOptions()) }
            try await leaver.write(refused)
        }
        try await leaver.write(.goodbye)
        return leaver
    }

    private static let refusals = 10_000
    private static let badName = String(repeating: "?", count: 200)

    @Test func `what a session that ended has not read counts as memory, and arrives when it reads`() async throws {
        var limits = Limits()
        limits.tailBytes = 16 * 1_048_576
        limits.helloWithin = Milliseconds(60_000)
        try await TemporaryBroker.run(limits) { broker in
            let before = try await broker.count("memory_bytes")
            let leaver = try await leaver(broker)
            try await broker.eventually("sessions", is: 0)
            // By then the broker has looked at what it really holds.
            let uptime = try await broker.count("uptime_milliseconds")
            try await poll("two seconds") { try await broker.count("uptime_milliseconds") > uptime + 2_000 }
            #expect(try await broker.count("memory_bytes") > before + 1_048_576)
            #expect(try await leaver.repliesToEnd().count == Self.refusals)
            try await poll("nothing is held") { try await broker.count("memory_bytes") <= before }
        }
    }

    @Test func `a session that ends with too much unread is not waited for`() async throws {
        var limits = Limits()
        limits.tailBytes = 65_536
        limits.helloWithin = Milliseconds(60_000)
        try await TemporaryBroker.run(limits) { broker in
            let leaver = try await leaver(broker)
            try await broker.eventually("sessions", is: 0)
            #expect(try await leaver.repliesToEnd().count < Self.refusals)
            #expect(try await broker.server.status()["refused"]?["link_overflow"]?.int == 1)
        }
    }

    @Test func `a session that ends has a time to read the last in`() async throws {
        var limits = Limits()
        limits.tailBytes = 16 * 1_048_576
        limits.helloWithin = Milliseconds(200)
        try await TemporaryBroker.run(limits) { broker in
            let before = try await broker.count("memory_bytes")
            let leaver = try await leaver(broker)
            try await broker.eventually("sessions", is: 0)
            try await poll("nothing is held") { try await broker.count("memory_bytes") <= before }
            #expect(try await leaver.repliesToEnd().count < Self.refusals)
        }
    }
}
