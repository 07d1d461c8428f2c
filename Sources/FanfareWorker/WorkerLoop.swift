import FanfareModel
import FanfareTransport
import Logging
import NIOCore
import NIOHTTP1

/// Everything one worker process holds, on its one event loop: sockets, groups, the link to the broker.
///
/// Plain and not Sendable; `NIOLoopBound` is the door to it.
final class WorkerLoop {
    let name: String
    let processID: Int
    let limits: WorkerLimits
    let logger: Logger
    let site: Site
    let fanOut: FanOut
    var counters = WorkerCounters()
    /// `ws.NODE!`, in front of every socket's number.
    let channelPrefix: String

    private(set) var link: WorkerLink!
    private let loop: any EventLoop
    private let node: String
    private var sockets: [UInt64: Socket] = [:]
    private var lastNumber: UInt64 = 0
    private var wheel: PingWheel
    private var ticks = 0
    /// Sockets that sent or got a close frame, with the tick at which they are given up.
    private var leaving: [UInt64: (socket: Socket, deadline: Int)] = [:]
    /// Connections that are no sockets yet, with the tick at which they are given up.
    private var strangers: [ObjectIdentifier: (handler: HTTPHandler, deadline: Int)] = [:]
    private var isStopping = false
    private var onEmpty: (() -> Void)?

    /// The time between two ticks; every deadline of a connection is rounded up to it.
    static let tick = TimeAmount.seconds(1)

    /// - Parameters:
    ///   - node: The node of this process's channels, as the hello claims it.
    ///   - routes: Served on this worker's port.
    ///   - port: Takes requests to the broker; what comes back goes to ``link``.
    init(
        loop: any EventLoop,
        configuration: WorkerServer.Configuration,
        node: String,
        processID: Int,
        routes: [Route],
        port: LayerPort,
        logger: Logger
    ) {
        self.loop = loop
        name = configuration.name
        self.processID = processID
        self.node = node
        limits = configuration.workerLimits
        self.logger = logger
        channelPrefix = "ws.\(node)!"
        site = Site(routes: routes)
        fanOut = FanOut(mergedBytes: limits.mergedBytes)
        wheel = PingWheel(ticksPerRound: Self.ticks(limits.pingAfter))
        link = WorkerLink(worker: self, port: port, limits: configuration.limits)
    }

    /// What there is and what has been counted.
    var health: WorkerHealth {
        var health = WorkerHealth()
        health.isConnected = link.welcome != nil
        health.lastFailure = link.lastFailure?.text
        health.name = name
        health.node = node
        health.sockets = sockets.count
        health.handshakes = strangers.count
        health.groups = fanOut.groupCount
        health.counters = counters
        health.messagesOut = fanOut.messagesOut
        health.sends = fanOut.sends
        return health
    }

    /// Runs `body` when everything that is ready now has been handled.
    func onNextTurn(_ body: @escaping () -> Void) {
        loop.assumeIsolated().execute(body)
    }

    // MARK: Handshakes

    /// What to do with a request; sockets over the limit are refused.
    func answer(_ head: HTTPRequestHead) -> Site.Answer {
        site.answer(head, hasRoom: !isStopping && sockets.count + leaving.count < limits.sockets)
    }

    /// Whether one more connection may begin a handshake.
    func admitsStranger() -> Bool {
        guard !isStopping, strangers.count < limits.handshakes else {
            counters.handshakesDropped += 1
            return false
        }
        return true
    }

    func strangerCame(_ handler: HTTPHandler) {
        strangers[ObjectIdentifier(handler)] = (handler, ticks + Self.ticks(limits.handshakeWithin) + 1)
    }

    func strangerLeft(_ handler: HTTPHandler) {
        strangers[ObjectIdentifier(handler)] = nil
    }

    func countResponse(_ status: HTTPResponseStatus) {
        counters.responses[Int(status.code), default: 0] += 1
    }

    // MARK: Sockets

    /// Those that get messages.
    var openSockets: [Socket] { Array(sockets.values) }

    /// Makes the socket of a finished handshake.
    ///
    /// Without a broker it is closed at once with a code that tells to come back: only so does a page learn why.
    func open(_ writer: SocketWriter, remote: String, _ route: Route, _ request: SocketRequest) -> Socket {
        lastNumber += 1
        counters.socketsOpened += 1
        let socket = Socket(
            worker: self,
            consumer: route.consumer,
            request: request,
            remote: remote,
            number: lastNumber,
            writer: writer
        )
        if isStopping {
            socket.close(.goingAway, reason: "the worker is stopping")
        } else if link.welcome == nil {
            socket.close(.tryAgainLater, reason: "no broker")
        } else {
            sockets[socket.number] = socket
            wheel.add(socket)
            link.open(socket)
        }
        return socket
    }

    /// A socket sends and gets no messages any more; its close frame is on the way, or never will be.
    func leaves(_ socket: Socket, _ code: CloseCode) {
        counters.closes[code.rawValue, default: 0] += 1
        fanOut.removeAll(socket)
        wheel.remove(socket)
        if sockets.removeValue(forKey: socket.number) != nil { link.close(socket) }
        leaving[socket.number] = (socket, ticks + Self.ticks(limits.closeWithin) + 1)
    }

    /// A socket's connection is closed.
    func gone(_ socket: Socket) {
        leaving[socket.number] = nil
        guard isStopping, sockets.isEmpty, leaving.isEmpty else { return }
        onEmpty?()
        onEmpty = nil
    }

    /// The name of the process channel of socket `number`.
    func channelName(_ number: UInt64) -> String {
        channelPrefix + String(number, radix: 36)
    }

    /// The open socket whose channel is `channel`.
    func socket(named channel: String) -> Socket? {
        guard channel.hasPrefix(channelPrefix),
            let number = UInt64(channel.dropFirst(channelPrefix.count), radix: 36),
            // Digits may be written in other ways that are other names.
            let socket = sockets[number], socket.channelName == channel
        else { return nil }
        return socket
    }

    /// What became of a message for a group.
    enum Published: Equatable {
        case sent
        case noBroker
        case tooLarge(limit: Int)
    }

    /// Sends a message to a group, behind everything this worker asked the broker before.
    func publish(_ body: Body, to group: String) -> Published {
        if let limit = link.welcome?.bodyBytes, body.count > limit { return .tooLarge(limit: limit) }
        guard link.publish(body, to: group) else {
            counters.messagesRefused += 1
            return .noBroker
        }
        return .sent
    }

    // MARK: Time

    /// Pings whose turn it is and deadlines that have passed; once per ``tick``.
    func timePassed() {
        ticks += 1
        for socket in wheel.tick() where !socket.ping() { socket.abandon(.abnormal) }
        for (socket, deadline) in leaving.values where deadline <= ticks { socket.abandon(.abnormal) }
        for (handler, deadline) in strangers.values where deadline <= ticks {
            counters.handshakesDropped += 1
            handler.abandon()
        }
    }

    /// Takes no connection and no message any more, and closes every socket with 1001.
    ///
    /// - Parameter onEmpty: Called when the last one is closed.
    func stop(_ onEmpty: @escaping () -> Void) {
        isStopping = true
        for (handler, _) in strangers.values { handler.abandon() }
        for socket in openSockets { socket.close(.goingAway, reason: "the worker is stopping") }
        link.writeDeclarations()
        guard !leaving.isEmpty else { return onEmpty() }
        self.onEmpty = onEmpty
    }

    private static func ticks(_ duration: Milliseconds) -> Int {
        Int(min(duration.value / UInt64(tick.nanoseconds / 1_000_000), ticksMaximum))
    }

    /// A day: longer deadlines mean nothing here, and the wheel has a slot for each tick.
    private static let ticksMaximum: UInt64 = 86_400
}
