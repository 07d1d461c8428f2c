import FanfareClient
import FanfareModel
import FanfareTransport
package import HTTPTypes
import Logging
import NIOCore

/// Everything one worker process holds, on its one event loop: sockets, groups, the link to the broker.
///
/// Plain and not Sendable; `NIOLoopBound` is the door to it.
package final class WorkerLoop {
    let name: String
    let processID: Int
    let limits: WorkerLimits
    /// The `Server` header of answers.
    let serverName: String?
    let logger: Logger
    /// Where there is a tracer.
    let tracing: MessageTracing?
    let router: Router
    /// Which pages may open sockets where no router says otherwise.
    let origins: OriginPolicy
    let fanOut: FanOut
    /// Whether connections are TLS from here to the client.
    let isEncrypted: Bool
    private let names: Limits
    /// One for all sockets: none keeps a context.
    private(set) lazy var inflater = Inflater()
    private(set) lazy var compressor = Compressor(
        leastBytes: limits.compressionLeastBytes,
        level: limits.compressionLevel
    )
    var counters = WorkerCounters()
    /// `ws.NODE!`, in front of every socket's number.
    let channelPrefix: String

    private(set) var link: WorkerLink!
    let eventLoop: any EventLoop
    /// Ticks since the start.
    private(set) var ticks = 0
    let node: String
    /// What is counted for ``health`` and nothing else.
    var tally = WorkerTally()
    private(set) var sockets: [UInt64: Socket] = [:]
    private var lastNumber: UInt64 = 0
    private var wheel: PingWheel
    /// Kept by ``Socket``.
    var slowReaders = SlowReaders()
    /// Sockets that sent or got a close frame, with the tick at which they are given up.
    private(set) var leaving: [UInt64: (socket: Socket, deadline: Int)] = [:]
    /// Sockets whose connection has ended while their consumer's last handler still runs.
    private(set) var ending: [UInt64: (socket: Socket, deadline: Int)] = [:]
    var deadlines = DeadlineTable()
    private var services: [RouteID: any SocketService] = [:]
    private var failuresLogged = LogWindow()
    private var refusalLog = RefusalLog()
    /// Told of every handler that threw, with the consumer's name.
    package var onHandlerFailure: ((any Error, String) -> Void)?
    var strangers = Strangers()
    private(set) var isStopping = false
    /// The drain under way.
    var drain: WorkerDrain?
    /// Whether the port accepts no more.
    private var isClosing: Bool {
        if case .closing = drain?.stage { true } else { isStopping }
    }
    private var onEmpty: (() -> Void)?

    /// The time between two ticks; every deadline of a connection is rounded up to it.
    static let tick = TimeAmount.seconds(1)

    /// - Parameters:
    ///   - node: The node of this process's channels, as the hello claims it.
    ///   - router: What is served on this worker's port.
    ///   - port: Takes requests to the broker; what comes back goes to ``link``.
    init(
        loop: any EventLoop,
        configuration: WorkerServer.Configuration,
        node: String,
        processID: Int,
        router: Router,
        port: LayerPort,
        logger: Logger
    ) {
        eventLoop = loop
        name = configuration.name
        self.processID = processID
        self.node = node
        limits = configuration.workerLimits
        serverName = configuration.serverName
        self.logger = logger
        tracing = configuration.tracing
        self.router = router
        origins = configuration.origins
        names = configuration.limits
        isEncrypted = configuration.tls != nil
        channelPrefix = "ws.\(node)!"
        fanOut = FanOut(mergedBytes: limits.mergedBytes, membersPerTurn: limits.membersPerTurn, on: loop)
        wheel = PingWheel(ticksPerRound: Self.ticks(limits.pingAfter))
        link = WorkerLink(worker: self, port: port, limits: configuration.limits)
        for (pattern, route) in router.socketRoutes where services[route.id] == nil {
            let service = route.service()
            services[route.id] = service
            tally.add(service, pattern)
        }
    }

    /// The channel layer for consumers and handlers.
    var layer: WorkerLayer { WorkerLayer(worker: NIOLoopBound(self, eventLoop: eventLoop), tracing: tracing) }

    /// The loop's clock.
    var now: Instant { Instant(nanoseconds: eventLoop.now.uptimeNanoseconds) }

    /// Runs `body` when everything that is ready now has been handled.
    func onNextTurn(_ body: @escaping () -> Void) {
        eventLoop.assumeIsolated().execute(body)
    }

    // MARK: Handshakes

    /// Whether a group may have this name.
    func isGroup(_ name: String) -> Bool { Names.isGroup(name, names) }

    /// Whether one more socket is within the limits.
    var hasRoom: Bool { !isClosing && sockets.count + max(leaving.count, ending.count) < limits.sockets }

    package func countResponse(_ status: HTTPResponse.Status) {
        counters.responses[status.code, default: 0] += 1
    }

    // MARK: Sockets

    /// Those that get messages.
    var openSockets: [Socket] { Array(sockets.values) }

    /// Some of them, whichever.
    func openSockets(atMost count: Int) -> [Socket] { Array(sockets.values.prefix(count)) }

    /// Sockets that are not closed yet, and connections that are none.
    var connectionsLeft: Int { sockets.count + Set(leaving.keys).union(ending.keys).count + strangers.count }

    /// Whether there is any.
    var hasConnections: Bool { !(sockets.isEmpty && leaving.isEmpty && ending.isEmpty && strangers.isEmpty) }

    /// Makes a socket that nobody knows yet.
    func makeSocket(
        _ route: SocketRoute,
        path: String,
        address: String,
        remote: String,
        windowBits: Int = 0
    ) -> Socket {
        lastNumber += 1
        return Socket(
            worker: self,
            service: services[route.id]!,
            path: path,
            address: address,
            remote: remote,
            number: lastNumber,
            windowBits: windowBits
        )
    }

    /// Declares a socket to the broker and joins its groups; ``Socket/joined()`` follows.
    ///
    /// Without a broker it will be accepted and closed at once with a code that tells to come back: only so does a page
    /// learn why.
    ///
    /// - Returns: Whether there is a broker.
    func open(_ socket: Socket, groups: [String], identity: Identity?) -> Bool {
        guard link.welcome != nil else {
            socket.onJoined = nil
            socket.close(.tryAgainLater, reason: "no broker")
            return false
        }
        sockets[socket.number] = socket
        tally.opened(socket)
        wheel.add(socket)
        limitLife(of: socket, identity)
        link.open(socket, groups: groups)
        return true
    }

    /// A socket whose client was not let in is forgotten.
    func discard(_ socket: Socket) {
        discardLocally(socket)
        guard sockets.removeValue(forKey: socket.number) != nil else { return }
        tally.left(socket)
        link.close(socket)
    }

    /// A socket sends and gets no messages any more; its close frame is on the way, or never will be.
    ///
    /// - Parameter isFromHere: Whether the worker or a consumer of it says so, and not the peer or its connection.
    func leaves(_ socket: Socket, _ code: CloseCode, isFromHere: Bool, wasAccepted: Bool, reason: String) {
        counters.closes[code.rawValue, default: 0] += 1
        if isFromHere { counters.closesFromHere[code.rawValue, default: 0] += 1 }
        discardLocally(socket)
        leaving[socket.number] = (socket, ticks + Self.ticks(limits.closeWithin) + 1)
        guard sockets.removeValue(forKey: socket.number) != nil else { return }
        tally.left(socket)
        guard wasAccepted else { return link.close(socket) }
        ending[socket.number] = (socket, ticks + Self.ticks(limits.disconnectWithin) + 1)
        socket.service.closed(socket, code, reason: reason) { [self] in ended(socket) }
    }

    private func discardLocally(_ socket: Socket) {
        fanOut.removeAll(socket)
        wheel.remove(socket)
        slowReaders.remove(socket)
        deadlines.remove(socket.number, at: socket.lifetime.nextLook)
    }

    /// A socket's consumer has nothing to do any more: its groups are left.
    private func ended(_ socket: Socket) {
        guard ending.removeValue(forKey: socket.number) != nil else { return }
        link.close(socket)
        checkEmpty()
    }

    /// Whether the consumer of a channel's socket is still busy with its end.
    func isEnding(_ channel: String) -> Bool {
        number(of: channel).flatMap { ending[$0] } != nil
    }

    /// A socket's connection is closed.
    func gone(_ socket: Socket) {
        leaving[socket.number] = nil
        checkEmpty()
    }

    private func checkEmpty() {
        guard isStopping, sockets.isEmpty, leaving.isEmpty, ending.isEmpty else { return }
        onEmpty?()
        onEmpty = nil
    }

    /// The name of the process channel of socket `number`.
    func channelName(_ number: UInt64) -> String {
        channelPrefix + String(number, radix: 36)
    }

    /// The open socket whose channel is `channel`.
    func socket(named channel: String) -> Socket? {
        number(of: channel).flatMap { sockets[$0] }
    }

    private func number(of channel: String) -> UInt64? {
        guard channel.hasPrefix(channelPrefix),
            let number = UInt64(channel.dropFirst(channelPrefix.count), radix: 36),
            // Digits may be written in other ways that are other names.
            channelName(number) == channel
        else { return nil }
        return number
    }

    /// What became of a message for a group.
    enum Published: Equatable {
        case sent
        /// It waits for a broker.
        case waits
        case noBroker
        case tooLarge(limit: Int)
        case badName
    }

    /// Sends a message to a group, behind everything this worker asked the broker before.
    ///
    /// - Parameters:
    ///   - exclude: Channels of members that do not get it.
    ///   - trace: Goes with it.
    ///   - settled: Called for one that waits: with `nil` when the broker has it, or with why it was not sent.
    func publish(
        _ body: Body,
        to group: String,
        exclude: [String] = [],
        trace: TraceContext? = nil,
        settled: @escaping (Failure?) -> Void = { _ in }
    ) -> Published {
        guard Names.isGroup(group, names) else { return .badName }
        if let limit = link.welcome?.bodyBytes, body.count > limit { return .tooLarge(limit: limit) }
        let publication = link.publish(body, to: group, exclude: exclude, trace: trace) { [weak self] failure in
            if failure != nil { self?.counters.messagesRefused += 1 }
            settled(failure)
        }
        switch publication {
        case .sent: return .sent
        case .waits: return .waits
        case .notSent:
            counters.messagesRefused += 1
            return .noBroker
        }
    }

    /// Names of the consumers whose code runs or is about to, and what else this loop has scheduled; empty when nothing
    /// happens by itself before the next message.
    package var busy: [String] {
        let running = sockets.values.filter { $0.service.isBusy($0) } + ending.values.map(\.socket)
        return running.map(\.service.name) + (link.isQuiet ? [] : ["link"]) + (fanOut.isIdle ? [] : ["fan-out"])
    }

    // MARK: What went wrong

    /// Messages given to a socket did not reach its peer, which does not read.
    ///
    /// - Parameter reason: `full` when the peer stays, `linkOverflow` when it is disconnected.
    func dropped(_ messages: Int, of socket: Socket, _ reason: DropReason) {
        if reason == .full {
            counters.outgoingFull += UInt64(messages)
        } else {
            counters.outgoingOverflow += UInt64(messages)
        }
        link.dropped(messages, of: socket, reason)
    }

    /// A request, a connection or a message was refused.
    ///
    /// - Parameters:
    ///   - reason: One word of a small set; see ``RefusalLog``.
    ///   - peer: Where it came from.
    ///   - detail: For the log.
    func refused(_ reason: String, peer: String = "", detail: String = "") {
        let name = refusalLog.name(of: reason)
        counters.refusals[name, default: 0] += 1
        guard let suppressed = refusalLog.admit(name, at: now) else { return }
        var metadata: Logger.Metadata = ["reason": "\(name)", "suppressed": .stringConvertible(suppressed)]
        if !peer.isEmpty { metadata["remote"] = "\(peer)" }
        if !detail.isEmpty { metadata["detail"] = "\(detail.prefix(200))" }
        logger.notice("refused", metadata: metadata)
    }

    /// A handler of a consumer, or of a page, threw.
    func handlerFailed(_ error: any Error, consumer: String) {
        counters.handlerFailures += 1
        onHandlerFailure?(error, consumer)
        guard let suppressed = failuresLogged.admit(at: now) else { return }
        logger.error(
            "a handler failed",
            metadata: [
                "consumer": "\(consumer)", "error": "\(String(describing: error).prefix(500))",
                "suppressed": .stringConvertible(suppressed),
            ]
        )
    }

    // MARK: Time

    /// Pings whose turn it is and deadlines that have passed; once per ``tick``.
    package func timePassed() {
        ticks += 1
        for socket in wheel.tick() where !socket.ping() { socket.abandon(.abnormal) }
        tally.saw(outgoingBytes: slowReaders.outgoingBytes)
        for socket in slowReaders.overdue(at: ticks, age: Self.ticks(limits.outgoingAge)) { socket.readsTooSlowly() }
        for socket in deadlines.due(at: ticks).compactMap({ sockets[$0] }) { checkLife(of: socket) }
        for (socket, deadline) in leaving.values where deadline <= ticks { socket.abandon(.abnormal) }
        for (socket, deadline) in ending.values where deadline <= ticks { socket.service.cancel(socket) }
        dropLateStrangers()
    }

    /// Takes no connection and no message any more, and closes every socket with 1001.
    ///
    /// - Parameter onEmpty: Called when the last one is closed and its consumer has nothing to do any more.
    package func stop(_ onEmpty: @escaping () -> Void) {
        isStopping = true
        for stranger in strangers.all { stranger.abandon() }
        for socket in openSockets { socket.close(.goingAway, reason: "the worker is stopping") }
        link.writeDeclarations()
        guard !leaving.isEmpty || !ending.isEmpty else { return onEmpty() }
        self.onEmpty = onEmpty
    }

    /// Tells handlers of closed sockets that still run to give up, and does not wait for them.
    package func cancelEnding() {
        for (socket, _) in ending.values { socket.service.cancel(socket) }
    }

    static func ticks(_ duration: Milliseconds) -> Int {
        Int(min(duration.value / UInt64(tick.nanoseconds / 1_000_000), ticksMaximum))
    }

    /// A day: longer deadlines mean nothing here, and the wheel has a slot for each tick.
    private static let ticksMaximum: UInt64 = 86_400
}
