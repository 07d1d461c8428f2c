import Testing

@testable import fanfare_bench

@Suite struct LoadRoomTests {
    private let members: [LoadSocket]

    init() {
        members = [.always, .always, .always, .slowly, .never].enumerated().map { index, reading in
            LoadSocket(path: "/{room}", room: "r", memberIndex: index, reading: reading)
        }
    }

    private func room(publishers: Int = 1, window: Int = 4) -> LoadRoom {
        LoadRoom(members, publishers: publishers, window: window, message: Message(.frames, room: "r", bytes: 64))
    }

    @Test func `a message is through when each reader has it, and slow and stalled members are not waited for`() {
        var room = room()
        _ = room.next(0)
        #expect(room.expected == 3)
        let isThrough = [0, 1, 3, 2].map { room.arrived(1, on: members[$0]) }
        #expect(isThrough == [false, false, false, true])
        #expect(room.isComplete && room.outOfOrder == 0)
        #expect(room.delivered == 3 && room.deliveredSlowly == 1)
    }

    @Test func `publishers take turns, and only the order of each counts`() {
        var room = room(publishers: 3)
        let senders = (0..<4).map { _ in room.next(0).publisher.memberIndex }
        #expect(senders == [1, 2, 0, 1])
        for number in [2, 3, 1, 4] as [UInt64] { _ = room.arrived(number, on: members[0]) }
        #expect(room.outOfOrder == 0)
        for number in [4, 1, 2, 3] as [UInt64] { _ = room.arrived(number, on: members[1]) }
        #expect(room.outOfOrder == 2)
    }

    @Test func `a message that is missing, doubled or unheard of shows`() {
        var room = room()
        for _ in 0..<5 { _ = room.next(0) }
        for number in [1, 3] as [UInt64] { _ = room.arrived(number, on: members[0]) }
        #expect(room.outOfOrder == 1, "2 is missing")
        _ = room.arrived(3, on: members[0])
        #expect(room.outOfOrder == 2, "3 came twice")
        for number in [6, .max, UInt64(Int64.max)] { _ = room.arrived(number, on: members[0]) }
        #expect(room.outOfOrder == 5)
        #expect(!room.isComplete)
    }

    @Test func `a slow member may miss messages but not get them twice`() {
        var room = room()
        for _ in 0..<5 { _ = room.next(0) }
        for number in [1, 4] as [UInt64] { _ = room.arrived(number, on: members[3]) }
        #expect(room.outOfOrder == 0)
        _ = room.arrived(4, on: members[3])
        #expect(room.outOfOrder == 1)
    }

    @Test func `a room has joined when its last probe has come to every reader`() {
        var room = room()
        #expect(!room.hasJoined)
        _ = room.nextProbe()
        for member in members[..<2] { room.probeArrived(1, on: member) }
        _ = room.nextProbe()
        for member in members { room.probeArrived(1, on: member) }
        #expect(!room.hasJoined)
        for member in members { room.probeArrived(2, on: member) }
        #expect(room.hasJoined)
    }

    @Test func `the order goes on when a new measurement begins`() {
        var room = room()
        _ = room.next(0)
        for member in members[..<3] { _ = room.arrived(1, on: member) }
        room.beginMeasuring()
        #expect(room.expected == 0 && room.isComplete)
        _ = room.next(0)
        for member in members[..<3] { _ = room.arrived(2, on: member) }
        #expect(room.isComplete && room.outOfOrder == 0 && room.delivered == 3)
    }
}
