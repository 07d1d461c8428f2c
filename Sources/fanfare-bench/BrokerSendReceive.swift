/// Messages from one link to another through a channel, closed loop: `window` under way, a message being done when its
/// sending has been acknowledged and it has been received.
final class BrokerSendReceive: BrokerReceiver {
    private let sender: BrokerLink
    private let reader: BrokerLink
    private var message: BrokerTemplate
    private var request: BrokerTemplate?
    private let answersSend: Bool
    private let window: UInt64

    private var sent: UInt64 = 0
    private var acknowledgements: UInt64 = 0
    private var received: UInt64 = 0
    private var sentAt: [UInt64]
    private let mask: UInt64
    private var isSending = false
    private unowned let poller: BrokerPoller
    private(set) var counts = BrokerCounts()

    private static let patienceSeconds = 10.0

    /// - Parameter channel: Of the dialect of `poller`; nobody else may use it.
    init(_ poller: BrokerPoller, sender: BrokerLink, reader: BrokerLink, channel: String, _ command: BrokerCommand)
        throws
    {
        self.poller = poller
        self.sender = sender
        self.reader = reader
        let dialect = poller.dialect
        message = try dialect.send(to: channel, payload: command.payload)
        request = dialect.receive(from: channel)
        answersSend = dialect.answersSend
        window = UInt64(command.window)
        let slots = 1 << (Int.bitWidth - command.window.leadingZeroBitCount)
        mask = UInt64(slots - 1)
        sentAt = Array(repeating: 0, count: slots)
        // Twice the window: a message finds a waiting reader even while the answers to the last ones are on their way.
        for _ in 0..<(2 * command.window) { askForNext() }
    }

    /// Sends for `seconds`, then waits for what is under way, ten seconds at most: the account shows what is missing.
    func run(seconds: Double) throws {
        poller.receiver = self
        isSending = true
        poller.refreshClock()
        sendMore()
        try poller.run(until: { false }, within: seconds)
        isSending = false
        try poller.run(until: { self.done >= self.sent }, within: Self.patienceSeconds)
        counts.delivered = counts.delivered - (received - done)
    }

    /// Forgets what a warm-up counted.
    func beginMeasuring() {
        counts = BrokerCounts()
    }

    private var done: UInt64 { answersSend ? min(received, acknowledgements) : received }

    private func sendMore() {
        while isSending, sent - done < window {
            sent += 1
            counts.sent += 1
            counts.expected += 1
            sentAt[Int(sent & mask)] = poller.now
            message.stamp(sequence: sent, request: sender.asked)
            sender.asked += 1
            sender.append(message.bytes)
        }
    }

    private func askForNext() {
        guard request != nil else { return }
        request?.stamp(sequence: 0, request: reader.asked)
        reader.asked += 1
        if let request { reader.append(request.bytes) }
    }

    func delivered(_ sequences: UnsafeBufferPointer<UInt64>, at time: UInt64, on link: BrokerLink) {
        counts.delivered += UInt64(sequences.count)
        for sequence in sequences {
            guard link === reader, sequence == received + 1, sequence <= sent else {
                counts.outOfOrder += 1
                continue
            }
            received = sequence
            counts.latencies.record(nanoseconds: Int64(time - sentAt[Int(sequence & mask)]))
            askForNext()
        }
        sendMore()
    }

    func acknowledged(_ count: Int, on link: BrokerLink) {
        guard link === sender else { return }
        acknowledgements += UInt64(count)
        sendMore()
    }
}
