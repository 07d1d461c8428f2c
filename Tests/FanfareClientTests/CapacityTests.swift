import FanfareClient
import FanfareModel
import Testing

/// What channels hold, and for how long.
struct CapacityTests {
    private func isFull(_ layer: ChannelLayer, _ channel: String) async throws -> Bool {
        let error = try await layerError { try await layer.send(numbered(99), to: channel) }
        if let error { #expect(error.kind == .channelFull && error.description.contains(channel)) }
        return error != nil
    }

    @Test(
        "a channel takes its capacity and no more; taking one makes room for one",
        arguments: MeetingPlace.Kind.allCases
    )
    func exact(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            // The owner's capacity counts for process channels, the sender's for all others.
            let owner = try await place.layer { $0.capacity = 5 }
            let sender = try await place.layer { $0.capacity = 3 }
            for (channel, capacity) in [(owner.newChannel(), 5), ("normal", 3)] {
                for number in 0..<capacity { try await sender.send(numbered(number), to: channel) }
                #expect(try await isFull(sender, channel))
                #expect(try await isFull(sender, channel))
                for taken in 0..<3 {
                    #expect(try await owner.number(from: channel) == taken)
                    // Through the reader's own link the report goes first; the sender's sees it as soon as it is there.
                    try await poll("room") {
                        try await layerError { try await sender.send(numbered(capacity + taken), to: channel) } == nil
                    }
                    #expect(try await isFull(sender, channel))
                }
            }
        }
    }

    @Test("what the owner takes makes room at once for what it sends itself", arguments: MeetingPlace.Kind.allCases)
    func ownRoom(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer { $0.capacity = 2 }
            let channel = owner.newChannel()
            for number in 0..<2 { try await owner.send(numbered(number), to: channel) }
            for round in 0..<200 {
                #expect(try await isFull(owner, channel))
                #expect(try await owner.number(from: channel) == round)
                try await owner.send(numbered(round + 2), to: channel)
            }
        }
    }

    @Test("a full channel costs its neighbours nothing", arguments: MeetingPlace.Kind.allCases)
    func neighbours(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer { $0.capacity = 1 }
            let (full, free) = (owner.newChannel(), owner.newChannel())
            try await owner.send(numbered(1), to: full)
            #expect(try await isFull(owner, full))
            try await owner.send(numbered(2), to: free)
            #expect(try await owner.number(from: free) == 2)
        }
    }

    @Test("the first glob that matches gives the capacity", arguments: MeetingPlace.Kind.allCases)
    func globs(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let layer = try await place.layer {
                $0.capacity = 1
                $0.channelCapacity = [("jobs.big*", 4), ("jobs.*", 2), ("special.*!*", 3)]
            }
            let names = [
                ("jobs.big-1", 4), ("jobs.small", 2), ("else", 1), (layer.newChannel(prefix: "special"), 3),
                (layer.newChannel(), 1),
            ]
            for (channel, capacity) in names {
                for number in 0..<capacity { try await layer.send(numbered(number), to: channel) }
                #expect(try await isFull(layer, channel), "\(channel)")
            }
        }
    }

    @Test("a message nobody takes in its time is gone", arguments: MeetingPlace.Kind.allCases)
    func expiry(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer()
            let brief = try await place.layer { $0.expirySeconds = 0.1 }
            for channel in ["expiring", owner.newChannel()] {
                try await brief.send(numbered(1), to: channel)
                try await brief.send(numbered(2), to: channel, expirySeconds: 60)
                try await owner.send(numbered(3), to: channel, expirySeconds: 0.15)
                try await owner.send(numbered(4), to: channel)
                try await owner.send(numbered(5), to: channel, expirySeconds: 0)
                try await owner.send(numbered(6), to: channel, expirySeconds: -.infinity)
                try await owner.send(numbered(7), to: channel, expirySeconds: .infinity)
                try await owner.send(numbered(8), to: channel, expirySeconds: .nan)
                // Longer than the short lives; the long ones have a minute.
                try await Task.sleep(for: .milliseconds(300))
                #expect(try await owner.waiting(in: channel) == [2, 4, 7])
            }
        }
    }

    @Test("what expired unread makes room again", arguments: MeetingPlace.Kind.allCases)
    func expiryMakesRoom(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let layer = try await place.layer { $0.capacity = 2 }
            for channel in ["expiring", layer.newChannel()] {
                for number in 0..<2 { try await layer.send(numbered(number), to: channel, expirySeconds: 0.1) }
                // Longer than they live.
                try await Task.sleep(for: .milliseconds(300))
                try await poll("room") { try await !isFull(layer, channel) }
                #expect(try await layer.number(from: channel) == 99)
            }
            if kind == .broker { try await poll("counted") { try await place.drops(.expired) == 4 } }
        }
    }
}
