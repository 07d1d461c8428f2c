import FanfareClient
import FanfareModel
import FanfareProtocol
import Foundation
import HTTPTypes
import NIOCore
import NIOEmbedded
import Testing

@testable import FanfareWorker

/// One service with its worker, and clients with permissions of their own.
private struct PubSubPlace {
    let worker: ServiceWorker
    private let options: PubSubOptions

    init(_ change: (inout PubSubOptions) -> Void = { _ in }) {
        var options = PubSubOptions()
        change(&options)
        self.options = options
        worker = ServiceWorker(PubSubConsumer(options))
    }

    func client(subscribe: [String] = ["*"], publish: [String] = ["*"]) throws -> EmbeddedSocket {
        let permissions = try GroupPermissions(subscribe: subscribe, publish: publish)
        return try worker.socket([], PubSubConsumer.Seat("pubsub_", permissions, options.limits))
    }
}

extension ServiceWorker {
    fileprivate func socket(_ groups: [String], _ seat: PubSubConsumer.Seat) throws -> EmbeddedSocket {
        try socket(in: groups, seat)
    }
}

extension EmbeddedSocket {
    /// Sends a command and returns what the client reads then.
    fileprivate func ask(_ command: String) throws -> [MessageValue] {
        try receive(ClientFrame.text(command))
        return try answers()
    }

    fileprivate func answers() throws -> [MessageValue] {
        channel.embeddedEventLoop.run()
        return try frames().compactMap(\.json)
    }

    /// Whether its client may send; `nil` when nobody has said yet.
    fileprivate var isReading: Bool? {
        channel.options.first { $0.option is ChannelOptions.Types.AutoReadOption }?.value as? Bool
    }
}

private func message(_ group: String, _ message: MessageValue) -> MessageValue {
    ["type": "pubsub.message", "group": .string(group), "message": message]
}

@Suite struct PubSubConsumerTests {
    @Test func `a subscription is acknowledged when messages count, and not before`() throws {
        let place = PubSubPlace()
        let client = try place.client()
        place.worker.broker.acknowledges = false
        #expect(try client.ask(#"{"id": 1, "subscribe": ["a", "b"]}"#).isEmpty)
        place.worker.receive(message("a", "early"), in: "pubsub_a")
        place.worker.endBurst()
        #expect(try client.answers().isEmpty)
        place.worker.broker.answerAll()
        place.worker.receive(message("a", "counts"), in: "pubsub_a")
        place.worker.endBurst()
        #expect(try client.answers() == [["id": 1, "ok": true], ["group": "a", "message": "counts"]])
    }

    @Test func `commands behind a subscription wait for it, in order`() throws {
        let place = PubSubPlace()
        let client = try place.client()
        place.worker.broker.acknowledges = false
        #expect(try client.ask(#"{"id": 1, "subscribe": ["a"]}"#).isEmpty)
        #expect(try client.ask(#"{"id": 2, "ping": true}"#).isEmpty)
        #expect(try client.ask(#"{"id": 3, "unsubscribe": ["a"]}"#).isEmpty)
        #expect(try client.ask(#"{"id": "last", "publish": "b", "message": null}"#).isEmpty)
        place.worker.broker.answerAll()
        #expect(try client.answers() == [["id": 1, "ok": true], ["id": 2, "ok": true]])
        #expect(try place.worker.published().isEmpty)
        place.worker.broker.answerAll()
        #expect(try client.answers() == [["id": 3, "ok": true], ["id": "last", "ok": true]])
        #expect(try place.worker.published().count == 1)
        place.worker.receive(message("a", "late"), in: "pubsub_a")
        place.worker.endBurst()
        #expect(try client.answers().isEmpty)
    }

    @Test func `few large commands behind a subscription stop reading as many small ones do`() throws {
        let place = PubSubPlace()
        let client = try place.client()
        place.worker.broker.acknowledges = false
        _ = try client.ask(#"{"subscribe": ["a"]}"#)
        let large = String(repeating: "a", count: place.worker.worker.limits.messageBytes * 2 / 3)
        for number in 0..<2 {
            #expect(client.isReading != false)
            try client.receive(ClientFrame.text(#"{"id": \#(number), "ping": "\#(large)"}"#))
        }
        #expect(client.isReading == false)
        // A close has to be heard, so reading goes on.
        client.socket.close(.goingAway, reason: "")
        place.worker.loop.run()
        #expect(client.isReading == true)
    }

    @Test func `large commands that come although reading has stopped are bounded by their bytes`() throws {
        let place = PubSubPlace()
        let client = try place.client()
        place.worker.broker.acknowledges = false
        _ = try client.ask(#"{"subscribe": ["a"]}"#)
        let large = ClientFrame.text(String(repeating: " ", count: 1_000_000))
        var sent = 0
        while client.socket.takesFrames, sent < 40 {
            try client.receive(large)
            sent += 1
        }
        #expect(sent < 25)
        #expect(place.worker.worker.counters.refusals == ["waiting_commands": 1])
        #expect(place.worker.worker.counters.closes == [1_013: 1])
    }

    @Test func `commands that wait when the connection ends are dropped`() throws {
        let place = PubSubPlace()
        let client = try place.client()
        place.worker.broker.acknowledges = false
        _ = try client.ask(#"{"subscribe": ["a"]}"#)
        _ = try client.ask(#"{"publish": "a", "message": 1}"#)
        try client.receive(ClientFrame.close(1_000))
        place.worker.broker.answerAll()
        #expect(try place.worker.published().isEmpty)
        #expect(place.worker.worker.fanOut.groupCount == 0)
    }

    @Test func `a client that floods behind a subscription is not read until it is done`() throws {
        let place = PubSubPlace()
        let client = try place.client()
        place.worker.broker.acknowledges = false
        _ = try client.ask(#"{"subscribe": ["a"]}"#)
        for number in 0..<(PubSubConsumer.waitingMaximum + 10) {
            try client.receiveInSameTurn(ClientFrame.text(#"{"id": \#(number), "ping": 1}"#))
        }
        place.worker.loop.run()
        #expect(client.isReading == false)
        place.worker.broker.answerAll()
        place.worker.loop.run()
        #expect(client.isReading == true)
        #expect(try client.answers().count == PubSubConsumer.waitingMaximum + 10)
    }

    @Test func `any JSON is published and arrives as it was, at others and at oneself`() throws {
        let place = PubSubPlace()
        let (a, b) = (try place.client(), try place.client())
        for client in [a, b] { #expect(try client.ask(#"{"id": 1, "subscribe": ["x"]}"#).count == 1) }
        let values = ["null", "1", "1.5", "true", #""ü\"""#, #"{"a": [1, {"b": []}]}"#, "[]"]
        for value in values { #expect(try a.ask(#"{"publish": "x", "message": \#(value)}"#).isEmpty) }
        try place.worker.deliver()
        let expected = try values.map {
            ["group": "x", "message": try MessageValue(json: Array($0.utf8))] as MessageValue
        }
        #expect(try a.answers() == expected)
        #expect(try b.answers() == expected)
    }

    @Test func `in the broker a message has a type, its group, its content and its sender`() throws {
        let place = PubSubPlace { $0.echo = false }
        let client = try place.client()
        #expect(try client.ask(#"{"id": 1, "publish": "x", "message": {"n": 1}}"#) == [["id": 1, "ok": true]])
        let published = try place.worker.published()
        let from = client.socket.channelName
        #expect(published.map(\.group) == ["pubsub_x"])
        #expect(published.map(\.exclude) == [[from]])
        #expect(
            published.map(\.message) == [
                ["type": "pubsub.message", "group": "x", "message": ["n": 1], "from": .string(from)]
            ]
        )
    }

    @Test func `messages of one burst share a frame when the route says so`() throws {
        for isBatch in [true, false] {
            let place = PubSubPlace { $0.batch = isBatch }
            let clients = [try place.client(), try place.client()]
            for client in clients { _ = try client.ask(#"{"subscribe": ["x", "y"]}"#) }
            for round in 0..<2 {
                let count = round == 0 ? 1 : 300
                for number in 0..<count {
                    let text = String(repeating: "é", count: number * 2)
                    place.worker.receive(message("x", ["n": .int(Int64(number)), "t": .string(text)]), in: "pubsub_x")
                }
                place.worker.endBurst()
                for client in clients {
                    let frames = try client.frames()
                    #expect(frames.count == (isBatch ? 1 : count))
                    let read = frames.flatMap { $0.json?.array ?? [$0.json ?? .null] }
                    #expect(read.map { $0["message"]?["n"] } == (0..<count).map { .int(Int64($0)) })
                }
            }
            // Messages of two groups keep their order.
            for name in ["x", "y", "x"] { place.worker.receive(message(name, 1), in: "pubsub_\(name)") }
            place.worker.endBurst()
            #expect(try clients[0].answers().map { $0["group"] } == ["x", "y", "x"])
        }
    }

    @Test func `a group that is not permitted is forbidden, and nothing is joined`() throws {
        let place = PubSubPlace()
        let client = try place.client(subscribe: ["news.*", "mine"], publish: ["mine"])
        let refused = try client.ask(#"{"id": 1, "subscribe": ["mine", "other"]}"#)
        #expect(refused.map { $0["error"]?["code"] } == ["forbidden"])
        #expect(place.worker.worker.fanOut.groupCount == 0)
        #expect(try client.ask(#"{"id": 2, "subscribe": ["mine", "news.a"]}"#) == [["id": 2, "ok": true]])
        let published = try client.ask(#"{"id": 3, "publish": "news.a", "message": 1}"#)
        #expect(published.first?["id"] == 3)
        #expect(published.first?["error"]?["code"] == "forbidden")
        #expect(try place.worker.published().isEmpty)
        #expect(place.worker.worker.counters.refusals == ["forbidden_group": 2])
    }

    @Test func `a token's claims add to what the route permits, and wrong ones let nobody in`() throws {
        let route = try GroupPermissions(subscribe: ["news"], publish: [])
        let both = try route.adding(["subscribe": ["user_7", "shop.*"], "publish": ["user_7"]])
        #expect(["news", "user_7", "shop.a", "user_8"].map(both.maySubscribe) == [true, true, true, false])
        #expect(["news", "user_7", "shop.a"].map(both.mayPublish) == [false, true, false])
        for wrong in [
            "news", [1], [""], .array(Array(repeating: "a", count: 101)), [.string(String(repeating: "a", count: 129))],
            ["a": true],
        ] as [MessageValue] {
            let denial = #expect(throws: Denial.self) { try route.adding(["publish": wrong]) }
            #expect(denial?.response.status.code == 403)
            #expect(denial?.reason == "bad_claims")
        }
    }

    @Test func `subscriptions are bounded, and counted once each`() throws {
        let place = PubSubPlace { $0.subscriptions = 2 }
        let client = try place.client()
        #expect(try client.ask(#"{"id": 1, "subscribe": ["a", "a"]}"#) == [["id": 1, "ok": true]])
        let refused = try client.ask(#"{"id": 2, "subscribe": ["b", "c"]}"#)
        #expect(refused.first?["error"]?["code"] == "too_many_subscriptions")
        #expect(try client.ask(#"{"id": 3, "subscribe": ["a", "b"]}"#) == [["id": 3, "ok": true]])
        #expect(try client.ask(#"{"id": 4, "unsubscribe": ["a", "never"]}"#) == [["id": 4, "ok": true]])
        #expect(try client.ask(#"{"id": 5, "subscribe": ["c"]}"#) == [["id": 5, "ok": true]])
    }

    @Test func `without a broker a client is told, and has the subscriptions it had`() throws {
        let place = PubSubPlace { $0.subscriptions = 1 }
        let client = try place.client()
        place.worker.broker.isReachable = false
        for command in [#"{"id": 1, "subscribe": ["a"]}"#, #"{"id": 1, "publish": "a", "message": 1}"#] {
            #expect(try client.ask(command).map { $0["error"]?["code"] } == ["unavailable"])
        }
        #expect(place.worker.worker.fanOut.groupCount == 0)
        place.worker.broker.isReachable = true
        #expect(try client.ask(#"{"id": 2, "subscribe": ["b"]}"#) == [["id": 2, "ok": true]])
        place.worker.broker.acknowledges = false
        #expect(try client.ask(#"{"id": 3, "unsubscribe": ["b"]}"#) == [])
        place.worker.broker.answerAll(.failure(Failure(.silence, "gone")))
        #expect(try client.answers() == [["id": 3, "ok": true]])
        #expect(place.worker.worker.fanOut.groupCount == 0)
    }

    @Test func `the broker's refusal is told and takes back the whole command`() throws {
        let place = PubSubPlace()
        let client = try place.client()
        place.worker.broker.acknowledges = false
        _ = try client.ask(#"{"id": 1, "subscribe": ["a", "b"]}"#)
        place.worker.broker.answerAll(.failure(Failure(.badName, "no")))
        #expect(try client.answers().map { $0["error"]?["code"] } == ["refused"])
        #expect(place.worker.worker.fanOut.groupCount == 0)
    }

    @Test func `ten malformed messages in a row end the connection, and a good one begins anew`() throws {
        let place = PubSubPlace()
        let client = try place.client()
        for round in 0..<2 {
            for _ in 0..<(PubSubConsumer.malformedMaximum - 1) {
                #expect(try client.ask("nonsense").map { $0["error"]?["code"] } == ["bad_json"])
            }
            guard round == 0 else { break }
            #expect(try client.ask(#"{"id": 1, "ping": null}"#) == [["id": 1, "ok": true]])
        }
        try client.receive(ClientFrame.text("{}"))
        let frames = try client.frames()
        #expect(frames.first?.json?["error"]?["code"] == "bad_command")
        #expect(frames.last?.closeCode == 1_008)
        #expect(place.worker.worker.counters.invalidMessages == 19)
    }

    @Test func `too much and too often end as the route says`() throws {
        let rate = try RateLimit(1, perSeconds: 60)
        let place = PubSubPlace {
            $0.limits.rate = rate
            $0.limits.ratePolicy = .drop
            $0.limits.messageBytes = 30
        }
        let client = try place.client()
        #expect(try client.ask(#"{"id": 1, "ping": 1}"#) == [["id": 1, "ok": true]])
        let refused = try client.ask(#"{"id": 2, "ping": 1}"#)
        #expect(refused.map { $0["id"] } == [2])
        #expect(refused.map { $0["error"]?["code"] } == ["rate_limited"])
        try client.receive(ClientFrame.text(#"{"id": 3, "ping": "too long by far"}"#))
        #expect(try client.closeCode() == 1_009)
        let other = try place.client()
        try other.receive(ClientFrame.bytes(first: 0x82, [1]))
        #expect(try other.closeCode() == 1_003)
    }

    @Test func `what no client can read is counted as undecodable`() throws {
        let place = PubSubPlace()
        let client = try place.client()
        _ = try client.ask(#"{"subscribe": ["a"]}"#)
        for strange in [
            ["type": "pubsub.message", "message": 1], ["type": "pubsub.message", "group": "a"],
            ["type": "pubsub.message", "group": "a", "message": .double(.nan)], ["type": "relay.text", "text": "a"],
        ] as [MessageValue] {
            place.worker.receive(strange, in: "pubsub_a")
        }
        place.worker.receive(["type": "pubsub_message", "group": "a", "message": 1], in: "pubsub_a")
        place.worker.endBurst()
        #expect(try client.answers() == [["group": "a", "message": 1]])
        #expect(place.worker.worker.counters.undecodable == 4)
    }
}

@Suite struct PubSubCommandTests {
    @Test(arguments: [
        (#"{"subscribe": ["a"]}"#, PubSubCommand.subscribe(["a"])),
        (#"{"id": 7, "subscribe": ["b", "a", "b"]}"#, .subscribe(["b", "a"])),
        (#"{"unsubscribe": ["a"]}"#, .unsubscribe(["a"])),
        (#"{"publish": "a", "message": {"b": 1}}"#, .publish("a", ["b": 1])),
        (#"{"publish": "a", "message": null}"#, .publish("a", .null)), (#"{"ping": null}"#, .ping),
    ])
    func `a command is read`(text: String, command: PubSubCommand) throws {
        #expect(try PubSubCommand.read(text).command == command)
    }

    @Test(arguments: [
        "", "a", "{", "[]", "1", #""subscribe""#, "null", #"{"a": 1} x"#, String(repeating: "[", count: 10_000),
        #"{"id": 99999999999999999999, "ping": 1}"#,
    ])
    func `what is no JSON object is bad_json, without an id`(text: String) {
        let error = #expect(throws: PubSubError.self) { try PubSubCommand.read(text) }
        #expect(error?.code == .badJSON)
        #expect(error?.id == nil)
    }

    @Test(arguments: [
        #"{"id": 1}"#, #"{"id": 1, "ping": 1, "subscribe": ["a"]}"#, #"{"id": 1, "subscribe": "a"}"#,
        #"{"id": 1, "subscribe": []}"#, #"{"id": 1, "subscribe": [1]}"#, #"{"id": 1, "publish": "a"}"#,
        #"{"id": 1, "publish": ["a"], "message": 1}"#, #"{"id": 1, "publish": "a", "message": 1, "to": 2}"#,
        #"{"id": 1, "ping": 1, "message": 1}"#, #"{"id": 1, "Subscribe": ["a"]}"#,
    ])
    func `what is no command is bad_command, with its id`(text: String) {
        let error = #expect(throws: PubSubError.self) { try PubSubCommand.read(text) }
        #expect(error?.code == .badCommand)
        #expect(error?.id == .number(1))
    }

    @Test(arguments: ["1.5", "null", "true", "[1]", "{}", "\"\(String(repeating: "a", count: 65))\""])
    func `an id is a whole number or a short text`(id: String) {
        let error = #expect(throws: PubSubError.self) { try PubSubCommand.read(#"{"id": \#(id), "ping": 1}"#) }
        #expect(error?.code == .badCommand)
        #expect(error?.id == nil)
    }

    @Test func `the document names every error code and no other`() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/pubsub.md")
        let text = try String(contentsOf: file, encoding: .utf8)
        let rows = text.split(separator: "\n").compactMap { line in
            line.firstMatch(of: /^\| `([a-z_]+)` \| .* \| (yes|no|later) \|$/).map { String($0.1) }
        }
        #expect(rows.sorted() == PubSubError.Code.allCases.map(\.rawValue).sorted())
    }
}
