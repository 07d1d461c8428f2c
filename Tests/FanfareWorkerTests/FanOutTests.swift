import FanfareModel
import Testing

@testable import FanfareWorker

/// The direct way to real descriptors: every socket must see its groups and its own messages in the broker's order,
/// whatever was merged, however full the kernel's buffers are.
@Suite(.timeLimit(.minutes(1))) struct FanOutTests {
    @Test("Members of several groups see one order, readers that stall included", arguments: UInt64(0)..<6)
    func order(seed: UInt64) async throws {
        let rooms = ["a", "a", "b", "a.b", "b.c", "a.b.c", "c"]
        let run = try await DescriptorRun(rooms: rooms)
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
    fileprivate convenience init(rooms: [String]) async throws {
        var limits = WorkerLimits()
        limits.outgoingBytes = 64 * 1_048_576
        let groups = rooms.map { $0.split(separator: ".").map { "chat_" + $0 } }
        try await self.init(limits, groups: groups, sendBufferBytes: 8_192)
    }
}
