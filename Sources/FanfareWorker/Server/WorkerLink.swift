import FanfareClient
import FanfareModel
import FanfareProtocol
import HTTPTypes
import Logging

/// How requests leave the worker: the two doors of a `LayerSession`, or a script's in tests.
struct LayerPort {
    typealias Answered = (Result<MessageValue, Failure>) -> Void

    let post: (FanfareModel.Request) -> Bool
    let call: (_ make: @escaping (RequestID) -> FanfareModel.Request, _ then: @escaping Answered) -> Void
}

/// The worker's side of its session with the broker: declares channels and memberships, many to a frame, declares
/// them again after a reconnect, and passes on what the broker pushes.
final class WorkerLink: LayerDelegate {
    /// The broker's welcome while there is a link.
    private(set) var welcome: Welcome?
    /// Why there is none, or why the last one ended.
    private(set) var lastFailure: Failure?
    /// Called once, when the first link is made.
    var onFirstConnect: (() -> Void)?
    /// Called when the broker asks the worker to drain within a time.
    var onDrainAsked: ((Milliseconds) -> Void)?

    unowned let worker: WorkerLoop
    let port: LayerPort
    let reader: FrameReader
    var reports = PendingReport()

    // What this loop turn has to declare; written before anything else and at the end of the turn.
    private var opening: [Socket] = []
    private var joining: [String: [Socket]] = [:]
    private var closing: [String] = []
    /// Names in one of those frames.
    private var namesPerFrame = 1
    private var isScheduled = false
    var isReportScheduled = false
    private var refusalsLogged = LogWindow()

    /// Bytes one declared channel takes in a frame, attributes included: an upper bound.
    private static let declarationBytes = 512

    init(worker: WorkerLoop, port: LayerPort, limits: Limits) {
        self.worker = worker
        self.port = port
        reader = FrameReader(limits: limits)
    }

    // MARK: Out

    /// Declares a socket's channel and joins its groups; ``Socket/joined()`` follows.
    func open(_ socket: Socket, groups: [String]) {
        opening.append(socket)
        for group in groups where worker.fanOut.want(socket, in: group) {
            joining[group, default: []].append(socket)
        }
        socket.joinsPending = socket.memberships.count
        schedule()
    }

    /// Adds a socket to one more group.
    ///
    /// - Parameter done: Called when messages of the group reach it, or with the reason why they will not.
    func join(_ socket: Socket, _ group: String, _ done: @escaping (Result<Void, any Error>) -> Void) {
        guard socket.takesFrames else { return done(.failure(SocketClosed())) }
        guard worker.fanOut.want(socket, in: group) else { return done(.success(())) }
        writeDeclarations()
        let channels = [socket.channelName]
        port.call({ .groupAdd(id: $0, group: group, channels: channels, groupExpiry: nil) }) { [weak self] result in
            switch result {
            case .success:
                self?.worker.fanOut.activate(socket, in: group)
                done(.success(()))
            case .failure(let failure):
                // After a broken link the next one would add it again, though its consumer was told that it is not in.
                self?.worker.fanOut.remove(socket, from: group)
                done(.failure(ChannelLayerError(failure)))
            }
        }
    }

    /// Takes a socket out of a group.
    func leave(_ socket: Socket, _ group: String, _ done: @escaping (Result<Void, any Error>) -> Void) {
        guard socket.membershipIndex(group) != nil else { return done(.success(())) }
        writeDeclarations()
        worker.fanOut.remove(socket, from: group)
        let channels = [socket.channelName]
        port.call({ .groupDiscard(id: $0, group: group, channels: channels) }) { result in
            done(result.map { _ in }.mapError { ChannelLayerError($0) })
        }
    }

    /// Sends a message to a channel, behind every declaration so far.
    func send(
        _ body: Body,
        to channel: String,
        trace: TraceContext? = nil,
        then: @escaping (Result<MessageValue, Failure>) -> Void
    ) {
        writeDeclarations()
        port.call({ .send(id: $0, channel: channel, body: body, SendOptions(trace: trace)) }, then)
    }

    /// The broker forgets a socket: its channel is in no group any more.
    func close(_ socket: Socket) {
        reports.forget(channel: socket.channelName)
        closing.append(socket.channelName)
        schedule()
    }

    /// What became of a message for a group.
    enum Publication: Equatable {
        case sent
        /// There is no link: it waits for one.
        case waits
        case notSent
    }

    /// Sends a message to a group, behind every declaration so far.
    ///
    /// - Parameter settled: Called for one that waits: with `nil` when the broker has it, or with why it was not sent.
    func publish(
        _ body: Body,
        to group: String,
        exclude: [String],
        trace: TraceContext?,
        settled: @escaping (Failure?) -> Void
    ) -> Publication {
        writeDeclarations()
        let options = GroupSendOptions(exclude: exclude, trace: trace)
        guard welcome == nil else {
            return port.post(.groupSend(id: nil, group: group, body: body, options)) ? .sent : .notSent
        }
        var answer: Publication?
        var isWaiting = false
        port.call({ .groupSend(id: $0, group: group, body: body, options) }) { result in
            var failure: Failure?
            if case .failure(let reason) = result { failure = reason }
            guard isWaiting else { return answer = failure == nil ? .sent : .notSent }
            settled(failure)
        }
        isWaiting = true
        return answer ?? .waits
    }

    /// Whether nothing waits for the end of the turn.
    var isQuiet: Bool { !isScheduled && !isReportScheduled }

    private func schedule() {
        guard !isScheduled else { return }
        isScheduled = true
        worker.onNextTurn { [weak self] in
            self?.isScheduled = false
            self?.writeDeclarations()
        }
    }

    /// Writes what was gathered. Without a link it waits for the session to go on; a new one declares everything anyway.
    func writeDeclarations() {
        guard !opening.isEmpty || !joining.isEmpty || !closing.isEmpty else { return }
        let (opened, joined, closed) = (opening, joining, closing)
        opening = []
        joining = [:]
        closing = []
        let names = namesPerFrame
        for part in opened.parts(of: names) {
            _ = port.post(.openChannels(id: nil, part.map(Self.declaration)))
        }
        for (group, sockets) in joined {
            for part in sockets.parts(of: names) { add(part, to: group) }
        }
        for part in closed.parts(of: names) {
            _ = port.post(.closeChannels(id: nil, Array(part)))
        }
        for socket in opened where socket.joinsPending == 0 { socket.joined() }
    }

    private static func declaration(_ socket: Socket) -> OpenedChannel {
        OpenedChannel(
            name: socket.channelName,
            attributes: ["remote": socket.remote, "consumer": socket.service.name, "path": socket.path]
        )
    }

    private func add(_ sockets: ArraySlice<Socket>, to group: String) {
        let channels = sockets.map(\.channelName)
        port.call({ .groupAdd(id: $0, group: group, channels: channels, groupExpiry: nil) }) { [weak self] result in
            self?.added(sockets, to: group, result)
        }
    }

    private func added(_ sockets: ArraySlice<Socket>, to group: String, _ result: Result<MessageValue, Failure>) {
        switch result {
        case .success:
            for socket in sockets {
                worker.fanOut.activate(socket, in: group)
                guard socket.joinsPending > 0 else { continue }
                socket.joinsPending -= 1
                if socket.joinsPending == 0 { socket.joined() }
            }
        case .failure(let failure) where failure.code == .silence:
            // The link broke: the next one adds them again.
            break
        case .failure(let failure):
            if let suppressed = refusalsLogged.admit(at: worker.now) {
                worker.logger.warning(
                    "the broker refused a membership; closing the sockets that asked for it",
                    metadata: [
                        "group": "\(group.prefix(120))", "sockets": "\(sockets.count)",
                        "reason": "\(failure.text)", "suppressed": .stringConvertible(suppressed),
                    ]
                )
            }
            let code = failure.code.isRetryable ? CloseCode.tryAgainLater : .internalError
            for socket in sockets {
                if socket.state == .joining {
                    let isRetryable = failure.code.isRetryable
                    socket.discard(
                        Denial(
                            isRetryable ? .serviceUnavailable : .internalServerError,
                            "The broker refused: \(failure.code.name).",
                            reason: "broker_refused"
                        )
                    )
                } else {
                    socket.close(code, reason: "the broker refused: \(failure.code.name)")
                }
            }
        }
    }

    // MARK: In

    func layerDidConnect(_ welcome: Welcome) {
        linked(welcome)
        if worker.counters.sessions > 0 { forgotten() }
        worker.counters.sessions += 1
        reports = PendingReport()
        opening = []
        joining = [:]
        closing = []
        for socket in worker.openSockets {
            opening.append(socket)
            for membership in socket.memberships { joining[membership.audience.group, default: []].append(socket) }
            if socket.state == .joining { socket.joinsPending = socket.memberships.count }
        }
        writeDeclarations()
        onFirstConnect?()
        onFirstConnect = nil
    }

    func layerDidResume(_ welcome: Welcome) {
        linked(welcome)
        writeReports()
    }

    private func linked(_ welcome: Welcome) {
        self.welcome = welcome
        namesPerFrame = max(1, min(welcome.namesPerFrame, welcome.frameBytes / Self.declarationBytes))
        worker.counters.links += 1
    }

    /// The broker knows nothing of an earlier session: no membership counts until it is acknowledged again, and what
    /// passed in between nobody has heard. Each consumer is told once, before anything that comes now.
    private func forgotten() {
        worker.fanOut.deactivate(worker.openSockets)
        let missed = Missed(count: nil, reason: "reconnected")
        for socket in worker.openSockets { tell(missed, socket) }
    }

    func layerDidDisconnect(_ failure: Failure) {
        lastFailure = failure
        // Whether the memberships are lost is known when there is a link again.
        welcome = nil
    }

    func layerDidFinishBurst() {
        worker.fanOut.burstEnded()
        writeReports()
    }

    func writeReports() {
        guard let welcome else { return }
        for report in reports.take(namesPerReport: welcome.namesPerFrame) { _ = port.post(.report(report)) }
    }

    func layerDidReceive(_ push: Reply) {
        switch push {
        case .groupDeliver(let delivery):
            deliver(delivery)
        case .deliver(let channel, let body, let remaining, let trace):
            deliver(body, to: channel, remaining: remaining, trace)
        case .members(let group, let added, let removed):
            changed(group, added: added, removed: removed)
        case .flushed(let token):
            flushed(token)
        case .gap(let gap):
            missed(gap)
        case .goAway(let within, let reason, let drains):
            worker.logger.notice(
                drains ? "the broker asks this worker to leave" : "the broker is about to stop",
                metadata: ["within_milliseconds": "\(within.value)", "reason": "\(reason)"]
            )
            // When the broker goes, sockets stay: the link is made again.
            if drains { onDrainAsked?(within) }
        default:
            break
        }
    }

    private func missed(_ gap: Gap) {
        worker.counters.missed &+= gap.count
        worker.logger.notice(
            "messages were missed",
            metadata: ["channel": "\(gap.name ?? "any")", "count": "\(gap.count)", "reason": "\(gap.reason.name)"]
        )
        let missed = Missed(gap)
        guard let name = gap.name else {
            for socket in worker.openSockets { tell(missed, socket) }
            return
        }
        guard let socket = worker.socket(named: name) else { return }
        tell(missed, socket)
        if gap.isClosed { socket.close(.tryAgainLater, reason: "this client reads too slowly") }
    }

    /// Tells a socket's consumer of a hole, at its place: behind what came before it.
    private func tell(_ missed: Missed, _ socket: Socket) {
        guard socket.state == .open || socket.state == .connecting else { return }
        worker.fanOut.settle(socket)
        worker.counters.gapNotices += 1
        socket.service.missed(missed, socket)
    }

    private func changed(_ group: String, added: [String], removed: [String]) {
        for socket in added.compactMap(worker.socket(named:)) {
            worker.fanOut.want(socket, in: group)
            worker.fanOut.activate(socket, in: group)
        }
        for socket in removed.compactMap(worker.socket(named:)) {
            worker.fanOut.remove(socket, from: group)
        }
    }

    /// The namespace was emptied: a socket whose membership went with it would hear nothing and not know why.
    private func flushed(_ token: UInt64) {
        worker.fanOut.flush()
        reports.forgetAll()
        for socket in worker.openSockets where socket.memberships.contains(where: { $0.position != nil }) {
            socket.close(.serviceRestart, reason: "the groups were flushed")
        }
        _ = port.post(.outcome(token: token, accepted: 0, dropped: 0))
    }
}

extension Array {
    /// The array in parts of at most `count` elements.
    fileprivate func parts(of count: Int) -> [ArraySlice<Element>] {
        stride(from: 0, to: self.count, by: count).map { self[$0..<Swift.min($0 + count, self.count)] }
    }
}
