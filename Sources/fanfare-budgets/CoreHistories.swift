import FanfareCore
import FanfareModel

/// The core alone: requests in, effects out. Requests are made beforehand, so that only the core counts.
struct CoreHistories {
    private var core = Core(limits: Limits(), epoch: 1, broker: "fanfare-budgets")
    private var effects = Effects()
    private let now = Instant(nanoseconds: 1_000_000_000)
    private static let body = Body(repeating: 0x61, count: 128)

    static func run(into measurements: inout Measurements) throws {
        var histories = CoreHistories()
        try histories.messages(into: &measurements)
        try histories.groups(into: &measurements)
    }

    private mutating func open(node: String? = nil) throws -> SessionID {
        var hello = Hello(client: "budgets/1", name: "budgets", role: .worker, policy: Policy(Limits()))
        hello.node = node
        let session = try core.open(hello, now: now, into: &effects)
        effects.removeAll()
        return session
    }

    /// - Returns: The effects there were.
    @discardableResult
    private mutating func apply(_ request: Request, from session: SessionID) -> Int {
        core.apply(request, from: session, now: now, into: &effects)
        defer { effects.removeAll() }
        return effects.list.count
    }

    private mutating func messages(into measurements: inout Measurements) throws {
        let (sender, reader) = (try open(), try open(node: "reader"))
        let receive = Request.receive(id: 7, channel: "work", count: 1)
        let send = Request.send(id: nil, channel: "work", body: Self.body, SendOptions())
        measurements.record(.coreHandOut) { _ in
            apply(receive, from: reader)
            precondition(apply(send, from: sender) == 1, "the message was not handed out")
        }
        let channel = "ws.reader!1"
        apply(.openChannels(id: nil, [OpenedChannel(name: channel)]), from: reader)
        let push = Request.send(id: nil, channel: channel, body: Self.body, SendOptions())
        let taken = [Report.Taken(channel: channel, taken: 1, held: 0)]
        let report = Request.report(Report(received: 1, taken: taken, dropped: []))
        measurements.record(.coreDeliver) { _ in
            precondition(apply(push, from: sender) == 1, "the message was not delivered")
            apply(report, from: reader)
        }
    }

    private mutating func groups(into measurements: inout Measurements) throws {
        let sender = try open()
        for index in 0..<100 {
            let owner = try open(node: "owner\(index)")
            apply(.groupAdd(id: nil, group: "room", channels: ["ws.owner\(index)!1"], groupExpiry: nil), from: owner)
        }
        let send = Request.groupSend(id: nil, group: "room", body: Self.body, GroupSendOptions())
        measurements.record(.coreGroupSend) { _ in
            precondition(apply(send, from: sender) == 1, "the message was not fanned out")
        }
        let owner = try open(node: "crowd")
        let members = (0..<11_000).map { ["ws.crowd!\($0)"] }
        let adds = members.map { Request.groupAdd(id: 1, group: "crowd", channels: $0, groupExpiry: nil) }
        let discards = members.map { Request.groupDiscard(id: 1, group: "crowd", channels: $0) }
        measurements.record(.coreGroupAdd, operations: 10_000, warmUp: 1_000) { index in
            precondition(apply(adds[index], from: owner) == 1, "the add was not acknowledged")
        }
        measurements.record(.coreGroupDiscard, operations: 10_000, warmUp: 1_000) { index in
            precondition(apply(discards[index], from: owner) == 1, "the discard was not acknowledged")
        }
    }
}
