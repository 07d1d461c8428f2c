import FanfareModel
import Testing

@testable import FanfareWorker

/// The direct way to real descriptors: every socket must see its groups and its own messages in the broker's order,
/// whatever was merged, however full the kernel's buffers are.
@Suite(.timeLimit(.minutes(1))) struct FanOutTests {
    @Test(
        "Members of several groups see one order, readers that stall included",
        arguments: UInt64(0)..<6,
        [1, 2, 2_000]
    )
    func order(seed: UInt64, membersPerTurn: Int) async throws {
        let rooms = ["a", "a", "b", "a.b", "b.c", "a.b.c", "c"]
        let run = try await DescriptorRun(rooms: rooms, membersPerTurn: membersPerTurn)
        var random = SplitMix64(seed: seed)
        var expected: [[String]] = Array(repeating: [], count: rooms.count)
        var count = 0
        var mostWaiting = 0
        // Nobody reads during the first half.
        for burst in 0..<120 {
            if burst == 60 { run.startReading() }
            var replies: [Reply] = []
            for _ in 0..<(random.next() % 12 + 1) {
                let text = "\(count)" + String(repeating: "x", count: Int(random.next() % 2_000))
                count += 1
                if random.next() % 8 == 0 {
                    let index = Int(random.next() % UInt64(rooms.count))
                    let channel = "ws.node!\(index + 1)"
                    replies.append(.deliver(channel: channel, body: chatBody(text), remaining: Milliseconds(9)))
                    expected[index].append(text)
                } else {
                    let room = ["a", "b", "c"][Int(random.next() % 3)]
                    replies.append(groupMessage("chat_" + room, text))
                    for index in rooms.indices where rooms[index].contains(room) {
                        expected[index].append(text)
                    }
                }
            }
            try await run.push(replies)
            mostWaiting = max(mostWaiting, try await run.waitingCount())
        }
        #expect(mostWaiting == rooms.count)
        let heard = try await run.finish().map(messages)
        for index in heard.indices { #expect(heard[index] == expected[index], "socket \(index)") }
    }

    @Test("Who leaves while a large fan-out is under way costs no other a message", arguments: UInt64(0)..<8)
    func departures(seed: UInt64) async throws {
        let count = 40
        let run = try await DescriptorRun(rooms: Array(repeating: "a", count: count), membersPerTurn: 3)
        run.startReading()
        var random = SplitMix64(seed: seed)
        var gone: Set<Int> = []
        for number in 0..<60 {
            try await run.push([groupMessage("chat_a", "\(number)")])
            guard random.next() % 3 == 0 else { continue }
            let index = Int(random.next() % UInt64(count))
            gone.insert(index)
            // Some go while the fan-out is here, some between two of its parts.
            if random.next() % 2 == 0 { run.hangUp(index) } else { try await run.leave(index) }
        }
        let heard = try await run.finish().map(messages)
        let all = (0..<60).map { "\($0)" }
        for index in 0..<count {
            if gone.contains(index) {
                #expect(heard[index] == Array(all.prefix(heard[index].count)), "socket \(index), which left")
            } else {
                #expect(heard[index] == all, "socket \(index)")
            }
        }
        #expect(gone.count > 5)
    }

    @Test func `other groups have their turn while a large fan-out is under way`() async throws {
        let run = try await DescriptorRun(rooms: Array(repeating: "a", count: 20) + ["b"], membersPerTurn: 5)
        run.startReading()
        let before = try await run.health().sends
        // In one task of the loop: no later part of the first fan-out has had its turn when the second is asked for.
        let unfinished = try await run.onLoop { worker in
            worker.link.layerDidReceive(groupMessage("chat_a", "large"))
            worker.link.layerDidFinishBurst()
            worker.link.layerDidReceive(groupMessage("chat_b", "small"))
            worker.link.layerDidFinishBurst()
            return worker.fanOut.sends - before == 21 && !worker.fanOut.isIdle
        }
        #expect(unfinished, "the small group was sent to before the large one was through")
        let heard = try await run.finish().map(messages)
        #expect(heard == Array(repeating: ["large"], count: 20) + [["small"]])
    }

    @Test func `a burst of one group is one send a member`() async throws {
        let run = try await DescriptorRun(rooms: ["a", "a", "a"])
        run.startReading()
        let before = try await run.health().sends
        try await run.push((0..<50).map { groupMessage("chat_a", "\($0)") })
        let after = try await run.health()
        #expect(after.sends - before == 3)
        #expect(after.messagesOut == 150)
        #expect(try await run.finish().map(messages) == Array(repeating: (0..<50).map { "\($0)" }, count: 3))
    }

    @Test func `a peer that is gone in the middle of a fan-out costs the others nothing`() async throws {
        let run = try await DescriptorRun(rooms: ["a", "a", "a", "a"])
        run.hangUp(1)
        try await run.push([groupMessage("chat_a", "1"), groupMessage("chat_a", "2")])
        run.startReading()
        try await run.push([groupMessage("chat_a", "3")])
        let health = try await run.health()
        #expect(health.sockets == 3)
        #expect(health.counters.closes == [1_006: 1])
        let heard = try await run.finish().map(messages)
        #expect([heard[0], heard[2], heard[3]] == Array(repeating: ["1", "2", "3"], count: 3))
    }
}

private func messages(_ frames: [ReceivedFrame]) -> [String] { frames.compactMap(\.message) }

extension DescriptorRun {
    /// Members of groups; a dot separates the rooms of one.
    fileprivate convenience init(rooms: [String], membersPerTurn: Int = 2_000) async throws {
        var limits = WorkerLimits()
        limits.membersPerTurn = membersPerTurn
        limits.outgoingBytes = 64 * 1_048_576
        let groups = rooms.map { $0.split(separator: ".").map { "chat_" + $0 } }
        try await self.init(limits, groups: groups, sendBufferBytes: 8_192)
    }
}
