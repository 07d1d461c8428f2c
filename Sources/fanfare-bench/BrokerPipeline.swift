import FanfareModel

/// Acknowledged requests over all links, `window` of them under way.
final class BrokerPipeline: BrokerReceiver {
    private let window: Int
    private unowned let poller: BrokerPoller
    private var underWay = 0
    private var nextIndex = 0
    private var end = 0
    private var request: (Int) -> (link: BrokerLink, bytes: [UInt8])
    /// When the requests of each link were asked, by their number there.
    private var askedAt: [[UInt64]]
    private var answered: [Int]
    private let mask: Int
    private(set) var latencies = Latencies()

    private static let patienceSeconds = 120.0

    init(_ poller: BrokerPoller, window: Int) {
        self.poller = poller
        self.window = window
        let slots = 1 << (Int.bitWidth - window.leadingZeroBitCount)
        mask = slots - 1
        askedAt = Array(repeating: Array(repeating: 0, count: slots), count: poller.links.count)
        answered = poller.links.map { Int($0.acknowledged) }
        request = { _ in preconditionFailure("no requests yet") }
    }

    /// Asks the requests of `range` and waits for all answers.
    ///
    /// - Parameter request: The link and the bytes of one of them; it must be of the id ``BrokerLink/nextID()`` gives.
    /// - Throws: ``LoadFailure`` when the answers do not come within two minutes.
    func run(_ range: Range<Int>, _ request: @escaping (Int) -> (link: BrokerLink, bytes: [UInt8])) throws {
        poller.receiver = self
        self.request = request
        nextIndex = range.lowerBound
        end = range.upperBound
        latencies = Latencies()
        poller.refreshClock()
        askMore()
        try poller.run(until: { self.underWay == 0 }, within: Self.patienceSeconds)
        guard underWay == 0 else {
            throw LoadFailure("\(underWay) of \(range.count) requests were not answered in \(Self.patienceSeconds) s")
        }
    }

    private func askMore() {
        while underWay < window, nextIndex < end {
            let (link, bytes) = request(nextIndex)
            nextIndex += 1
            underWay += 1
            askedAt[link.index][(Int(link.asked) - 1) & mask] = poller.now
            link.append(bytes)
        }
    }

    func acknowledged(_ count: Int, on link: BrokerLink) {
        for _ in 0..<count {
            let askedAt = askedAt[link.index][answered[link.index] & mask]
            answered[link.index] += 1
            latencies.record(nanoseconds: Int64(poller.now - askedAt))
        }
        underWay -= count
        askMore()
    }

    func delivered(_ sequences: UnsafeBufferPointer<UInt64>, at time: UInt64, on link: BrokerLink) throws {
        throw LoadFailure("link \(link.index) got a message nobody sent")
    }
}
