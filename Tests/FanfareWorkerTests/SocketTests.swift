import FanfareModel
import Testing

@testable import FanfareWorker

@Suite struct SocketTests {
    @Test func `pings are answered with their payload, fragments and empty messages arrive`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let socket = try run.socket("a", isEcho: true)
        try socket.receive(
            ClientFrame.bytes(first: 0x89, [1, 2]) + ClientFrame.text("") + ClientFrame.text("a", isFinal: false)
                + ClientFrame.continuation([98], isFinal: true) + ClientFrame.bytes(first: 0x82, [])
        )
        let frames = try socket.frames()
        #expect(frames.map(\.opcode) == [10, 1, 1, 2])
        #expect(frames.map(\.payload) == [[1, 2], [], [97, 98], []])
    }

    @Test func `a violation closes with its code, and nothing that follows counts`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let socket = try run.socket("a", isEcho: true)
        run.turn()
        try socket.receive(ClientFrame.bytes(first: 0x81, [0xff]) + ClientFrame.text("later"))
        let frames = try socket.frames()
        #expect(frames.map(\.closeCode) == [1_007])
        try socket.receive(ClientFrame.text("much later"))
        #expect(try socket.frames().isEmpty)
        #expect(run.worker.counters.messagesIn == 0)
        #expect(run.worker.counters.closes == [1_007: 1])
    }

    @Test func `the chat answers what it cannot read and closes on bytes`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let socket = try run.socket("a")
        try socket.receive(ClientFrame.text("hello"))
        #expect(try socket.frames().first?.json?["error"]?.string != nil)
        try socket.receive(ClientFrame.bytes(first: 0x82, [1]))
        #expect(try socket.frames().map(\.closeCode) == [1_003])
    }

    @Test func `a socket that is silent between two pings is gone, one that answers stays`() throws {
        var limits = WorkerLimits()
        limits.pingAfter = Milliseconds(3_000)
        let run = EmbeddedWorker(limits)
        run.connect()
        let silent = try run.socket("a")
        let alive = try run.socket("a")
        run.turn()
        for tick in 1...6 {
            run.worker.timePassed()
            run.turn()
            let pings = try alive.frames().filter { $0.opcode == 9 }.count
            #expect(pings == (tick == 3 || tick == 6 ? 1 : 0))
            for _ in 0..<pings { try alive.receive(ClientFrame.bytes(first: 0x8a, [])) }
        }
        #expect(!silent.isConnected)
        #expect(alive.isConnected)
        #expect(run.members(of: "chat_a") == [alive.socket.number])
        #expect(run.worker.counters.closes == [1_006: 1])
    }

    @Test func `a peer that does not answer a close frame is cut off`() throws {
        var limits = WorkerLimits()
        limits.closeWithin = Milliseconds(2_000)
        let run = EmbeddedWorker(limits)
        run.connect()
        let answers = try run.socket("a")
        let silent = try run.socket("a")
        run.turn()
        answers.socket.close(.normal, reason: "")
        silent.socket.close(.normal, reason: "")
        try answers.receive(ClientFrame.text("crossing") + ClientFrame.close(1_000))
        #expect(!answers.isConnected)
        #expect(silent.isConnected)
        for _ in 0..<3 { run.worker.timePassed() }
        run.turn()
        #expect(!silent.isConnected)
        #expect(run.worker.counters.messagesIn == 0)
    }

    @Test func `stopping closes every socket with 1001 and says when the last is gone`() throws {
        let run = EmbeddedWorker()
        run.connect()
        let sockets = try (0..<3).map { _ in try run.socket("a") }
        run.turn()
        run.broker.forgetRequests()
        var isEmpty = false
        run.worker.stop { isEmpty = true }
        run.turn()
        #expect(run.broker.requests.count == 1)
        for socket in sockets {
            #expect(!isEmpty)
            #expect(try socket.frames().map(\.closeCode) == [1_001])
            try socket.receive(ClientFrame.close(1_001))
        }
        #expect(isEmpty)
        #expect(!run.worker.admitsStranger())
    }

    @Test func `the table of groups equals a naive one after any history`() throws {
        for seed in UInt64(0)..<20 {
            var random = SplitMix64(seed: seed)
            let run = EmbeddedWorker()
            run.connect()
            var sockets = try (0..<12).map { _ in try run.socket("none", isEcho: true) }
            run.turn()
            for socket in sockets { run.worker.fanOut.removeAll(socket.socket) }
            var expected: [String: Set<UInt64>] = [:]
            for _ in 0..<400 {
                let socket = sockets[Int(random.next() % UInt64(sockets.count))].socket
                let group = "g\(random.next() % 5)"
                switch random.next() % 10 {
                case 0..<6:
                    run.worker.fanOut.want(socket, in: group)
                    run.worker.fanOut.activate(socket, in: group)
                    expected[group, default: []].insert(socket.number)
                case 6..<9:
                    run.worker.fanOut.remove(socket, from: group)
                    expected[group]?.remove(socket.number)
                default:
                    socket.abandon(.abnormal)
                    run.turn()
                    for group in expected.keys { expected[group]?.remove(socket.number) }
                    sockets.removeAll { $0.socket === socket }
                    sockets.append(try run.socket("none", isEcho: true))
                    run.turn()
                    run.worker.fanOut.removeAll(sockets.last!.socket)
                }
                check(run, expected, sockets.map(\.socket), seed)
            }
        }
    }

    private func check(_ run: EmbeddedWorker, _ expected: [String: Set<UInt64>], _ sockets: [Socket], _ seed: UInt64) {
        let populated = expected.filter { !$0.value.isEmpty }
        #expect(run.worker.fanOut.groupCount == populated.count, "seed \(seed)")
        for (group, numbers) in populated {
            #expect(run.members(of: group) == numbers, "seed \(seed), group \(group)")
            for audience in run.worker.fanOut.audiences(of: group) {
                #expect(audience.descriptors.count == audience.count)
                #expect(audience.wanted == audience.count)
                #expect(audience.shared == audience.sockets.filter { $0.memberships.count > 1 }.count, "seed \(seed)")
            }
        }
        for socket in sockets {
            for membership in socket.memberships {
                #expect(membership.position.map { membership.audience.sockets[$0] === socket } == true)
            }
        }
    }
}
