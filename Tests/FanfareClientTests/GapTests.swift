import FanfareClient
import FanfareModel
import Testing

/// Holes in what a process channel got, and what closing one ends.
struct GapTests {
    private static let kinds = MeetingPlace.Kind.allCases

    @Test("a hole stands between the messages around it, also when nothing follows", arguments: kinds)
    func place(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer {
                $0.capacity = 2
                $0.overflow = [("*", .dropNewest)]
            }
            let sender = try await place.layer()
            let channel = owner.newChannel()
            for number in 0..<5 { try await sender.send(numbered(number), to: channel) }
            try await owner.settle()
            #expect(try await owner.arrival(in: channel) == .number(0))
            #expect(try await owner.arrival(in: channel) == .number(1))
            // Nothing follows, and its reader hears of it all the same.
            #expect(try await owner.arrival(in: channel) == .lost(3, .full))
            try await owner.settle()
            for number in 5..<7 { try await sender.send(numbered(number), to: channel) }
            try await sender.send(numbered(7), to: channel)
            try await owner.settle()
            #expect(try await owner.arrival(in: channel) == .number(5))
            try await owner.settle()
            // There is room for one more: it stands behind the hole.
            try await sender.send(numbered(8), to: channel)
            try await owner.expect([.number(6), .lost(1, .full), .number(8)], in: channel)
        }
    }

    @Test("a reader that waits hears of a hole at once", arguments: kinds)
    func waiting(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer { $0.capacity = 1 }
            let sender = try await place.layer()
            let channel = owner.newChannel()
            try await owner.groupAdd(channel, to: "room")
            for number in 0..<3 { try await sender.groupSend(numbered(number), to: "room") }
            // All have arrived.
            try await owner.settle()
            #expect(try await owner.arrival(in: channel) == .number(0))
            #expect(try await owner.arrival(in: channel) == .lost(2, .full))
        }
    }

    @Test("receive passes over holes and gives the messages around them", arguments: kinds)
    func passedOver(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer { $0.capacity = 1 }
            let sender = try await place.layer()
            let channel = owner.newChannel()
            try await owner.groupAdd(channel, to: "room")
            for round in 0..<20 {
                for number in 0..<3 { try await sender.groupSend(numbered(round * 3 + number), to: "room") }
                try await owner.settle()
                #expect(try await owner.number(from: channel) == round * 3)
            }
            #expect(try await owner.waiting(in: channel).isEmpty)
        }
    }

    @Test("messages that expired unread are a hole in their place", arguments: kinds)
    func expired(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (try await place.layer(), try await place.layer())
            let channel = owner.newChannel()
            try await owner.groupAdd(channel, to: "room")
            try await sender.send(numbered(0), to: channel)
            try await sender.send(numbered(1), to: channel, expirySeconds: 0.1)
            try await sender.groupSend(numbered(2), to: "room", expirySeconds: 0.1)
            try await sender.send(numbered(3), to: channel)
            try await sender.send(numbered(4), to: channel, expirySeconds: 0.1)
            try await owner.settle()
            // Longer than the short lives; the long ones have a minute.
            try await Task.sleep(for: .milliseconds(300))
            try await owner.expect([.number(0), .lost(2, .expired), .number(3), .lost(1, .expired)], in: channel)
            if kind == .broker { try await poll("counted") { try await place.drops(.expired) == 3 } }
        }
    }

    @Test(
        "a direct message that expires in front of group messages is gone, and all members get those",
        arguments: kinds
    )
    func expiredInFrontOfGroupMessages(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (try await place.layer(), try await place.layer())
            let channels = [owner.newChannel(), owner.newChannel()]
            for channel in channels { try await owner.groupAdd(channel, to: "room") }
            try await sender.send(numbered(0), to: channels[0], expirySeconds: 0.1)
            for number in 1..<4 { try await sender.groupSend(numbered(number), to: "room") }
            // Longer than the direct message lives.
            try await Task.sleep(for: .milliseconds(200))
            for channel in channels { #expect(try await owner.waiting(in: channel) == [1, 2, 3]) }
        }
    }

    @Test("a message given at the end of its life is never handed out, whoever waits", arguments: kinds)
    func expiredWhileWaiting(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (try await place.layer(), try await place.layer())
            let channel = owner.newChannel()
            for _ in 0..<20 {
                try await sender.send(numbered(1), to: channel, expirySeconds: 0.02)
                // Longer than it lives.
                try await Task.sleep(for: .milliseconds(40))
                #expect(try await owner.arrival(in: channel) == .lost(1, .expired))
            }
        }
    }

    @Test("after the broker was started again each channel is told once, the one that is read and the one that is not")
    func reconnected() async throws {
        try await MeetingPlace.run(.broker, MeetingPlace.shortGrace) { place in
            let owner = try await place.layer()
            let (member, watched, waited) = (owner.newChannel(), owner.newChannel(), owner.newChannel())
            try await owner.groupAdd(member, to: "room")
            // Read once, so that between two reads a hole must be remembered.
            for channel in [watched, waited] {
                try await owner.send(numbered(1), to: channel)
                #expect(try await owner.arrival(in: channel) == .number(1))
            }
            let waiting = Task { try await owner.next(from: waited) }
            try await owner.send(numbered(2), to: member)
            try await owner.settle()
            for _ in 0..<2 {
                await place.stopBroker()
                try await poll("the owner knows") {
                    try await layerError { try await owner.groupAdd(member, to: "other") }?.kind == .notConnected
                }
                try await place.startBroker()
                try await poll("it is back") { try await layerError { try await owner.settle() } == nil }
            }
            #expect(try await soon { try await waiting.value } == .reconnected)
            // What the process had before is still there, in front of the hole; two restarts in a row are one.
            try await owner.expect([.number(2), .reconnected], in: member)
            try await owner.expect([.reconnected], in: watched)
        }
    }

    @Test("closing a channel ends waits and memberships, and counts what nobody read", arguments: kinds)
    func closing(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (try await place.layer(), try await place.layer())
            let (channel, full) = (owner.newChannel(), owner.newChannel())
            for group in ["room", "hall"] { try await owner.groupAdd(channel, to: group) }
            let waits = (0..<2).map { index in
                Task {
                    if index == 0 { return try await owner.receive(from: channel) }
                    return switch try await owner.next(from: channel) {
                    case .message(let message): message
                    case .missed: [:]
                    }
                }
            }
            // Both wait once each has been able to take one.
            for _ in waits { try await sender.groupSend(numbered(1), to: "room") }
            for wait in waits { #expect(try await soon { try await wait.value } == numbered(1)) }
            let ended = Collected()
            let last = Task {
                let error = try await layerError { _ = try await owner.receive(from: channel) }
                ended.append(error?.kind == .closed ? 1 : 0)
            }
            // The wait may begin after the first close.
            try await poll("the wait ends") {
                try await owner.closeChannel(channel)
                return !ended.numbers.isEmpty
            }
            try await last.value
            #expect(ended.numbers == [1])
            for group in ["room", "hall"] { try await sender.groupSend(numbered(2), to: group) }
            try await owner.expect([], in: channel)
            // Read, direct and group messages: what was read is not lost, the rest is.
            try await owner.groupAdd(full, to: "room")
            try await sender.send(numbered(0), to: full)
            for number in 1..<4 { try await sender.send(numbered(number), to: full) }
            try await sender.groupSend(numbered(4), to: "room")
            try await owner.settle()
            #expect(try await owner.number(from: full) == 0)
            try await owner.closeChannel(full)
            try await owner.expect([], in: full)
            if kind == .broker {
                #expect(try await place.count("memberships") == 0)
                try await poll("counted") { try await place.drops(.ownerGone) == 4 }
            }
        }
    }

    @Test("a channel of another process is not closed", arguments: kinds)
    func closingAnothers(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, other) = (try await place.layer(), try await place.layer())
            let channel = owner.newChannel()
            try await owner.send(numbered(1), to: channel)
            #expect(try await layerError { try await other.closeChannel(channel) } != nil)
            try await owner.expect([.number(1)], in: channel)
        }
    }
}
