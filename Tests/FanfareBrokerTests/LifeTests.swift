import FanfareBroker
import FanfareModel
import FanfareProtocol
import Glibc
import Testing

/// Connections that do not read or do not speak, starting and stopping.
struct LifeTests {
    @Test("a peer that does not read costs only itself, and hears how much it missed when it reads again")
    func linkOverflow() async throws {
        var limits = Limits()
        limits.linkBytes = 1_048_576
        try await TemporaryBroker.run(limits) { broker in
            let slow = try await broker.session(node: "slow")
            let quick = try await broker.session(node: "quick")
            for (owner, node) in [(slow, "slow"), (quick, "quick")] {
                try await owner.write(.groupAdd(id: 1, group: "room", channels: ["\(node)!1"], groupExpiry: nil))
                #expect(try await owner.reply() == .ack(1))
            }
            let publisher = try await broker.session(.publish)
            var sent: UInt64 = 0
            while try await broker.drops("link_overflow") < 20, sent < 2_000 {
                sent += 1
                let body = Body(repeating: UInt8(sent % 251), count: 65_536)
                try await publisher.write(.groupSend(id: 1, group: "room", body: body, GroupSendOptions()))
                #expect(try await publisher.reply() == .ack(1))
                guard case .groupDeliver(let delivery)? = try await quick.reply() else {
                    Issue.record("the quick peer lost its link")
                    return
                }
                #expect(delivery.body == body)
            }
            #expect(try await broker.count("sessions") == 3)
            #expect(try await broker.count("memberships") == 2)
            var received: UInt64 = 0
            while case .groupDeliver(let delivery)? = try await slow.reply() {
                received += 1
                #expect(delivery.body.first == UInt8(received % 251), "what came before the hole is in order")
                if received + 20 == sent { break }
            }
            #expect(try await slow.reply() == .gap(Gap(name: nil, count: 20, reason: .linkOverflow)))
            #expect(received + 20 == sent, "every message was delivered or is told of")
            try await publisher.write(.groupSend(id: 1, group: "room", body: [1], GroupSendOptions()))
            guard case .groupDeliver(let next)? = try await slow.reply() else {
                Issue.record("nothing came after the gap")
                return
            }
            #expect(next.body == [1])
        }
    }

    @Test("a peer that asks and never reads the answers loses its connection")
    func answersUnread() async throws {
        var limits = Limits()
        limits.linkBytes = 100_000
        try await TemporaryBroker.run(limits) { broker in
            let asking = try await broker.session(.admin)
            var asked = 0
            while try await broker.count("sessions") == 1, asked < 200 {
                asked += 1
                for id in RequestID(1)...500 { _ = try await asking.write(.inspect(id, InspectionQuery(.status))) }
            }
            try await broker.eventually("sessions", is: 0)
            #expect(try await broker.server.status()["refused"]?["link_overflow"]?.int == 1)
        }
    }

    @Test("who says goodbye with a full link and never reads is closed all the same")
    func goodbyeWithoutReading() async throws {
        try await TemporaryBroker.run { broker in
            let client = try await broker.session(node: "n")
            let body = Body(repeating: 7, count: 100_000)
            // More than the kernel's buffers hold waits in the broker.
            for _ in 0..<60 { try await client.write(.send(id: nil, channel: "n!1", body: body, SendOptions())) }
            try await client.write(.goodbye)
            try await broker.eventually("sessions", is: 0)
            // A write fails once the broker has closed its end.
            try await poll("the connection is closed") { try await !client.write([0]) }
        }
    }

    @Test("a silent session is asked for a sign of life, then given up with the reason")
    func silence() async throws {
        var limits = Limits()
        limits.pingAfter = Milliseconds(50)
        limits.silenceMaximum = Milliseconds(100)
        try await TemporaryBroker.run(limits) { broker in
            // The raw client answers pings while it reads; this one does not read until it is over.
            let client = try await broker.session(node: "n")
            try await broker.eventually("sessions", is: 0)
            #expect(try await client.repliesToEnd().last?.refusal == .silence)
        }
    }

    @Test("a session that answers pings is kept")
    func pong() async throws {
        var limits = Limits()
        limits.pingAfter = Milliseconds(100)
        limits.silenceMaximum = Milliseconds(60_000)
        try await TemporaryBroker.run(limits) { broker in
            let client = try await broker.session()
            // A second ping needs an answer to the first.
            try await poll("two pings were answered") {
                try await Task.sleep(for: .milliseconds(300))
                _ = try await client.settled()
                return client.pingsAnswered >= 2
            }
            #expect(try await broker.count("sessions") == 1)
        }
    }

    @Test("stopping says goaway, then closes, and takes the socket away")
    func gracefulStop() async throws {
        let folder = try TemporaryFolder()
        var configuration = BrokerServer.Configuration()
        configuration.endpoints = [.unix(path: folder.path + "/broker.sock")]
        configuration.limits.helloWithin = Milliseconds(60_000)
        let server = try await BrokerServer.start(configuration, logger: TemporaryBroker.quiet())
        let broker = TemporaryBroker(server: server, folder: folder)
        let session = try await broker.session()
        let stranger = try RawConnection(broker.unix)
        try await broker.eventually("strangers", is: 1)
        async let stopped: Void = server.stop(within: Milliseconds(20_000))
        let replies = try await session.repliesToEnd()
        #expect(replies.count == 1)
        guard case .goAway(Milliseconds(20_000), _, _)? = replies.first else {
            Issue.record("no goaway but \(replies)")
            return
        }
        #expect(try await stranger.repliesToEnd().isEmpty)
        await stopped
        #expect(access(folder.path + "/broker.sock", F_OK) != 0)
        #expect(throws: RawConnection.Ending.self) { try RawConnection(.unix(path: folder.path + "/broker.sock")) }
    }

    @Test("stopping does not wait for a peer that does not read longer than it was told")
    func stopWithoutReader() async throws {
        let folder = try TemporaryFolder()
        var configuration = BrokerServer.Configuration()
        configuration.endpoints = [.unix(path: folder.path + "/broker.sock")]
        let server = try await BrokerServer.start(configuration, logger: TemporaryBroker.quiet())
        let broker = TemporaryBroker(server: server, folder: folder)
        let client = try await broker.session(node: "n")
        let body = Body(repeating: 7, count: 100_000)
        for _ in 0..<60 { try await client.write(.send(id: nil, channel: "n!1", body: body, SendOptions())) }
        try await broker.eventually("delivers", is: 60)
        await server.stop(within: Milliseconds(200))
        try await poll("the connection is closed") { try await !client.write([0]) }
    }

    @Test("stopping twice, also at once, ends twice")
    func stopTwice() async throws {
        let folder = try TemporaryFolder()
        var configuration = BrokerServer.Configuration()
        configuration.endpoints = [.unix(path: folder.path + "/broker.sock")]
        let server = try await BrokerServer.start(configuration, logger: TemporaryBroker.quiet())
        let client = try await TemporaryBroker(server: server, folder: folder).session()
        async let first: Void = server.stop(within: Milliseconds(500))
        async let second: Void = server.stop(within: Milliseconds(500))
        _ = await (first, second)
        await server.stop(within: Milliseconds(500))
        _ = try await client.repliesToEnd()
        await #expect(throws: ProgramFailure.self) { try await server.status() }
    }

    @Test("a start that fails on its second endpoint leaves nothing of the first")
    func failedStart() async throws {
        let folder = try TemporaryFolder()
        var configuration = BrokerServer.Configuration()
        configuration.endpoints = [
            .unix(path: folder.path + "/broker.sock"), .unix(path: folder.path + "/missing/b.sock"),
        ]
        let failure = await #expect(throws: ProgramFailure.self) {
            try await BrokerServer.start(configuration, logger: TemporaryBroker.quiet())
        }
        #expect(failure?.exit == .configuration)
        #expect(failure?.text.contains("/missing/") == true)
        #expect(access(folder.path + "/broker.sock", F_OK) != 0)
    }

    @Test("a taken port is refused with its address")
    func takenPort() async throws {
        try await TemporaryBroker.run { broker in
            var configuration = BrokerServer.Configuration()
            configuration.endpoints = [broker.tcp]
            let failure = await #expect(throws: ProgramFailure.self) {
                try await BrokerServer.start(configuration, logger: TemporaryBroker.quiet())
            }
            #expect(failure?.exit == .configuration)
            #expect(failure?.text.contains(broker.tcp.description) == true)
        }
    }

    @Test("status names the endpoints as they are bound")
    func statusEndpoints() async throws {
        try await TemporaryBroker.run { broker in
            let listed = try await broker.server.status()["endpoints"]?.array?.compactMap(\.string)
            #expect(listed == [broker.unix.description, broker.tcp.description])
            #expect(broker.tcp != .tcp(host: "127.0.0.1", port: 0))
        }
    }

    @Test("status counts what went through, and has every entry of section 9")
    func status() async throws {
        try await TemporaryBroker.run { broker in
            let client = try await broker.session(node: "n")
            try await client.write(
                .send(id: 1, channel: "c", body: [1], SendOptions()),
                .receive(id: 2, channel: "waits", count: 1),
                .send(id: 3, channel: "bad name", body: [1], SendOptions())
            )
            _ = try await client.settled()
            let status = try #require(try await broker.server.status().map)
            let listed = [
                "broker", "epoch", "pid", "uptime_milliseconds", "endpoints", "sessions", "detached",
                "resumed", "resume_refused", "strangers", "namespaces", "channels", "groups", "memberships",
                "queued_messages", "queued_bytes", "memory_bytes", "memory_refusals", "receives", "tails", "frames_in",
                "frames_out", "bytes_in", "bytes_out", "sends", "group_sends", "group_deliver_frames", "delivers",
                "hand_outs", "errors", "drops", "refused", "reloads", "tls_failures",
            ]
            #expect(Set(listed).subtracting(status.keys).isEmpty)
            #expect(status["pid"]?.int == Int64(getpid()))
            #expect(status["sessions"] == 1)
            #expect(status["receives"] == 1)
            #expect(status["queued_messages"] == 1)
            #expect(status["frames_in"] == 5)
            #expect(status["errors"] == 1)
            #expect(status["refused"]?["bad_name"] == 1)
        }
    }
}
