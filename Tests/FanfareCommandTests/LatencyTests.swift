import FanfareModel
import Testing

@testable import fanfare

struct LatencyTests {
    @Test func `messages are due at a fixed rate from the first one on`() {
        let plan = LatencyPlan(rate: 200, seconds: 2.5, bytes: 16)
        #expect(plan.count == 500)
        #expect([0, 1, 2, 499].map(plan.due) == [0, 5_000_000, 10_000_000, 2_495_000_000])
        #expect(LatencyPlan(rate: 1, seconds: 0.1, bytes: 16).count == 1)
    }

    @Test func `a text has its number and its size`() {
        let plan = LatencyPlan(rate: 1, seconds: 1, bytes: 32)
        for index in [0, 7, 1_234_567, -1] {
            #expect(plan.text(index).utf8.count == 32)
            #expect(LatencyPlan.index(plan.text(index)) == index)
        }
        for odd in ["", " ", "hello 5", "99999999999999999999 "] { #expect(LatencyPlan.index(odd) == nil) }
    }

    @Test func `what comes is measured from when it was due, and what does not come is lost`() async {
        let plan = LatencyPlan(rate: 2_000, seconds: 0.05, bytes: 16)
        let (arrivals, continuation) = AsyncStream.makeStream(of: Arrival.self)
        struct Refused: Error {}
        let run = LatencyRun(plan: plan, patience: .milliseconds(50)) { index in
            if index % 10 == 0 { throw Refused() }
            // One is lost, one comes from another run.
            if index == 11 { return }
            continuation.yield(Arrival(index: index == 12 ? 1_000 : index, time: System.nanoseconds()))
        }
        let result = await run.run("broker", arrivals)
        #expect(result.sent == 100)
        #expect(result.refused == 10)
        #expect(result.delays.count == 88)
        #expect(result.lost == 2)
    }

    @Test func `a sender that is held up counts against the broker`() async {
        // The first message leaves late, and counts from when it was due; those behind it do not wait for it.
        let plan = LatencyPlan(rate: 1_000, seconds: 0.02, bytes: 16)
        let (arrivals, continuation) = AsyncStream.makeStream(of: Arrival.self)
        let result = await LatencyRun(plan: plan, patience: .seconds(60)) { index in
            if index == 0 { try await Task.sleep(for: .milliseconds(50)) }
            continuation.yield(Arrival(index: index, time: System.nanoseconds()))
        }.run("broker", arrivals)
        #expect(result.delays.count == 20 && result.lost == 0)
        #expect(result.delays.microseconds(atPercent: 100) >= 50_000)
    }

    @Test func `a report has a row for each route, as a table and as JSON`() throws {
        let plan = LatencyPlan(rate: 100, seconds: 1, bytes: 128)
        var broker = LatencyResult(route: "broker")
        (broker.sent, broker.refused) = (4, 1)
        for microseconds in [100, 200] as [UInt64] { broker.delays.record(nanoseconds: microseconds * 1_000) }
        let report = LatencyReport(plan: plan, results: [broker, LatencyResult(route: "worker")])
        let lines = report.page.text(on: .plain).split(separator: "\n")
        #expect(lines[0].hasPrefix("ROUTE   SENT  LOST  REFUSED  MIN µs  P50 µs  P90 µs  P99 µs  P99.9 µs  MAX µs"))
        #expect(lines[1].hasPrefix("broker     4     1        1   100.0   100.0   200.0"))
        #expect(lines[2].hasPrefix("worker     0     0        0       -"))
        let first = try #require(report.answer["routes"]?.array?.first)
        #expect(first["lost"] == 1 && first["received"] == 2 && first["max_microseconds"] == 200.0)
        #expect(report.answer["routes"]?.array?.last?["max_microseconds"] == nil)
    }

    @Test(
        "the address of a worker says where, which path and which group",
        arguments: [
            ("ws://localhost:8000", nil, "ws://localhost:8000/ws/chat/room/", "chat_room"),
            ("http://localhost:8000/", nil, "ws://localhost:8000/ws/chat/room/", "chat_room"),
            ("ws://h/ws/chat/lobby/", nil, "ws://h:80/ws/chat/lobby/", "chat_lobby"),
            ("ws://[::1]:9/ws/chat/lobby/?hello=1", nil, "ws://[::1]:9/ws/chat/lobby/?hello=1", "chat_lobby"),
            ("WS://[::1]/relay/x", "relay_x", "ws://[::1]:80/relay/x", "relay_x"),
        ] as [(String, String?, String, String)]
    )
    func addresses(text: String, group: String?, whole: String, known: String) throws {
        let address = try SocketAddress(text, group: group, room: "room")
        #expect(address.text == whole && address.group == known)
    }

    @Test(
        "what is no address, or has no known group, is refused",
        arguments: [
            "", "localhost:8000", "wss://h:1", "ws://", "ws:///x", "ws://h:0", "ws://h:65536", "ws://h:x", "ws://:80",
            "ws://h:1/relay/x", "ws://h:1/ws/chat/", "ws://h:1/ws/chat/a/b/", "ws://h:",
        ]
    )
    func wrongAddresses(text: String) {
        #expect(throws: (any Error).self) { try SocketAddress(text, group: nil, room: "room") }
    }

    @Test func `what is sent to a group comes out of a frame of its route`() {
        #expect(WorkerRoute.chat.message("7  ")["message"] == "7  ")
        #expect(WorkerRoute.chat.text(#"{"message": "7  "}"#) == "7  ")
        #expect(WorkerRoute.chat.text(#"{"error": "no broker"}"#) == nil)
        #expect(WorkerRoute.chat.text("no JSON") == nil)
        #expect(WorkerRoute.relay.message("7  ")["text"] == "7  ")
        #expect(WorkerRoute.relay.text("7  ") == "7  ")
    }
}
