import FanfareBroker
import FanfareModel
import FanfareProtocol
import Synchronization
import Testing

/// What an operator may ask of sessions and of the broker; section 5.15.
struct AdminTests {
    @Test("a kicked session hears why and is gone with all it had; the node is free")
    func kick() async throws {
        try await TemporaryBroker.run { broker in
            let worker = try await broker.session(node: "n")
            try await worker.write(.groupAdd(id: 1, group: "room", channels: ["n!1"], groupExpiry: nil))
            #expect(try await worker.reply() == .ack(1))
            let admin = try await broker.session(.admin)
            let arguments: MessageValue = ["session": .count(1), "reason": "maintenance"]
            try await admin.write(.admin(1, command: "kick", arguments: arguments))
            #expect(try await admin.reply() == .result(1, ["session": .count(1), "name": "raw"]))
            #expect(try await worker.repliesToEnd() == [.error(nil, Failure(.kicked, "maintenance"))])
            #expect(try await broker.count("memberships") == 0)
            _ = try await broker.session(node: "n")
            try await admin.write(.admin(2, command: "kick", arguments: arguments))
            #expect(try await admin.reply()?.isError(.notFound, id: 2) == true)
        }
    }

    @Test("a drained session is asked to go, and stays until it does")
    func drainSession() async throws {
        try await TemporaryBroker.run { broker in
            let worker = try await broker.session(node: "n")
            let admin = try await broker.session(.admin)
            let arguments: MessageValue = ["session": .count(1), "within_milliseconds": .count(700)]
            try await admin.write(.admin(1, command: "drain", arguments: arguments))
            #expect(try await admin.reply() == .result(1, ["session": .count(1)]))
            guard case .goAway(let within, _, drains: true)? = try await worker.reply() else {
                Issue.record("no goaway")
                return
            }
            #expect(within == Milliseconds(700))
            #expect(try await worker.settled().isEmpty)
            try await worker.write(.goodbye)
            #expect(try await worker.reply() == nil)
        }
    }

    @Test("a drained broker answers, says goaway to all and stops")
    func drainBroker() async throws {
        try await TemporaryBroker.run { broker in
            let worker = try await broker.session(node: "n")
            let admin = try await broker.session(.admin)
            try await admin.write(.admin(1, command: "drain", arguments: ["within_milliseconds": .count(5_000)]))
            #expect(try await admin.reply() == .result(1, .map([:])))
            guard case .goAway(_, _, drains: false)? = try await worker.reply() else {
                Issue.record("no goaway")
                return
            }
            #expect(try await worker.reply() == nil)
            try await poll("nobody listens any more") {
                do {
                    _ = try RawConnection(broker.unix)
                    return false
                } catch {
                    return true
                }
            }
        }
    }

    @Test("who runs the broker may say what its drain does")
    func drainHook() async throws {
        let folder = try TemporaryFolder()
        let asked = Mutex<[Milliseconds]>([])
        var configuration = BrokerServer.Configuration()
        configuration.endpoints = [.unix(path: folder.path + "/broker.sock")]
        configuration.onDrain = { within in asked.withLock { $0.append(within) } }
        let server = try await BrokerServer.start(configuration, logger: TemporaryBroker.quiet())
        let admin = try await TemporaryBroker(server: server, folder: folder).session(.admin)
        try await admin.write(.admin(1, command: "drain", arguments: [:]))
        #expect(try await admin.settled() == [.result(1, .map([:]))])
        try await poll("the drain is asked for") { asked.withLock { $0 } == [Milliseconds(10_000)] }
        await server.stop(within: Milliseconds(2_000))
    }

    @Test(
        "what cannot be understood is refused and changes nothing",
        arguments: [
            ("kick", [:]), ("kick", ["session": .count(1)]), ("kick", ["session": "1", "reason": "x"]),
            ("kick", ["session": -1, "reason": "x"]), ("drain", ["within_milliseconds": -1]),
            ("drain", ["within_milliseconds": .int(.max)]), ("drain", ["within_milliseconds": "soon"]),
            ("drain", ["session": nil]), ("explode", ["session": .count(1)]), ("kick", nil), ("", "text"),
        ] as [(String, MessageValue)]
    )
    func refused(command: String, arguments: MessageValue) async throws {
        try await TemporaryBroker.run { broker in
            let witness = try await broker.session(node: "n")
            let admin = try await broker.session(.admin)
            try await admin.write(.admin(7, command: command, arguments: arguments))
            #expect(try await admin.reply()?.isError(.badRequest, id: 7) == true)
            #expect(try await witness.settled().isEmpty)
            #expect(try await broker.count("sessions") == 2)
        }
    }
}
