import FanfareModel
import Foundation
import Testing

/// The second tier of the simulation: not the core alone, but the broker's loop and its connections, down to bytes.
///
/// `FANFARE_BURST_SEED` is the first seed and alone the only one; `FANFARE_BURST_SEEDS` says how many.
@Suite("Bursts of bytes")
struct BurstSimulationTests {
    static let first = number("FANFARE_BURST_SEED") ?? 1
    static let seeds = number("FANFARE_BURST_SEEDS") ?? (number("FANFARE_BURST_SEED") == nil ? 100 : 1)

    private static func number(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    @Test("however bytes are cut: streams decode, order holds, each message arrives at most once and is accounted for")
    func promisesHold() throws {
        var reasons: Set<String> = []
        var resumed: UInt64 = 0
        for seed in Self.first..<(Self.first + Self.seeds) {
            let simulation = try BurstSimulation(seed: seed)
            try simulation.run(steps: 3_000)
            let account = try simulation.account()
            try simulation.stop()
            let again = Comment(
                rawValue: "\(simulation.trouble); again: FANFARE_BURST_SEED=\(seed) swift test --filter Burst"
            )
            #expect(simulation.ledger.complaints.isEmpty, again)
            Self.expectBooksToBalance(simulation, account.status, account.drops, again)
            if simulation.trouble.isLossless { Self.expectAllAccountedFor(simulation, account.drops, again) }
            guard simulation.ledger.complaints.isEmpty else { return }
            resumed += Self.count(account.status["resumed"])
            #expect(account.status["resume_refused"] == 0, again)
            reasons.formUnion(account.drops.compactMap { $0["reason"]?.string })
        }
        guard Self.seeds >= 20 else { return }
        #expect(resumed > 100, "hardly a session was ever gone on with")
        #expect(reasons == ["full", "expired", "owner_gone", "link_overflow"], "some trouble never came up")
    }

    /// The broker's own counters: every send is handed out, pushed, still queued or dropped for a reason.
    private static func expectBooksToBalance(
        _ simulation: BurstSimulation,
        _ status: MessageValue,
        _ drops: [MessageValue],
        _ again: Comment
    ) {
        func counter(_ name: String) -> UInt64 { count(status[name]) }
        // What owners lost had been pushed before.
        let dropped = sum(drops) { $0["kind"] == "channel" && $0["reason"] != "owner_gone" }
        let reached = counter("hand_outs") + counter("delivers") + counter("queued_messages")
        #expect(counter("sends") == reached + dropped, again)
        for reason in DropReason.allCases {
            let rows = sum(drops) { $0["reason"] == .string(reason.name) }
            #expect(count(status["drops"]?[reason.name]) == rows, again)
        }
        let ledger = simulation.ledger
        #expect(ledger.handOuts <= counter("hand_outs"), again)
        #expect(ledger.delivers <= counter("delivers"), again)
        #expect(ledger.groupDeliveries <= counter("group_deliver_frames"), again)
        guard simulation.trouble.isLossless else { return }
        #expect(ledger.handOuts == counter("hand_outs"), again)
        #expect(ledger.delivers == counter("delivers"), again)
        #expect(ledger.groupDeliveries == counter("group_deliver_frames"), again)
        #expect(counter("queued_messages") == 0, again)
        #expect(ledger.delivers > 0 && ledger.handOuts > 0 && ledger.groupDeliveries > 0, again)
    }

    /// Where no connection was lost: each message arrived once or somebody was told that it did not.
    private static func expectAllAccountedFor(
        _ simulation: BurstSimulation,
        _ drops: [MessageValue],
        _ again: Comment
    ) {
        let ledger = simulation.ledger
        let owned = BurstSimulation.nodes.flatMap { [$0 + "!a", $0 + "!b"] }
        for channel in owned {
            let told = ledger.refused[channel, default: 0] + ledger.missed[channel, default: 0]
            let arrived = ledger.arrived[channel, default: 0]
            #expect(ledger.sent[channel, default: 0] == arrived + told, again)
            #expect(told == sum(drops) { $0["kind"] == "channel" && $0["name"] == .string(channel) }, again)
        }
        for queue in BurstSimulation.queues {
            let dropped = sum(drops) { $0["kind"] == "channel" && $0["name"] == .string(queue) }
            #expect(ledger.sent[queue, default: 0] == ledger.arrived[queue, default: 0] + dropped, again)
        }
        // Each of three owners has two members in each group.
        let sent = BurstSimulation.groups.reduce(0) { $0 + ledger.sent[$1, default: 0] }
        let arrived = BurstSimulation.groups.reduce(0) { $0 + ledger.arrived[$1, default: 0] }
        #expect(6 * sent == 2 * arrived + ledger.missedByGroups, again)
        #expect(ledger.missedByGroups == sum(drops) { $0["kind"] == "group" }, again)
        #expect(simulation.clients.allSatisfy { $0.isAnswered }, again)
    }

    private static func sum(_ rows: [MessageValue], where isCounted: (MessageValue) -> Bool) -> UInt64 {
        rows.filter(isCounted).reduce(0) { $0 + count($1["count"]) }
    }

    private static func count(_ value: MessageValue?) -> UInt64 {
        value?.int.flatMap { UInt64(exactly: $0) } ?? 0
    }
}
