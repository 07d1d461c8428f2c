import FanfareClient
import FanfareModel
import Testing

/// `groupAdd`, `groupDiscard`, `groupSend` and `flush`.
struct GroupTests {
    @Test("a group message reaches every member once, wherever it is read", arguments: MeetingPlace.Kind.allCases)
    func reachesMembers(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (one, two) = (try await place.layer(), try await place.layer())
            let channels = [one.newChannel(), one.newChannel(), two.newChannel()]
            for (layer, channel) in zip([one, one, two], channels) {
                try await layer.groupAdd(channel, to: "room")
                // Adding again changes nothing.
                try await layer.groupAdd(channel, to: "room")
            }
            try await two.groupAdd("normal", to: "room")
            try await two.groupSend(numbered(1), to: "room")
            try await one.groupSend(numbered(2), to: "room")
            for (layer, channel) in zip([one, one, two], channels) {
                #expect(try await layer.number(from: channel) == 1)
                #expect(try await layer.number(from: channel) == 2)
                #expect(try await layer.waiting(in: channel).isEmpty)
            }
            #expect(try await one.waiting(in: "normal") == [1, 2])
        }
    }

    @Test(
        "who has left a group gets nothing more, who was never in it may leave",
        arguments: MeetingPlace.Kind.allCases
    )
    func discard(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, other) = (try await place.layer(), try await place.layer())
            for channel in [owner.newChannel(), "normal"] {
                try await owner.groupDiscard(channel, from: "room")
                try await owner.groupAdd(channel, to: "room")
                try await other.groupSend(numbered(1), to: "room")
                try await owner.groupDiscard(channel, from: "room")
                try await other.groupSend(numbered(2), to: "room")
                #expect(try await owner.waiting(in: channel) == [1])
                try await owner.groupDiscard(channel, from: "room")
            }
            try await other.groupSend(numbered(3), to: "nobody.here")
        }
    }

    @Test("a third process adds and takes away channels it does not own", arguments: MeetingPlace.Kind.allCases)
    func thirdParty(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, other) = (try await place.layer(), try await place.layer())
            let channel = owner.newChannel()
            try await other.groupAdd(channel, to: "room")
            try await other.groupSend(numbered(1), to: "room")
            try await other.groupDiscard(channel, from: "room")
            try await other.groupSend(numbered(2), to: "room")
            try await other.groupAdd(channel, to: "room")
            try await other.groupSend(numbered(3), to: "room")
            #expect(try await owner.waiting(in: channel, by: other) == [1, 3])
        }
    }

    @Test("excluded members do not get the message", arguments: MeetingPlace.Kind.allCases)
    func excluding(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (one, two) = (try await place.layer(), try await place.layer())
            let (left, right) = (one.newChannel(), two.newChannel())
            for channel in [left, right, "normal", "plain"] { try await one.groupAdd(channel, to: "room") }
            try await one.groupSend(numbered(1), to: "room", excluding: [left, "normal", "stranger"])
            try await one.groupSend(numbered(2), to: "room", excluding: [right])
            #expect(try await one.waiting(in: left, by: two) == [2])
            #expect(try await two.waiting(in: right, by: one) == [1])
            #expect(try await one.waiting(in: "normal") == [2])
            #expect(try await one.waiting(in: "plain") == [1, 2])
            let many = (0..<257).map { "c\($0)" }
            #expect(
                try await layerError { try await one.groupSend([:], to: "room", excluding: many) }?.kind == .refused
            )
        }
    }

    @Test("members at capacity are skipped, the others get the message", arguments: MeetingPlace.Kind.allCases)
    func fullMembers(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer { $0.capacity = 2 }
            let sender = try await place.layer { $0.capacity = 2 }
            let (slow, quick) = (owner.newChannel(), owner.newChannel())
            for channel in [slow, quick, "normal"] { try await owner.groupAdd(channel, to: "room") }
            for number in 0..<5 {
                try await sender.groupSend(numbered(number), to: "room")
                #expect(try await owner.number(from: quick) == number)
            }
            for channel in [slow, "normal"] {
                #expect(try await owner.number(from: channel) == 0)
                #expect(try await owner.number(from: channel) == 1)
                #expect(try await owner.waiting(in: channel).isEmpty)
            }
            if kind == .broker { try await poll("the skips are counted") { try await place.drops(.full) == 6 } }
        }
    }

    @Test("group messages count against a member's capacity for direct ones", arguments: MeetingPlace.Kind.allCases)
    func heldMessagesCount(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer { $0.capacity = 3 }
            let channel = owner.newChannel()
            try await owner.groupAdd(channel, to: "room")
            for number in 0..<2 { try await owner.groupSend(numbered(number), to: "room") }
            try await owner.send(numbered(2), to: channel)
            #expect(try await layerError { try await owner.send(numbered(3), to: channel) }?.kind == .channelFull)
            #expect(try await owner.number(from: channel) == 0)
            try await owner.send(numbered(4), to: channel)
            for number in [1, 2, 4] { #expect(try await owner.number(from: channel) == number) }
        }
    }

    @Test("all members see a group's messages in one order", arguments: MeetingPlace.Kind.allCases)
    func order(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let readers = [
                try await place.layer { $0.capacity = 1_000 }, try await place.layer { $0.capacity = 1_000 },
            ]
            let channels = readers.map { $0.newChannel() }
            for (layer, channel) in zip(readers, channels) { try await layer.groupAdd(channel, to: "room") }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for first in 0..<10 {
                    let layer = readers[first % 2]
                    group.addTask {
                        for number in 0..<50 { try await layer.groupSend(numbered(first * 50 + number), to: "room") }
                    }
                }
                try await group.waitForAll()
            }
            var seen: [[Int]] = []
            for (layer, channel) in zip(readers, channels) { seen.append(try await layer.waiting(in: channel)) }
            #expect(seen[0] == seen[1])
            #expect(seen[0].sorted() == Array(0..<500))
        }
    }

    @Test(
        "after a flush nothing is left, for anybody, and what waits goes on waiting",
        arguments: MeetingPlace.Kind.allCases
    )
    func flush(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, other) = (try await place.layer(), try await place.layer())
            let (channel, waited) = (owner.newChannel(), owner.newChannel())
            for round in 0..<20 {
                async let normal = owner.number(from: "waited")
                async let own = owner.number(from: waited)
                for member in [channel, "normal"] { try await owner.groupAdd(member, to: "room") }
                for member in [channel, "normal"] { try await other.send(numbered(round), to: member) }
                try await other.groupSend(numbered(round), to: "room")
                try await other.flush()
                // Neither messages nor memberships, whoever asks.
                try await other.groupSend(numbered(round), to: "room")
                #expect(try await owner.waiting(in: channel, by: other).isEmpty)
                #expect(try await owner.waiting(in: "normal", by: other).isEmpty)
                for name in ["waited", waited] { try await other.send(numbered(round), to: name) }
                #expect(try await normal == round)
                #expect(try await own == round)
            }
            if kind == .broker {
                #expect(try await place.count("memberships") == 0)
                #expect(try await place.count("queued_messages") == 0)
            }
        }
    }

    @Test("a flush makes room for a whole capacity", arguments: MeetingPlace.Kind.allCases)
    func flushMakesRoom(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer { $0.capacity = 3 }
            let channel = owner.newChannel()
            for round in 0..<10 {
                for number in 0..<3 { try await owner.send(numbered(number), to: channel) }
                if round % 2 == 0 { #expect(try await owner.number(from: channel) == 0) }
                try await owner.flush()
            }
            for number in 0..<3 { try await owner.send(numbered(number), to: channel) }
            #expect(try await layerError { try await owner.send(numbered(4), to: channel) }?.kind == .channelFull)
        }
    }
}
