import NIOCore

/// One room of sockets that gets messages at a fixed rate, some of its members reading nothing. On one loop.
final class PacedLoad: LoadSocketOwner {
    /// What a run is made of.
    struct Plan {
        var host: String
        var port: Int
        var sockets: Int
        var stalled: Int
        /// Messages per second.
        var rate: Double
        var payloadBytes: Int
    }

    private let plan: Plan
    private let loop: any EventLoop
    private let opener: SocketOpener
    private var sockets: [LoadSocket] = []
    private let readers: Int
    private var publishedAt: [NIODeadline] = []
    private var begin = NIODeadline.now()
    private var sentBefore: UInt64 = 0
    private var isSending = false
    /// The number of the first message that is measured.
    private var firstMeasured = UInt64.max
    private(set) var latencies = Latencies()
    /// Deliveries of each message so far.
    private var arrivals: [Int] = []
    /// Of each measured message, the milliseconds until it had come to 99 of 100 readers.
    private(set) var messageTimes: [Double] = []
    private(set) var delivered: UInt64 = 0
    private(set) var outOfOrder: UInt64 = 0
    private(set) var readersClosed = 0
    private var open = 0
    private var allDelivered: EventLoopPromise<Void>?
    private var deliveryDeadline: Scheduled<Void>?
    private var allClosed: EventLoopPromise<Void>?

    private static let deliveryTime = TimeAmount.seconds(10)
    private static let fillingBytes = 40_000
    private static let closingTime = TimeAmount.seconds(30)

    init(_ plan: Plan, loop: any EventLoop) {
        self.plan = plan
        self.loop = loop
        opener = SocketOpener(loop: loop, host: plan.host, port: plan.port)
        readers = plan.sockets - plan.stalled
        // The stalled ones stand evenly among the others, so that a fan-out meets them all along its way.
        sockets = (0..<plan.sockets).map { index in
            let isStalled = index * plan.stalled / plan.sockets != (index + 1) * plan.stalled / plan.sockets
            return LoadSocket(path: "/ws/chat/bench-paced/", isStalled: isStalled, owner: self)
        }
    }

    var sent: UInt64 { UInt64(publishedAt.count) }
    var expected: UInt64 { sent * UInt64(readers) }

    /// Opens every socket; completes when the last has been accepted.
    func connect() -> EventLoopFuture<Void> {
        open = sockets.count
        return opener.open(sockets)
    }

    // MARK: Sending

    /// Sends one large message, so that little more fits into what the kernel keeps for those that do not read.
    ///
    /// - Returns: Completes as ``finish()`` does.
    func fill() -> EventLoopFuture<Void> {
        publish(payloadBytes: Self.fillingBytes)
        return finish()
    }

    /// Begins to send at the plan's rate.
    func start() {
        isSending = true
        begin = .now()
        sentBefore = sent
        sendNext()
    }

    /// Counts the latencies of the messages from now on.
    func beginMeasuring() {
        firstMeasured = sent + 1
    }

    private func sendNext() {
        guard isSending else { return }
        publish(payloadBytes: plan.payloadBytes)
        // From the beginning, so that a late message does not put off those after it.
        let next = begin + .nanoseconds(Int64(Double(sent - sentBefore) / plan.rate * 1e9))
        loop.assumeIsolated().scheduleTask(deadline: next) { self.sendNext() }
    }

    private func publish(payloadBytes: Int) {
        publishedAt.append(.now())
        arrivals.append(0)
        sockets[0].send(sent, payloadBytes: payloadBytes)
    }

    /// Sends nothing more; completes when everything sent has come to all readers, or after ten seconds without it.
    func finish() -> EventLoopFuture<Void> {
        isSending = false
        let promise = loop.makePromise(of: Void.self)
        allDelivered = promise
        let bound = NIOLoopBound(self, eventLoop: loop)
        deliveryDeadline = loop.scheduleTask(in: Self.deliveryTime) { bound.value.stopWaiting() }
        if delivered == expected { stopWaiting() }
        return promise.futureResult
    }

    private func stopWaiting() {
        deliveryDeadline?.cancel()
        deliveryDeadline = nil
        allDelivered?.succeed()
        allDelivered = nil
    }

    // MARK: Receiving

    func arrived(_ number: UInt64, inOrder: Bool) {
        // Stalled sockets that read again at the end count for nothing.
        guard !isReleased, number >= 1, number <= sent else { return }
        delivered += 1
        if !inOrder { outOfOrder += 1 }
        if number >= firstMeasured { measure(Int(number) - 1) }
        if allDelivered != nil, delivered == expected { stopWaiting() }
    }

    private func measure(_ message: Int) {
        let latency = (NIODeadline.now() - publishedAt[message]).nanoseconds
        latencies.record(nanoseconds: latency)
        arrivals[message] += 1
        if arrivals[message] == (readers * 99 + 99) / 100 { messageTimes.append(Double(latency) / 1e6) }
    }

    func closed(_ socket: LoadSocket) {
        open -= 1
        if !isReleased, !socket.isStalled { readersClosed += 1 }
        guard open == 0 else { return }
        allClosed?.succeed()
        allClosed = nil
    }

    // MARK: The end

    private var isReleased = false

    /// Lets the stalled sockets read what is there for them.
    func release() {
        isReleased = true
        for socket in sockets where socket.isStalled { socket.setReading(true) }
    }

    /// What became of the stalled sockets, by close code; `open` for those that live, `cut off` for those whose
    /// connection ended without a close frame.
    var stalledEndings: [String: Int] {
        var endings: [String: Int] = [:]
        for socket in sockets where socket.isStalled {
            let ending = socket.closeCode.map { String($0) } ?? (socket.isClosed ? "cut off" : "open")
            endings[ending, default: 0] += 1
        }
        return endings
    }

    /// Closes every socket; completes when they are closed.
    func close() -> EventLoopFuture<Void> {
        isReleased = true
        let promise = loop.makePromise(of: Void.self)
        allClosed = promise
        for socket in sockets { socket.close() }
        loop.assumeIsolated().scheduleTask(in: Self.closingTime) {
            self.allClosed?.succeed()
            self.allClosed = nil
        }
        if open == 0 { promise.succeed() }
        return promise.futureResult
    }
}
