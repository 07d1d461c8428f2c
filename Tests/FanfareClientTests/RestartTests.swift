import FanfareClient
import FanfareModel
import Testing

/// A broker that goes and comes back on the same path.
struct RestartTests {
    @Test("without a broker sends fail if they are to, waits go on, and all is whole when it is back")
    func restart() async throws {
        try await MeetingPlace.run(.broker, MeetingPlace.shortGrace) { place in
            let owner = try await place.layer()
            let sender = try await place.layer { $0.sendsWhileAway = .fail }
            let (waited, member) = (owner.newChannel(), owner.newChannel())
            let channels = (0..<300).map { _ in owner.newChannel() }
            try await owner.groupAdd(member, to: "room")
            for channel in channels { try await owner.groupAdd(channel, to: "hall") }
            try await owner.groupAdd(channels[0], to: "room")
            try await owner.groupDiscard(channels[0], from: "room")
            let own = Task { try await owner.receive(from: waited) }
            let normal = Task { try await owner.receive(from: "normal") }
            try await poll("it waits") { try await place.count("receives") == 1 }
            for round in 0..<3 {
                await place.stopBroker()
                try await poll("the layers know") {
                    try await layerError { try await sender.send(numbered(0), to: "lost") }?.kind == .notConnected
                }
                #expect(try await layerError { try await sender.groupSend([:], to: "room") }?.kind == .notConnected)
                try await poll("the owner knows") {
                    try await layerError { try await owner.groupAdd(member, to: "other") }?.kind == .notConnected
                }
                try await place.startBroker()
                try await poll("all memberships are back") { try await place.count("memberships") == 301 }
                try await poll("the receive is back") { try await place.count("receives") == 1 }
                try await poll("the sender is back") {
                    try await layerError { try await sender.groupSend(numbered(round), to: "room") } == nil
                }
                #expect(try await owner.number(from: member) == round)
            }
            try await sender.send(numbered(7), to: waited)
            try await sender.send(numbered(8), to: "normal")
            #expect(try await soon { try await own.value } == numbered(7))
            #expect(try await soon { try await normal.value } == numbered(8))
            try await sender.groupSend(numbered(9), to: "hall")
            for channel in channels { #expect(try await owner.number(from: channel) == 9) }
            #expect(try await owner.waiting(in: member).isEmpty)
        }
    }

    @Test("memberships a new broker has no room for come back when it has")
    func rejoining() async throws {
        try await MeetingPlace.run(.broker, MeetingPlace.shortGrace) { place in
            let layer = try await place.layer()
            let member = layer.newChannel()
            try await layer.groupAdd(member, to: "room")
            try await layer.groupAdd(member, to: "hall")
            await place.stopBroker()
            try await place.startBroker { $0.groups = 1 }
            try await poll("one of them is back") { try await place.count("memberships") == 1 }
            // Behind both of them.
            try await poll("both are answered") { try await layerError { try await layer.send([:], to: "any") } == nil }
            // Whichever it was: there is room for the other.
            for group in ["room", "hall"] {
                try await layer.groupSend(numbered(1), to: group)
            }
            #expect(try await layer.waiting(in: member) == [1])
            let groups = try await place.groups()
            #expect(groups.count == 1)
            let missing = groups == ["room"] ? "hall" : "room"
            for group in groups { try await layer.groupDiscard(member, from: group) }
            try await poll("the other is back") { try await place.groups() == [missing] }
            try await layer.groupSend(numbered(2), to: missing)
            #expect(try await layer.number(from: member) == 2)
        }
    }

    @Test("a receive cancelled without a broker ends, and is not asked for again")
    func cancelledWithoutBroker() async throws {
        try await MeetingPlace.run(.broker) { place in
            let layer = try await place.layer()
            let waits = ["normal", layer.newChannel()].map { name in Task { try await layer.receive(from: name) } }
            try await poll("one waits") { try await place.count("receives") == 1 }
            await place.stopBroker()
            for wait in waits {
                wait.cancel()
                await #expect(throws: CancellationError.self) { try await soon { try await wait.value } }
            }
            try await place.startBroker()
            try await poll("the layer is back") {
                try await layerError { try await layer.send(numbered(1), to: "normal") } == nil
            }
            #expect(try await place.count("receives") == 0)
            #expect(try await layer.number(from: "normal") == 1)
        }
    }

    @Test("every call ends, once, while the broker comes and goes")
    func callsWhileRestarting() async throws {
        try await MeetingPlace.run(.broker) { place in
            let (owner, sender) = (
                try await place.layer { $0.capacity = 100_000 }, try await place.layer { $0.capacity = 100_000 }
            )
            let channel = owner.newChannel()
            let accepted = Collected()
            let received = Collected()
            let reading = Task {
                while let number = try await owner.receive(from: channel)["number"]?.int {
                    received.append(Int(number))
                }
            }
            // A continuation that is lost never ends the group, one that runs twice ends the process.
            try await withThrowingTaskGroup(of: Void.self) { group in
                for first in 0..<20 {
                    group.addTask {
                        for number in 0..<100 {
                            do {
                                try await sender.send(numbered(first * 100 + number), to: channel)
                                accepted.append(first * 100 + number)
                            } catch let error as ChannelLayerError {
                                #expect([.notConnected, .outcomeUnknown].contains(error.kind))
                                try await Task.sleep(for: .milliseconds(5))
                            }
                        }
                    }
                }
                for _ in 0..<3 {
                    try await Task.sleep(for: .milliseconds(Int.random(in: 5..<60)))
                    await place.stopBroker()
                    try await place.startBroker()
                }
                try await group.waitForAll()
            }
            reading.cancel()
            _ = await reading.result
            let numbers = received.numbers
            #expect(Set(numbers).count == numbers.count, "a message came twice")
            #expect(accepted.numbers.count <= 2_000)
        }
    }

    @Test("what waits unread in the owner when the link breaks still counts against the capacity")
    func capacityAfterRestart() async throws {
        try await MeetingPlace.run(.broker) { place in
            let owner = try await place.layer { $0.capacity = 4 }
            let channel = owner.newChannel()
            try await owner.groupAdd(channel, to: "room")
            for number in 0..<3 { try await owner.send(numbered(number), to: channel) }
            // A group message behind them has been pushed as well.
            try await owner.groupSend(numbered(3), to: "room")
            _ = try await owner.number(from: channel)
            await place.stopBroker()
            try await place.startBroker()
            try await poll("the membership is back") { try await place.count("memberships") == 1 }
            // Three wait in the owner: one more fits.
            try await poll("one more") {
                try await layerError { try await owner.send(numbered(4), to: channel) } == nil
            }
            #expect(try await layerError { try await owner.send(numbered(5), to: channel) }?.kind == .channelFull)
            for number in 1...4 {
                #expect(try await owner.number(from: channel) == number)
                try await owner.send(numbered(number + 4), to: channel)
                #expect(try await layerError { try await owner.send(numbered(99), to: channel) }?.kind == .channelFull)
            }
            #expect(try await owner.number(from: channel) == 5)
        }
    }
}
