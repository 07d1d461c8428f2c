import FanfareBroker
import FanfareModel
import FanfareProtocol
import Glibc
import Testing

/// One start of the broker goes on where another one stopped.
struct HandoverTests {
    /// A place where brokers follow each other.
    private final class Succession {
        let folder: TemporaryFolder
        var configuration = BrokerServer.Configuration()
        private(set) var broker: TemporaryBroker

        init(_ limits: Limits = Limits()) async throws {
            folder = try TemporaryFolder()
            configuration.endpoints = [.unix(path: folder.path + "/broker.sock")]
            configuration.limits = limits
            configuration.statePath = folder.path + "/file"
            let server = try await BrokerServer.start(configuration, logger: TemporaryBroker.quiet())
            broker = TemporaryBroker(server: server, folder: folder)
        }

        func restart() async throws {
            await stop()
            let server = try await BrokerServer.start(configuration, logger: TemporaryBroker.quiet())
            broker = TemporaryBroker(server: server, folder: folder)
        }

        func stop() async {
            await broker.server.stop(within: Milliseconds(2_000))
        }

        var hasFile: Bool { access(folder.path + "/file", F_OK) == 0 }

        /// Connects and says hello.
        func greet(
            _ node: String? = nil,
            resume: Hello.Resume? = nil,
            canResume: Bool = true
        ) async throws -> (RawConnection, Welcome) {
            let connection = try RawConnection(broker.unix)
            let hello = broker.hello(.worker, node: node) {
                $0.capabilities = canResume ? ["resume"] : []
                $0.resume = resume
            }
            try await connection.write(.hello(hello))
            guard case .welcome(let welcome)? = try await connection.reply() else {
                throw RawConnection.Ending.system("no welcome")
            }
            return (connection, welcome)
        }
    }

    private func resume(_ welcome: Welcome, received: UInt64) throws -> Hello.Resume {
        Hello.Resume(token: try #require(welcome.resumption?.token), received: received)
    }

    @Test("queues, memberships, waiting receives and kept replies outlive a planned restart")
    func everything() async throws {
        let place = try await Succession()
        let (owner, welcome) = try await place.greet("n")
        try await owner.write(
            .groupAdd(id: 1, group: "room", channels: ["n!a"], groupExpiry: nil),
            .receive(id: 2, channel: "jobs", count: 2)
        )
        #expect(try await owner.reply() == .ack(1))
        let (away, awayWelcome) = try await place.greet("m")
        away.close()
        try await place.broker.eventually("detached", is: 1)
        let (plain, plainWelcome) = try await place.greet("p", canResume: false)
        let trace = TraceContext([.init("traceparent", "00-1-2-01")])
        try await plain.write(
            .groupAdd(id: 1, group: "room", channels: ["p!a"], groupExpiry: nil),
            .send(id: 2, channel: "m!x", body: [1], SendOptions(trace: trace)),
            .send(id: 3, channel: "work", body: [2], SendOptions(trace: trace)),
            .groupSend(id: 4, group: "room", body: [3], GroupSendOptions(trace: trace))
        )
        #expect(try await plain.settled().contains(.ack(4)))
        var delivery = GroupDelivery(group: "room", body: [3], remaining: Milliseconds(60_000))
        delivery.trace = trace
        #expect(try await owner.reply() == .groupDeliver(delivery))
        try await place.restart()
        #expect(!place.hasFile, "who reads it removes it")
        #expect(try await place.broker.count("sessions") == 2)
        #expect(try await place.broker.count("memberships") == 1, "a session that cannot be resumed has ended")

        let (again, resumed) = try await place.greet("n", resume: try resume(welcome, received: 1))
        #expect(resumed.resumption?.resumedAfter == 2)
        #expect(resumed.epoch == welcome.epoch && resumed.session == welcome.session)
        guard case .groupDeliver(let repeated)? = try await again.reply() else {
            Issue.record("the reply that was not reported is not repeated")
            return
        }
        #expect(repeated.body == [3] && repeated.trace == trace)
        let (back, backWelcome) = try await place.greet("m", resume: try resume(awayWelcome, received: 0))
        #expect(backWelcome.resumption?.resumedAfter == 0)
        guard case .deliver("m!x", [1], _, trace)? = try await back.reply() else {
            Issue.record("what came while nobody was there has gone")
            return
        }
        let (other, otherWelcome) = try await place.greet("p")
        #expect(otherWelcome.session > plainWelcome.session, "no number is given out twice")
        try await other.write(
            .send(id: 1, channel: "jobs", body: [4], SendOptions()),
            .groupSend(id: 2, group: "room", body: [5], GroupSendOptions()),
            .receive(id: 3, channel: "work", count: 1)
        )
        guard case .handOut(2, let job)? = try await again.reply(), case .groupDeliver? = try await again.reply() else {
            Issue.record("the receive or the membership is gone")
            return
        }
        #expect(job.body == [4])
        let replies = try await other.settled()
        guard case .handOut(3, let work)? = replies.last else {
            Issue.record("the queue is gone: \(replies)")
            return
        }
        #expect(work.body == [2] && work.trace == trace)
        await place.stop()
    }

    @Test("requests that were on their way are carried out once", arguments: 0..<4)
    func exactlyOnce(_ round: Int) async throws {
        let place = try await Succession()
        let (client, welcome) = try await place.greet()
        let requests = (1...5_000).map { number in
            Request.send(
                id: nil,
                channel: "q\(number / 50)",
                body: withUnsafeBytes(of: UInt32(number)) { Array($0) },
                SendOptions()
            )
        }
        let frames = requests.map { request in
            let frame = FrameBuffer()
            frame.append(request)
            return frame.withUnsafeBytes { Array($0) }
        }
        // Cut in the middle of a frame, and the broker stops while it reads.
        try await client.write(Array(frames.joined().dropLast(frames.last!.count * 100 * round + 7)))
        try await place.restart()
        let (again, resumed) = try await place.greet(resume: try resume(welcome, received: 0))
        let taken = Int(try #require(resumed.resumption?.resumedAfter))
        #expect(taken < requests.count)
        try await again.write(Array(frames[taken...].joined()))
        _ = try await again.settled()
        var bodies: [Body] = []
        for queue in 0...100 {
            try await again.write(.receive(id: RequestID(queue + 1), channel: "q\(queue)", count: 100))
            for case .handOut(_, let handOut) in try await again.settled() { bodies.append(handOut.body) }
        }
        #expect(bodies == (1...5_000).map { number in withUnsafeBytes(of: UInt32(number)) { Array($0) } })
        await place.stop()
    }

    @Test("a session nobody comes for after the restart ends with its grace")
    func grace() async throws {
        var limits = Limits()
        limits.resumeGrace = Milliseconds(700)
        let place = try await Succession(limits)
        let (client, _) = try await place.greet("n")
        try await client.write(.groupAdd(id: 1, group: "room", channels: ["n!a"], groupExpiry: nil))
        #expect(try await client.reply() == .ack(1))
        try await place.restart()
        try await place.broker.eventually("sessions", is: 0)
        #expect(try await place.broker.count("memberships") == 0)
        await place.stop()
    }

    @Test("after a damaged file the broker begins anew, with another epoch")
    func damaged() async throws {
        let place = try await Succession()
        let (_, welcome) = try await place.greet("n")
        await place.stop()
        let descriptor = open(place.folder.path + "/file", O_WRONLY)
        #expect(pwrite(descriptor, "x", 1, 40) == 1)
        close(descriptor)
        try await place.restart()
        #expect(!place.hasFile)
        let (_, anew) = try await place.greet("n", resume: try resume(welcome, received: 0))
        #expect(anew.epoch != welcome.epoch && anew.resumption?.resumedAfter == nil)
        await place.stop()
    }

    @Test("a start whose endpoint is taken leaves the state to the one that is meant")
    func takenEndpoint() async throws {
        let place = try await Succession()
        let (_, welcome) = try await place.greet("n")
        let (stalled, _) = try await place.greet(canResume: false)
        await #expect(throws: ProgramFailure.self) {
            try await BrokerServer.start(place.configuration, logger: TemporaryBroker.quiet())
        }
        stalled.close()
        try await place.restart()
        let (_, resumed) = try await place.greet("n", resume: try resume(welcome, received: 0))
        #expect(resumed.resumption?.resumedAfter == 0)
        await place.stop()
    }
}
