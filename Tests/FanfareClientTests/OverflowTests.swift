import FanfareClient
import FanfareModel
import Testing

/// What becomes of messages for a channel at its capacity, by policy: direct ones and those of a group.
struct OverflowTests {
    /// How a message gets to the channel under test.
    enum Way: CaseIterable, Sendable {
        case direct
        case group
    }

    private static let ways = Way.allCases
    private static let kinds = MeetingPlace.Kind.allCases

    /// An owner with this policy for its channels, one of which is in the group `room`, and a sender.
    private func meet(
        _ kind: MeetingPlace.Kind,
        _ overflow: Overflow,
        _ body: (_ place: MeetingPlace, _ owner: ChannelLayer, _ channel: String, _ sender: ChannelLayer) async throws
            -> Void
    ) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer("owner") {
                $0.capacity = 3
                $0.overflow = [("specific.*!*", overflow)]
            }
            let sender = try await place.layer("sender")
            let channel = owner.newChannel()
            try await owner.groupAdd(channel, to: "room")
            try await body(place, owner, channel, sender)
        }
    }

    private func send(_ number: Int, _ way: Way, to channel: String, by sender: ChannelLayer) async throws {
        switch way {
        case .direct: try await sender.send(numbered(number), to: channel)
        case .group: try await sender.groupSend(numbered(number), to: "room")
        }
    }

    @Test("reject: a direct send fails, a group send skips the member and its reader hears of it", arguments: kinds)
    func reject(kind: MeetingPlace.Kind) async throws {
        try await meet(kind, .reject) { place, owner, channel, sender in
            for number in 0..<3 { try await sender.send(numbered(number), to: channel) }
            #expect(try await layerError { try await sender.send(numbered(3), to: channel) }?.kind == .channelFull)
            for number in 4..<6 { try await sender.groupSend(numbered(number), to: "room") }
            // The refused send is no hole: its sender knows.
            try await owner.expect([0, 1, 2].map { .number($0) } + [.lost(2, .full)], in: channel)
            if kind == .broker { try await poll("counted") { try await place.drops(.full) == 3 } }
        }
    }

    @Test(
        "drop_newest: every send succeeds, the channel keeps what came first and its reader hears how many it missed",
        arguments: kinds,
        ways
    )
    func dropNewest(kind: MeetingPlace.Kind, way: Way) async throws {
        try await meet(kind, .dropNewest) { place, owner, channel, sender in
            for number in 0..<8 { try await send(number, way, to: channel, by: sender) }
            try await owner.settle()
            for number in 0..<3 { #expect(try await owner.arrival(in: channel) == .number(number)) }
            #expect(try await owner.arrival(in: channel) == .lost(5, .full))
            // There is room again, and what comes now stands behind the hole.
            try await owner.settle()
            try await send(8, way, to: channel, by: sender)
            #expect(try await owner.arrival(in: channel) == .number(8))
            if kind == .broker { try await poll("counted") { try await place.drops(.full) == 5 } }
        }
    }

    @Test(
        "drop_oldest: the reader finds the newest messages, and a hole in the place of those they displaced",
        arguments: kinds,
        ways
    )
    func dropOldest(kind: MeetingPlace.Kind, way: Way) async throws {
        try await meet(kind, .dropOldest) { place, owner, channel, sender in
            for number in 0..<20 {
                try await send(number, way, to: channel, by: sender)
                try await owner.settle()
            }
            try await owner.expect([.lost(17, .full)] + [17, 18, 19].map { .number($0) }, in: channel)
            if kind == .broker { try await poll("counted") { try await place.drops(.full) == 17 } }
        }
    }

    @Test("drop_oldest: direct and group messages displace each other", arguments: kinds)
    func dropOldestMixed(kind: MeetingPlace.Kind) async throws {
        try await meet(kind, .dropOldest) { place, owner, channel, sender in
            for number in 0..<10 {
                try await send(number, number.isMultiple(of: 2) ? .direct : .group, to: channel, by: sender)
                try await owner.settle()
            }
            try await owner.expect([.lost(7, .full)] + [7, 8, 9].map { .number($0) }, in: channel)
        }
    }

    @Test("a queue nobody owns drops its newest or its oldest as the sender's policy says", arguments: kinds)
    func queues(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let layer = try await place.layer {
                $0.capacity = 3
                $0.overflow = [("new*", .dropNewest), ("old*", .dropOldest), ("gone*", .disconnect)]
            }
            for number in 0..<8 {
                try await layer.send(numbered(number), to: "new")
                try await layer.send(numbered(number), to: "old")
            }
            for (channel, kept) in [("new", 0..<3), ("old", 5..<8)] {
                for number in kept { #expect(try await layer.number(from: channel) == number, "\(channel)") }
            }
            // Without an owner there is nobody to disconnect.
            for number in 0..<3 { try await layer.send(numbered(number), to: "gone") }
            #expect(try await layerError { try await layer.send(numbered(3), to: "gone") }?.kind == .channelFull)
            #expect(try await layer.number(from: "gone") == 0)
            if kind == .broker { #expect(try await place.drops(.full) == 11) }
        }
    }

    @Test(
        "disconnect: the channel loses what waits and its groups, its reader hears that it is closed, others nothing",
        arguments: kinds,
        ways
    )
    func disconnect(kind: MeetingPlace.Kind, way: Way) async throws {
        try await meet(kind, .disconnect) { place, owner, channel, sender in
            let neighbour = owner.newChannel()
            try await sender.send(numbered(50), to: neighbour)
            try await owner.groupAdd(neighbour, to: "other")
            for number in 0..<3 { try await send(number, way, to: channel, by: sender) }
            try await owner.settle()
            switch way {
            case .direct:
                #expect(
                    try await layerError { try await sender.send(numbered(3), to: channel) }?.kind == .channelFull
                )
            case .group: try await sender.groupSend(numbered(3), to: "room")
            }
            try await owner.expect([.lost(3, .ownerGone), .lost(1, .full, isClosed: true)], in: channel)
            // In no group any more: neither here nor at the broker.
            try await sender.groupSend(numbered(4), to: "room")
            try await owner.expect([], in: channel)
            try await sender.groupSend(numbered(51), to: "other")
            #expect(try await owner.number(from: neighbour) == 50)
            #expect(try await owner.number(from: neighbour) == 51)
            // The name itself goes on, with all its room.
            for number in 5..<8 { try await sender.send(numbered(number), to: channel) }
            for number in 5..<8 { #expect(try await owner.number(from: channel) == number) }
            if kind == .broker {
                #expect(try await place.count("memberships") == 1)
                try await poll("counted") {
                    let (full, gone) = (try await place.drops(.full), try await place.drops(.ownerGone))
                    return (full, gone) == (1, 3)
                }
            }
        }
    }

    @Test("the first pattern that matches decides, and what matches none is rejected", arguments: kinds)
    func patterns(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let layer = try await place.layer {
                $0.capacity = 1
                $0.overflow = [("a.b*", .dropOldest), ("a.*", .dropNewest)]
            }
            for channel in ["a.b", "a.c", "d"] { try await layer.send(numbered(0), to: channel) }
            for channel in ["a.b", "a.c"] { try await layer.send(numbered(1), to: channel) }
            #expect(try await layerError { try await layer.send(numbered(1), to: "d") }?.kind == .channelFull)
            #expect(try await layer.number(from: "a.b") == 1)
            #expect(try await layer.number(from: "a.c") == 0)
        }
    }

    @Test("with process scope two channels of one layer share one capacity", arguments: kinds, ways)
    func processScope(kind: MeetingPlace.Kind, way: Way) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer {
                $0.capacity = 4
                $0.capacityScope = .process
            }
            let sender = try await place.layer()
            let (one, two) = (owner.newChannel(), owner.newChannel())
            try await owner.groupAdd(two, to: "room")
            for number in 0..<3 { try await sender.send(numbered(number), to: one) }
            try await send(3, way, to: two, by: sender)
            try await owner.settle()
            // Four wait: neither of the two takes one more, whichever way.
            for channel in [one, two] {
                #expect(try await layerError { try await sender.send(numbered(9), to: channel) }?.kind == .channelFull)
            }
            try await sender.groupSend(numbered(9), to: "room")
            try await owner.settle()
            #expect(try await owner.number(from: one) == 0)
            try await owner.settle()
            try await send(4, way, to: two, by: sender)
            try await owner.settle()
            #expect(try await layerError { try await sender.send(numbered(9), to: one) }?.kind == .channelFull)
            for (channel, numbers) in [(one, [1, 2]), (two, [3, 4])] {
                for number in numbers { #expect(try await owner.number(from: channel) == number) }
            }
        }
    }

    @Test("with process scope drop_oldest keeps the process within its capacity", arguments: kinds)
    func processScopeDropOldest(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer {
                $0.capacity = 4
                $0.capacityScope = .process
                $0.overflow = [("*", .dropOldest)]
            }
            let sender = try await place.layer()
            let (one, two) = (owner.newChannel(), owner.newChannel())
            for number in 0..<2 { try await sender.send(numbered(number), to: one) }
            for number in 10..<12 { try await sender.send(numbered(number), to: two) }
            for number in 12..<15 {
                try await sender.send(numbered(number), to: two)
                try await owner.settle()
            }
            // Who sends to one channel displaces what waits there, never its neighbour's.
            try await owner.expect([.lost(3, .full), .number(13), .number(14)], in: two)
            try await owner.expect([.number(0), .number(1)], in: one)
        }
    }

    @Test("a literal group expiry ends memberships of processes that live, every time they are added")
    func literalGroupExpiry() async throws {
        try await MeetingPlace.run(.broker) { place in
            let literal = try await place.layer {
                $0.groupExpirySeconds = 0.2
                $0.groupExpiryIsLiteral = true
            }
            let loose = try await place.layer { $0.groupExpirySeconds = 0.2 }
            let (runsOut, stays) = (literal.newChannel(), loose.newChannel())
            for round in 0..<2 {
                try await literal.groupAdd(runsOut, to: "room")
                if round == 0 { try await loose.groupAdd(stays, to: "room") }
                try await poll("it has run out") { try await place.count("memberships") == 1 }
            }
            try await loose.groupSend(numbered(1), to: "room")
            #expect(try await loose.number(from: stays) == 1)
            try await literal.expect([], in: runsOut)
        }
    }
}
