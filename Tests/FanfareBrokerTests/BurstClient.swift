import FanfareModel
import FanfareProtocol
import NIOCore
import NIOEmbedded

/// Holds back what a connection writes, as the kernel does when the peer does not read.
private final class Valve: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    private var held: [(data: NIOAny, promise: EventLoopPromise<Void>?)] = []
    private var context: ChannelHandlerContext?
    var isOpen = true {
        didSet { if isOpen { release() } }
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        for write in held { write.promise?.fail(ChannelError.ioOnClosedChannel) }
        held = []
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if isOpen { context.write(data, promise: promise) } else { held.append((data, promise)) }
    }

    private func release() {
        let writes = held
        held = []
        for write in writes { context?.write(write.data, promise: write.promise) }
        context?.flush()
    }
}

/// One connection of the burst simulation: a client with its two byte streams, which somebody else lets pass.
final class BurstClient {
    /// Tells this connection from all others of the run.
    let number: UInt32
    let node: String?
    /// The broker's end; another one after each time the session was resumed.
    private(set) var channel: EmbeddedChannel
    /// Bytes written and not yet arrived at the broker.
    private(set) var outgoing: ArraySlice<UInt8> = []
    /// Bytes that have left the broker and not yet arrived here.
    private(set) var incoming: ArraySlice<UInt8> = []
    private(set) var isWelcome = false
    private(set) var isToldToGo = false
    /// Answers to `INSPECT`.
    private(set) var results: [MessageValue] = []

    private let ledger: BurstLedger
    private var valve = Valve()
    private let frames = FrameBuffer()
    private var decoder: FrameDecoder
    private let limits: Limits
    /// Names the session while it can be resumed.
    private var token: Body?
    /// Counted replies that have arrived.
    private(set) var received: UInt64 = 0
    /// Every counted request, as a frame.
    private var requests: [[UInt8]] = []
    /// Whether the connection is lost, or a new one has not been welcomed yet.
    private(set) var isAway = false
    /// Whether the new connection is there, and waits to be welcomed.
    private(set) var isComing = false
    private let reader: FrameReader
    private var lastRequest: RequestID = 0
    /// Requests without their answer, in the order sent, with the channel of a send.
    private var unanswered: [(id: RequestID, channel: String?)] = []
    /// Which channel each receive reads; kept after its end, for hand-outs that cross a cancel.
    private var receives: [RequestID: String] = [:]
    private var cancels: [RequestID: RequestID] = [:]
    private var cancelled: Set<RequestID> = []
    /// Receives that may still wait.
    private(set) var waiting: [RequestID: Int] = [:]
    /// Direct messages read and not yet reported, by channel.
    private var unreported: [String: UInt64] = [:]

    init(
        _ number: UInt32,
        node: String?,
        channel: EmbeddedChannel,
        limits: Limits,
        ledger: BurstLedger
    ) throws {
        self.number = number
        self.node = node
        self.channel = channel
        self.ledger = ledger
        self.limits = limits
        decoder = FrameDecoder(limit: limits.frameBytes)
        reader = FrameReader(limits: limits)
        try channel.pipeline.syncOperations.addHandler(valve, position: .first)
    }

    /// Whether everything asked for with an id was answered.
    var isAnswered: Bool { unanswered.isEmpty }

    /// Whether the connection takes what the broker writes.
    var isReading: Bool {
        get { valve.isOpen }
        set { valve.isOpen = newValue }
    }

    // MARK: Asking

    func write(_ request: Request) {
        frames.append(request)
        let bytes = frames.withUnsafeBytes { Array($0) }
        frames.removeAll()
        let isCounted =
            switch request {
            case .hello, .pong: false
            default: true
            }
        if isCounted { requests.append(bytes) }
        // What is counted waits for the welcome of a session that goes on.
        if !isCounted || !isAway { outgoing += bytes }
    }

    // MARK: Resuming

    /// What is on its way is lost in both directions.
    func loseConnection() {
        isAway = true
        isComing = false
        isReading = true
        outgoing = []
        incoming = []
        valve = Valve()
        decoder = FrameDecoder(limit: limits.frameBytes)
    }

    /// Says hello on another connection, to go on with the session.
    func resume(_ hello: Hello, over channel: EmbeddedChannel) throws {
        self.channel = channel
        isComing = true
        try channel.pipeline.syncOperations.addHandler(valve, position: .first)
        var hello = hello
        hello.resume = token.map { Hello.Resume(token: $0, received: received) }
        write(.hello(hello))
    }

    private func welcomed(_ welcome: Welcome) {
        isWelcome = true
        guard isAway else {
            token = welcome.resumption?.token
            return
        }
        isAway = false
        isComing = false
        guard welcome.resumption?.token == token, let taken = welcome.resumption?.resumedAfter,
            let taken = Int(exactly: taken), taken <= requests.count
        else {
            return ledger.complain("connection \(number) could not go on with its session: \(welcome)")
        }
        for request in requests[taken...] { outgoing += request }
    }

    /// A request that is answered in its turn.
    func ask(_ make: (RequestID) -> Request) {
        lastRequest += 1
        let request = make(lastRequest)
        var channel: String?
        if case .send(_, let name, _, _) = request { channel = name }
        unanswered.append((lastRequest, channel))
        write(request)
    }

    func receive(_ name: String, count: Int) {
        lastRequest += 1
        receives[lastRequest] = name
        waiting[lastRequest] = count
        write(.receive(id: lastRequest, channel: name, count: count))
    }

    func cancel(_ target: RequestID) {
        ask { id in
            cancels[id] = target
            return .cancel(id: id, target: target)
        }
    }

    /// Says what was read of each channel in `names`.
    func report(_ names: [String]) {
        let taken = names.map { Report.Taken(channel: $0, taken: unreported.removeValue(forKey: $0) ?? 0, held: 0) }
        write(.report(Report(received: received, taken: taken, dropped: [])))
    }

    // MARK: Bytes on their way

    /// Lets up to `count` bytes reach the broker, in one read.
    func arrive(atMost count: Int) throws {
        let bytes = outgoing.prefix(count)
        guard !bytes.isEmpty else { return }
        outgoing = outgoing.dropFirst(count)
        try channel.writeInbound(ByteBuffer(bytes: bytes))
    }

    /// Takes up what the broker has written so far; it is still on its way.
    func collect() throws {
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) { incoming += buffer.readableBytesView }
    }

    /// Lets up to `count` bytes reach the client, in one read.
    func read(atMost count: Int) {
        let bytes = Array(incoming.prefix(count))
        incoming = incoming.dropFirst(count)
        do {
            try bytes.withUnsafeBytes { bytes in
                try decoder.feed(bytes) { payload in
                    for reply in try reader.reply(payload) { hear(reply) }
                }
            }
        } catch {
            ledger.complain("the stream of connection \(number) does not decode: \(error)")
        }
    }

    // MARK: Hearing

    private func hear(_ reply: Reply) {
        switch reply {
        case .welcome, .ping, .clock, .goAway: break
        default: received += 1
        }
        switch reply {
        case .welcome(let welcome): welcomed(welcome)
        case .clock: break
        case .ping(let id): write(.pong(id))
        case .ack(let id): answered(id)
        case .result(let id, let value):
            results.append(value)
            answered(id)
        case .error(let id?, let failure) where failure.code == .channelFull:
            if let channel = answered(id) { ledger.refused[channel, default: 0] += 1 }
        case .deliver(let channel, let body, _, _):
            ledger.delivers += 1
            unreported[channel, default: 0] += 1
            ledger.arrive(body, at: channel, reader: number, isGroup: false)
        case .handOut(let id, let handOut): take(handOut, id)
        case .groupDeliver(let delivery):
            ledger.groupDeliveries += 1
            ledger.arrive(delivery.body, at: delivery.group, reader: number, isGroup: true)
        case .gap(let gap):
            if let name = gap.name {
                ledger.missed[name, default: 0] += gap.count
            } else {
                ledger.missedByGroups += gap.count
            }
        case .members: break
        case .goAway: isToldToGo = true
        default: ledger.complain("connection \(number) heard \(reply)")
        }
    }

    private func take(_ handOut: HandOut, _ id: RequestID) {
        ledger.handOuts += 1
        guard let channel = receives[id] else {
            return ledger.complain("connection \(number) got a hand-out under \(id), which it never used")
        }
        if cancelled.contains(id) { ledger.complain("connection \(number): a hand-out under \(id) after its cancel") }
        waiting[id] = waiting[id].flatMap { $0 > 1 ? $0 - 1 : nil }
        ledger.arrive(handOut.body, at: channel, reader: number, isGroup: false)
    }

    /// Takes an answer, which must be to the oldest request without one.
    @discardableResult
    private func answered(_ id: RequestID) -> String? {
        guard let first = unanswered.first, first.id == id else {
            ledger.complain("connection \(number): \(id) was answered in the place of \(unanswered.first?.id ?? 0)")
            return nil
        }
        unanswered.removeFirst()
        if let target = cancels.removeValue(forKey: id) {
            cancelled.insert(target)
            waiting[target] = nil
        }
        return first.channel
    }
}
