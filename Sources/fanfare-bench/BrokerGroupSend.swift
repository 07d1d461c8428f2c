/// Messages to one group, closed loop: `window` under way, the next one when one has reached every link.
///
/// The publisher is a link of its own, in every protocol: a subscribed Redis connection cannot publish.
final class BrokerGroupSend: BrokerReceiver {
    private let publisher: BrokerLink
    private var template: BrokerTemplate
    private let window: Int
    private var account: BrokerGroupAccount
    private var isSending = false
    private unowned let poller: BrokerPoller

    private static let patienceSeconds = 10.0

    /// - Parameters:
    ///   - publisher: The link that sends; it is no member.
    ///   - members: Links that get each message; their indices are less.
    init(_ poller: BrokerPoller, publisher: BrokerLink, members: Int, window: Int, _ template: BrokerTemplate) {
        self.poller = poller
        self.publisher = publisher
        self.template = template
        self.window = window
        account = BrokerGroupAccount(members: members, window: window)
    }

    var counts: BrokerCounts { account.counts }

    /// Sends for `seconds`, then waits for what is under way, ten seconds at most: the account shows what is missing.
    func run(seconds: Double) throws {
        poller.receiver = self
        isSending = true
        poller.refreshClock()
        for _ in 0..<window { sendNext() }
        try poller.run(until: { false }, within: seconds)
        isSending = false
        try poller.run(until: { self.account.isSettled }, within: Self.patienceSeconds)
    }

    /// Forgets what a warm-up counted.
    func beginMeasuring() {
        account.counts = BrokerCounts()
    }

    private func sendNext() {
        template.stamp(sequence: account.send(at: poller.now), request: publisher.asked)
        publisher.asked += 1
        publisher.append(template.bytes)
    }

    func delivered(_ sequences: UnsafeBufferPointer<UInt64>, at time: UInt64, on link: BrokerLink) {
        let completed = account.take(sequences, from: link.index, at: time)
        guard isSending else { return }
        for _ in 0..<completed { sendNext() }
    }

    func acknowledged(_ count: Int, on link: BrokerLink) {}
}

/// What was sent to a group, and what has come to whom. One value, so that a read's deliveries are taken in one step.
struct BrokerGroupAccount {
    var counts = BrokerCounts()
    private let members: Int
    /// Of each message under way, by the end of its number: deliveries still to come, and when it was sent.
    private var missing: [Int]
    private var sentAt: [UInt64]
    private let mask: UInt64
    /// The last message of each link.
    private var last: [UInt64]
    /// The number of the last message sent; they count on over the runs.
    private var lastSent: UInt64 = 0

    init(members: Int, window: Int) {
        self.members = members
        let slots = 1 << (Int.bitWidth - window.leadingZeroBitCount)
        mask = UInt64(slots - 1)
        missing = Array(repeating: 0, count: slots)
        sentAt = Array(repeating: 0, count: slots)
        last = Array(repeating: 0, count: members)
    }

    /// Whether nothing is under way.
    var isSettled: Bool { counts.delivered >= counts.expected }

    /// Enters a message to everyone; returns its number.
    mutating func send(at time: UInt64) -> UInt64 {
        lastSent += 1
        counts.sent += 1
        counts.expected += UInt64(members)
        let slot = Int(lastSent & mask)
        missing[slot] = members
        sentAt[slot] = time
        return lastSent
    }

    /// Enters what came to a link; returns how many messages have now come to everyone.
    ///
    /// - Parameter link: Its index; that of the publisher is not among the members.
    mutating func take(_ sequences: UnsafeBufferPointer<UInt64>, from link: Int, at time: UInt64) -> Int {
        counts.delivered += UInt64(sequences.count)
        guard link < members else {
            counts.outOfOrder += UInt64(sequences.count)
            return 0
        }
        var completed = 0
        for sequence in sequences {
            // Twice, skipped, or never sent: all are errors of order. The number after a gap is in order again.
            let isNext = sequence == last[link] + 1 && sequence <= lastSent
            if !isNext { counts.outOfOrder += 1 }
            guard isNext || (sequence > last[link] && sequence <= lastSent) else { continue }
            last[link] = sequence
            let slot = Int(sequence & mask)
            counts.latencies.record(nanoseconds: Int64(time - sentAt[slot]))
            missing[slot] -= 1
            if missing[slot] == 0 { completed += 1 }
        }
        return completed
    }
}
