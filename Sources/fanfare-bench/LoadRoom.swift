/// One room of a load: who sends, who is expected to receive, and whether all came once and in order.
struct LoadRoom {
    /// Those who send, in turns. They receive too.
    let publishers: [LoadSocket]
    /// Members that read all the time: each message is expected by each of them.
    let readers: Int
    private var message: Message
    /// Of each member and each publisher, the number that came last.
    private var last: [Int64]
    /// Of each message under way, how many readers have it; a ring.
    private var arrivals: [UInt32]

    /// The number of the last message; publisher `number % publishers.count` sent it.
    private(set) var number: Int64 = 0
    private(set) var sent: UInt64 = 0
    private(set) var delivered: UInt64 = 0
    private(set) var outOfOrder: UInt64 = 0
    /// What came to members that read slowly.
    private(set) var deliveredSlowly: UInt64 = 0

    private var probe: UInt64 = 0
    private var probed = 0

    /// The most a ring holds: of messages under way, times publishers.
    static let underWayMaximum = 1 << 16

    /// - Parameter window: Messages under way in a closed loop, 0 in an open one.
    init(_ members: [LoadSocket], publishers: Int, window: Int, message: Message) {
        self.publishers = Array(members.prefix(publishers))
        self.message = message
        readers = members.count { $0.reading == .always }
        let spread = max(1, publishers)
        last = (0..<members.count * spread).map { Int64($0 % spread == 0 ? 0 : $0 % spread - spread) }
        var ring = 1
        while ring < (window + 1) * spread { ring *= 2 }
        arrivals = [UInt32](repeating: 0, count: ring)
    }

    var expected: UInt64 { sent * UInt64(readers) }
    var isComplete: Bool { delivered == expected }

    /// The frame and the sender of the next message.
    ///
    /// - Parameter time: What its latency counts from.
    mutating func next(_ time: UInt64) -> (frame: [UInt8], publisher: LoadSocket) {
        number += 1
        sent += 1
        arrivals[Int(number) & (arrivals.count - 1)] = 0
        message.stamp(number: UInt64(number), time: time)
        return (message.frame, publishers[Int(number) % publishers.count])
    }

    /// Forgets the counts, not the order: what is measured begins now.
    mutating func beginMeasuring() {
        (sent, delivered, outOfOrder, deliveredSlowly) = (0, 0, 0, 0)
    }

    /// A message came.
    ///
    /// - Returns: Whether all readers have it now.
    mutating func arrived(_ received: UInt64, on socket: LoadSocket) -> Bool {
        guard let received = Int64(exactly: received), received <= number else {
            outOfOrder += 1
            return false
        }
        let spread = Int64(publishers.count)
        let place = socket.memberIndex * publishers.count + Int(received % spread)
        let isNext = last[place] + spread == received
        // A slow member may have missed some.
        if !isNext, socket.reading == .always || received <= last[place] { outOfOrder += 1 }
        last[place] = received
        guard socket.reading == .always else {
            deliveredSlowly += 1
            return false
        }
        delivered += 1
        let slot = Int(received) & (arrivals.count - 1)
        arrivals[slot] &+= 1
        return arrivals[slot] == readers
    }

    // MARK: Who has joined

    /// Whether the last probe has come to all readers: the server counts them as members.
    var hasJoined: Bool { publishers.isEmpty || (probe > 0 && probed == readers) }

    /// A message that counts nowhere, but shows who gets the messages of the room.
    mutating func nextProbe() -> (frame: [UInt8], publisher: LoadSocket) {
        probe += 1
        probed = 0
        message.stamp(number: 0, time: probe)
        return (message.frame, publishers[0])
    }

    mutating func probeArrived(_ probe: UInt64, on socket: LoadSocket) {
        if probe == self.probe, socket.reading == .always { probed += 1 }
    }
}
