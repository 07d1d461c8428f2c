import FanfareModel
import FanfareProtocol
import NIOCore
import Testing

@testable import FanfareBroker

/// A broker that loses, delays and disconnects on purpose.
struct ResilienceTests {
    private static func settings(_ change: (inout Resilience.Settings) -> Void) -> Resilience.Settings {
        var settings = Resilience.Settings()
        change(&settings)
        return settings
    }

    private static func send(_ number: Int = 0, id: RequestID? = nil, to channel: String = "c") -> Request {
        .send(id: id, channel: channel, body: [UInt8(truncatingIfNeeded: number)], SendOptions())
    }

    // MARK: Verdicts

    private func verdicts(_ settings: Resilience.Settings, _ count: Int = 10_000) -> [Resilience.Verdict] {
        var resilience = Resilience(settings)
        return (0..<count).map { resilience.verdict(on: Self.send($0)) }
    }

    @Test("the same seed gives the same verdicts, another seed others")
    func seeds() {
        let settings = Self.settings {
            $0.dropsPerMillion = 100_000
            $0.delaysPerMillion = 200_000
            $0.disconnectsPerMillion = 50_000
            $0.seed = 42
        }
        let first = verdicts(settings)
        #expect(first == verdicts(settings))
        var other = settings
        other.seed = 43
        #expect(first != verdicts(other))
        for verdict in [Resilience.Verdict.pass, .drop, .delay(.milliseconds(100)), .disconnect] {
            #expect(first.contains(verdict), "\(verdict)")
        }
        // About as many as asked for: within a fifth, which the seed decides for good.
        let drops = first.count { $0 == .drop }
        #expect((760...1_140).contains(drops), "\(drops) of 10000, of which 500 were disconnected before")
    }

    @Test("never is never and always is always")
    func bounds() {
        #expect(verdicts(Resilience.Settings()).allSatisfy { $0 == .pass })
        #expect(verdicts(Self.settings { $0.dropsPerMillion = 1_000_000 }).allSatisfy { $0 == .drop })
        let delays = Self.settings {
            $0.delaysPerMillion = 1_000_000
            $0.delayMilliseconds = 7
        }
        #expect(verdicts(delays).allSatisfy { $0 == .delay(.milliseconds(7)) })
        #expect(verdicts(Self.settings { $0.disconnectsPerMillion = 1_000_000 }).allSatisfy { $0 == .disconnect })
    }

    @Test("only messages are harmed, and what is no message does not move the dice")
    func onlyMessages() {
        var resilience = Resilience(Self.settings { $0.dropsPerMillion = 1_000_000 })
        let others: [Request] = [
            .ping(1), .goodbye, .receive(id: 1, channel: "c", count: 1), .cancel(id: 1, target: 2),
            .groupAdd(id: 1, group: "g", channels: ["c"], groupExpiry: nil), .flush(1),
            .report(Report(received: 0, taken: [], dropped: [])), .inspect(1, InspectionQuery(.status)),
        ]
        for request in others { #expect(resilience.verdict(on: request) == .pass) }
        let group = Request.groupSend(id: nil, group: "g", body: [], GroupSendOptions())
        #expect(resilience.verdict(on: group) == .drop)
        let half = Self.settings { $0.dropsPerMillion = 500_000 }
        var mixed = Resilience(half)
        let verdicts = (0..<100).map { number in
            _ = mixed.verdict(on: .ping(RequestID(number)))
            return mixed.verdict(on: Self.send(number))
        }
        #expect(verdicts == self.verdicts(half, 100))
    }

    // MARK: A broker with faults

    @Test("a dropped message is acknowledged, counted as injected and reaches nobody")
    func drops() async throws {
        let faults = Self.settings { $0.dropsPerMillion = 1_000_000 }
        try await TemporaryBroker.run(resilience: faults) { broker in
            let owner = try await broker.session(node: "n")
            try await owner.write(.groupAdd(id: 1, group: "g", channels: ["n!1", "n!2", "c"], groupExpiry: nil))
            #expect(try await owner.reply() == .ack(1))
            let sender = try await broker.session()
            for id in RequestID(1)...5 { try await sender.write(Self.send(id: id)) }
            try await sender.write(
                Self.send(to: "n!1"),
                .groupSend(id: 6, group: "g", body: [1], GroupSendOptions()),
                .groupSend(id: 7, group: "nobody", body: [1], GroupSendOptions())
            )
            #expect(try await sender.settled() == (RequestID(1)...7).map { .ack($0) })
            #expect(try await owner.settled().isEmpty)
            // Five and one directly, and each of the three members of the group.
            #expect(try await broker.drops("injected") == 9)
            #expect(try await broker.count("queued_messages") == 0)
        }
    }

    @Test("delays keep the order of a connection, its other requests included")
    func delays() async throws {
        let faults = Self.settings {
            $0.delaysPerMillion = 300_000
            $0.delayMilliseconds = 3
        }
        try await TemporaryBroker.run(resilience: faults) { broker in
            let owner = try await broker.session(node: "n") { $0.policy.capacity = 1_000 }
            let sender = try await broker.session()
            for number in 0..<200 { try await sender.write(Self.send(number, id: RequestID(number + 1), to: "n!1")) }
            #expect(try await sender.settled() == (1...200).map { .ack(RequestID($0)) })
            var bodies: [UInt8] = []
            while bodies.count < 200, case .deliver(_, let body, _, _)? = try await owner.reply() { bodies += body }
            #expect(bodies == (0..<200).map { UInt8($0) })
        }
    }

    @Test("who sends more than is held back loses nothing, and keeps its order")
    func delaysOfMany() async throws {
        let faults = Self.settings {
            $0.delaysPerMillion = 500_000
            $0.delayMilliseconds = 500
        }
        try await TemporaryBroker.run(resilience: faults) { broker in
            let count = Resilience.heldMaximum + 500
            let owner = try await broker.session(node: "n") { $0.policy.capacity = 100_000 }
            let sender = try await broker.session()
            for number in 0..<count { try await sender.write(Self.send(number, to: "n!1")) }
            var bodies: [UInt8] = []
            while bodies.count < count, case .deliver(_, let body, _, _)? = try await owner.reply() { bodies += body }
            #expect(bodies == (0..<count).map { UInt8(truncatingIfNeeded: $0) })
        }
    }

    @Test("what was held back for a connection that has gone is sent all the same")
    func delayedAndGone() async throws {
        let faults = Self.settings {
            $0.delaysPerMillion = 1_000_000
            $0.delayMilliseconds = 60_000
        }
        try await TemporaryBroker.run(resilience: faults) { broker in
            let sender = try await broker.session()
            for number in 0..<3 { try await sender.write(Self.send(number)) }
            sender.close()
            try await broker.eventually("sessions", is: 0)
            #expect(try await broker.count("queued_messages") == 3)
        }
    }

    @Test("a disconnect closes the sender's connection without a word, and nobody else's")
    func disconnects() async throws {
        let faults = Self.settings { $0.disconnectsPerMillion = 1_000_000 }
        try await TemporaryBroker.run(resilience: faults) { broker in
            let (owner, sender) = (try await broker.session(node: "n"), try await broker.session())
            #expect(try await sender.settled().isEmpty)
            try await sender.write(Self.send(id: 2, to: "n!1"))
            #expect(try await sender.repliesToEnd().isEmpty)
            #expect(try await owner.settled().isEmpty)
            #expect(try await broker.count("sessions") == 1)
        }
    }

    @Test("status says what is wrong with this broker, and nothing where nothing is")
    func status() async throws {
        let faults = Self.settings {
            $0.dropsPerMillion = 1
            $0.seed = 9
        }
        try await TemporaryBroker.run(resilience: faults) { broker in
            let shown = try await broker.server.status()["resilience_testing"]
            #expect(shown?["drops_per_million"] == 1)
            #expect(shown?["seed"] == 9)
            #expect(shown?["disconnects_per_million"] == 0)
        }
        try await TemporaryBroker.run { broker in
            let status = try await broker.server.status()
            #expect(status["resilience_testing"] == nil && status["sends"] == 0)
        }
    }

    @Test("nothing is harmed when it is off, or when every fault is impossible", arguments: [true, false])
    func off(isOn: Bool) async throws {
        try await TemporaryBroker.run(resilience: isOn ? Resilience.Settings() : nil) { broker in
            let owner = try await broker.session(node: "n") { $0.policy.capacity = 10_000 }
            let sender = try await broker.session()
            for number in 0..<2_000 { try await sender.write(Self.send(number, id: RequestID(number + 1), to: "n!1")) }
            #expect(try await sender.settled() == (1...2_000).map { .ack(RequestID($0)) })
            for number in 0..<2_000 {
                guard case .deliver(_, let body, _, _)? = try await owner.reply() else {
                    Issue.record("message \(number) is missing")
                    return
                }
                #expect(body == [UInt8(truncatingIfNeeded: number)])
            }
            #expect(try await broker.drops("injected") == 0)
        }
    }
}
