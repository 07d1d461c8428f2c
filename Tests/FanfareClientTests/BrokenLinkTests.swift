import FanfareModel
import NIOCore
import Testing

@testable import FanfareClient

/// Links that break while the broker goes on, between real processes' parts: layers, sockets, broker.
struct BrokenLinkTests {
    @Test("over links that break anywhere in their bytes nothing is lost, doubled or out of order", arguments: 1...6)
    func cutAnywhere(seed: UInt64) async throws {
        try await MeetingPlace.run(.broker) { place in
            var random = Seeded(state: seed)
            let path = place.path + ".proxy"
            let proxy = try await CuttingProxy.start(at: path, to: place.path)
            let (owner, sender) = (
                try await place.layer {
                    $0.endpoints = ["unix:" + path]
                    $0.capacity = 10_000
                },
                try await place.layer {
                    $0.endpoints = ["unix:" + path]
                    $0.sendsWhileAway = .wait(seconds: 60)
                }
            )
            let (channel, member) = (owner.newChannel(), owner.newChannel())
            try await owner.groupAdd(member, to: "room")
            let cuts = (0..<12).map { _ in
                (Int.random(in: 0..<4_000, using: &random), Int.random(in: 1..<40, using: &random))
            }
            let cutting = Task {
                for (bytes, pause) in cuts {
                    try await Task.sleep(for: .milliseconds(pause))
                    try await proxy.cut(after: bytes)
                }
            }
            let reading = [channel, member].map { name in
                Task {
                    var items: [Received] = []
                    for _ in 0..<400 { items.append(try await owner.next(from: name)) }
                    return items
                }
            }
            for number in 0..<400 {
                try await sender.send(numbered(number), to: channel)
                try await sender.groupSend(numbered(number), to: "room")
                if number % 16 == 0 { try await Task.sleep(for: .milliseconds(5)) }
            }
            let expected = (0..<400).map { Received.number($0) }
            for task in reading { #expect(try await soon { try await task.value } == expected) }
            cutting.cancel()
            _ = await cutting.result
            try await proxy.stop()
        }
    }

    @Test("a broken link ends no wait and tells nobody of a gap", arguments: [1, 3])
    func embedded(times: Int) async throws {
        let layers = EmbeddedLayers()
        let (owner, sender) = (
            try await ChannelLayer.embedded(.init(name: "owner"), with: layers),
            try await ChannelLayer.embedded(.init(name: "sender"), with: layers)
        )
        let (member, waited) = (owner.newChannel(), owner.newChannel())
        try await owner.groupAdd(member, to: "room")
        let waits = [waited, "normal"].map { name in Task { try await owner.receive(from: name) } }
        for number in 0..<times {
            try await layers.loop.submit { layers.breakLinks() }.get()
            try await sender.groupSend(numbered(number), to: "room")
        }
        try await sender.send(numbered(7), to: waited)
        try await sender.send(numbered(8), to: "normal")
        #expect(try await soon { try await waits[0].value } == numbered(7))
        #expect(try await soon { try await waits[1].value } == numbered(8))
        try await owner.expect((0..<times).map { .number($0) }, in: member)
        try await layers.loop.submit { layers.restartBroker() }.get()
        try await poll("it is back") { try await layerError { try await owner.settle() } == nil }
        try await owner.expect([.reconnected], in: member)
        for layer in [owner, sender] { await layer.close() }
    }

    @Test("what was read while the link was broken makes room afterwards")
    func readWhileAway() async throws {
        let layers = EmbeddedLayers()
        var configuration = ChannelLayer.Configuration(name: "owner")
        configuration.capacity = 2
        let (owner, sender) = (
            try await ChannelLayer.embedded(configuration, with: layers),
            try await ChannelLayer.embedded(.init(name: "sender"), with: layers)
        )
        let channel = owner.newChannel()
        for number in 0..<2 { try await sender.send(numbered(number), to: channel) }
        #expect(try await layerError { try await sender.send(numbered(9), to: channel) }?.kind == .channelFull)
        try await layers.loop.submit { layers.breakLinks() }.get()
        for number in 0..<2 { #expect(try await owner.number(from: channel) == number) }
        try await owner.settle()
        for number in 2..<4 { try await sender.send(numbered(number), to: channel) }
        #expect(try await layerError { try await sender.send(numbered(9), to: channel) }?.kind == .channelFull)
        for layer in [owner, sender] { await layer.close() }
    }

    @Test("a send bridges a restart of the broker; cancelled, it ends at once and was not sent")
    func bridged() async throws {
        try await MeetingPlace.run(.broker, MeetingPlace.shortGrace) { place in
            let layer = try await place.layer { $0.sendsWhileAway = .wait(seconds: 60) }
            await place.stopBroker()
            // A ping may still leave before the layer knows; none is answered.
            try await poll("the layer knows") { (try? await layer.ping()) == nil }
            let sends = (0..<2).map { number in Task { try await layer.send(numbered(number), to: "c") } }
            sends[1].cancel()
            await #expect(throws: CancellationError.self) { try await soon { try await sends[1].value } }
            try await place.startBroker()
            try await soon { try await sends[0].value }
            #expect(try await layer.waiting(in: "c") == [0])
        }
    }

    @Test("an operator who asks a layer to leave is heard by the program, or it leaves by itself")
    func drained() async throws {
        try await MeetingPlace.run(.broker) { place in
            let heard = Collected()
            let told = try await place.layer("told") {
                $0.onDrain = { heard.append(Int($0.withinSeconds)) }
            }
            let quiet = try await place.layer("quiet")
            let hello = Hello(client: "test/1", name: "admin", role: .admin, policy: Policy(Limits()))
            let admin = try await ChannelLayer.connect(
                endpoints: [.unix(path: place.path)],
                hello: hello,
                retries: false,
                logger: MeetingPlace.quiet
            )
            for name in ["told", "quiet"] {
                let rows = try await admin.inspect(InspectionQuery(.sessions))["rows"]?.array ?? []
                let session = try #require(rows.first { $0["name"]?.string == name }?["session"])
                _ = try await admin.request {
                    .admin($0, command: "drain", arguments: ["session": session, "within_milliseconds": 30_000])
                }
            }
            try await poll("it has left") { try await layerError { try await quiet.send([:], to: "c") } == .closed }
            try await poll("the program is told") { heard.numbers == [30] }
            try await told.send(numbered(1), to: "c")
            await told.close()
            await admin.close()
            try await poll("nobody comes back") { try await place.count("sessions") == 0 }
        }
    }
}
