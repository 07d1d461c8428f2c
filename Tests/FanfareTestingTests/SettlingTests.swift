import FanfareClient
import FanfareModel
import FanfareTesting
import FanfareWorker
import Testing

/// A message on a long way.
private struct Traveller: Codable {
    /// Stations it has to pass.
    var left: Int
    /// The channels of the stations, which it passes in turn.
    var stations: [String]
    /// The channel where it is to arrive.
    var goal: String

    var next: String { stations[left % stations.count] }
}

/// Sends travellers on: to its group, to a channel, or to a background worker.
private struct Station: Consumer {
    var groups: [String] { ["stations"] }

    static let handlers = Handlers<Station> {
        $0.on("traveller.goes", Traveller.self) { _, traveller, socket in
            if socket.channelName == traveller.next { try await sendOn(traveller, socket) }
        }
        $0.on("traveller.arrives", Traveller.self) { _, _, socket in try await socket.send("arrived") }
    }

    static func sendOn(_ traveller: Traveller, _ socket: WebSocket) async throws {
        var traveller = traveller
        traveller.left -= 1
        if traveller.left <= 0 {
            return try await socket.layer.send(traveller, type: "traveller.arrives", to: traveller.goal)
        }
        let rest = traveller
        switch rest.left % 4 {
        case 0: try await socket.layer.send(rest, type: "traveller.rests", to: "inn")
        case 1: try await socket.layer.send(rest, type: "traveller.goes", to: rest.next)
        case 2:
            try await blocking {}
            fallthrough
        default: try await socket.layer.groupSend(rest, type: "traveller.goes", to: "stations")
        }
    }

    func receive(text: String, from socket: WebSocket) async throws {
        try await Self.sendOn(try FanfareJSONCoding().decode(Traveller.self, from: text), socket)
    }
}

@Suite struct SettlingTests {
    @Test func `expecting nothing never passes while a message is on its way`() async throws {
        var router = Router()
        router.webSocket("/ws/") { _, _ in Station() }
        let app = try await TestApplication(router, workers: 2)
        let inn = BackgroundWorker(layer: app.layer) {
            $0.channel("inn", concurrency: 3) { (traveller: Traveller, context: BackgroundContext) in
                let message = try MessageEncoder().encode(message: traveller, type: "traveller.goes")
                try await context.layer.send(message, to: traveller.next)
            }
        }
        try await app.start(inn)
        let first = try await app.connect("/ws/")
        let second = try await app.connect("/ws/", worker: 1)
        let goal = try await app.connect("/ws/", worker: 1)
        for way in 0..<300 {
            let stations = [first.channelName, second.channelName]
            try await first.sendJSON(Traveller(left: way % 23, stations: stations, goal: goal.channelName))
            await #expect(throws: TestFailure.self, "a way of \(way % 23) stations") { try await goal.expectNothing() }
            #expect(try await goal.expectText() == "arrived")
            try await goal.expectNothing()
        }
        try await first.expectNothing()
        #expect(try await app.handlerFailures().isEmpty)
        await app.stop()
    }
}
