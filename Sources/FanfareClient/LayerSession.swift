package import FanfareModel
package import Logging
package import NIOCore

/// Who a ``LayerSession`` tells what comes in: a worker's hub or a program's mailboxes. Always called on the loop.
package protocol LayerDelegate: AnyObject {
    /// The broker accepted the hello as a new session, which knows nothing of an earlier one. Nothing has been pushed
    /// yet: forget what the earlier session was owed, open channels and add memberships again here. Calls of the earlier
    /// session that had no answer have failed by now; sends that wait leave after this.
    func layerDidConnect(_ welcome: Welcome)
    /// The session goes on over a new link as if nothing had happened: everything registered still is, nothing was
    /// missed, calls in flight are answered later. Instead of ``layerDidConnect(_:)``. What was asked before has been
    /// repeated; what waited for the link leaves after this.
    func layerDidResume(_ welcome: Welcome)
    /// There is no link; the session dials again by itself. Whether what was registered is lost is known when there is
    /// a link again: until then keep it, and what is to be reported.
    func layerDidDisconnect(_ failure: Failure)
    /// A push: `deliver`, `groupDeliver`, `members`, `gap`, `flushed`, `handOut`, `tailed`, `goAway`, or `error` for
    /// a `RECEIVE` or `TAIL`; in stream order, and the completions of `call` run in the same order.
    func layerDidReceive(_ push: Reply)
    /// Everything one read brought has been passed on.
    func layerDidFinishBurst()
}

/// The session of one process with its broker, whatever carries it, on one event loop.
///
/// Dials, says hello, matches answers to requests, dials again with jittered backoff when the link breaks, and goes on
/// with the session over the new link: nothing is lost or doubled then, and nobody notices (`proto/PROTOCOL.md`, section
/// 8). When the broker cannot go on with it, the session that follows takes the same node; what was registered is its
/// delegate's to remember, which registers again in ``LayerDelegate/layerDidConnect(_:)``. Not Sendable.
package final class LayerSession {
    package struct Configuration: Sendable {
        /// Brokers, tried in order, beginning with the one that answered last.
        package var endpoints: [Endpoint]
        package var hello: Hello
        package var limits: Limits
        /// What brokers are shown, and how they are checked.
        package var security = BrokerSecurity()
        /// Whether to dial again after a failure, for ever.
        package var retries = true
        /// What becomes of `SEND` and `GROUP_SEND` while there is no link.
        package var sendsWhileAway = SendsWhileAway.fail

        package init(endpoints: [Endpoint], hello: Hello, limits: Limits) {
            self.endpoints = endpoints
            self.hello = hello
            self.limits = limits
        }
    }

    /// What has happened to the session's links, for metrics.
    package struct Counters: Sendable, Equatable {
        /// New sessions, the first one included.
        package var sessions: UInt64 = 0
        /// Links that went on with a session.
        package var resumptions: UInt64 = 0
        /// Requests written again because of it.
        package var repeated: UInt64 = 0
        /// Calls that failed because their session ended; whether they were carried out is not known.
        package var unknown: UInt64 = 0
        /// Sends that waited for a link and went out.
        package var waited: UInt64 = 0
        /// Requests that were not sent: no link, no room to wait, or waited too long.
        package var unsent: UInt64 = 0
        /// How long messages of the broker were on their way, in seconds: beyond the fastest seen on the same link, once
        /// for each `CLOCK`, which the broker sends at most every 50 ms.
        package var lagSeconds = Histogram.ofWaySeconds
    }

    package typealias Answered = (Result<MessageValue, Failure>) -> Void

    struct Call {
        let number: UInt64
        let then: Answered
    }

    package weak var delegate: (any LayerDelegate)?
    /// The broker's welcome while there is a link.
    package internal(set) var welcome: Welcome?
    /// Why there is no link.
    package internal(set) var lastFailure: Failure?
    /// Counted replies of this session so far: what a `REPORT` says as `received`. Whatever a delegate writes there,
    /// the session puts this in its place.
    package internal(set) var received: UInt64 = 0
    package internal(set) var counters = Counters()

    let loop: any EventLoop
    let configuration: Configuration
    let logger: Logger
    let carrier: any LinkCarrier
    var link: (any BrokerLink)?
    /// Whether the link has had its welcome.
    var isLinked = false
    /// The broker's limit.
    var bodyBytes = 0
    private var lastID: RequestID = 0
    var calls: [RequestID: Call] = [:]
    var waiting: WaitingRequests
    private var isWaitTimed = false

    // What it takes to go on with the session over another link.
    var resumption: Welcome.Resumption?
    /// Whether this side could; when not, the broker is told to end the session in the next hello.
    var canGoOn = false
    var unconfirmed: UnconfirmedRequests
    var reported: UInt64 = 0
    var unreportedBytes = 0
    var isReportTimed = false
    /// When nobody goes on with a session any more whose link is gone.
    var givenUpAt: NIODeadline?

    // Dialling.
    /// What the broker said before it closed: a better reason than that it closed.
    var lastWord: Failure?
    var endpoints: EndpointOrder
    var isDialling = false
    var refusals: [Failure] = []
    /// The reason that was logged last, since there was a link.
    var loggedReason: String?
    var backoff = Backoff()
    var linkedAt: NIODeadline?
    var linkAge = LinkAge()
    var isStopped = false

    /// A session over the network.
    package convenience init(loop: any EventLoop, configuration: Configuration, logger: Logger) {
        let carrier = NetworkCarrier(
            endpoints: configuration.endpoints,
            security: configuration.security,
            limits: configuration.limits,
            loop: loop
        )
        self.init(loop: loop, configuration: configuration, carrier: carrier, logger: logger)
    }

    init(loop: any EventLoop, configuration: Configuration, carrier: any LinkCarrier, logger: Logger) {
        self.loop = loop
        self.configuration = configuration
        self.carrier = carrier
        self.logger = logger
        waiting = WaitingRequests(configuration.limits)
        unconfirmed = UnconfirmedRequests(configuration.limits)
        endpoints = EndpointOrder(count: carrier.endpointCount)
    }

    /// Says goodbye and stays away. Calls in flight and what waits fail.
    package func stop() {
        guard !isStopped else { return }
        isStopped = true
        if isLinked { link?.write(.goodbye) }
        link?.close()
        linkClosed(link, Failure(.draining, "this layer was closed"))
        loseSession()
        for entry in waiting.removeAll(where: { _ in true }) { failUnsent(entry, noLink) }
    }

    /// An id no request in flight has, for `RECEIVE` and `TAIL`, whose replies come through the delegate.
    package func nextID() -> RequestID {
        lastID += 1
        return lastID
    }

    // MARK: Requests

    /// Gathers a request that wants no answer; it leaves at the end of this loop turn.
    ///
    /// While there is no link a `SEND` or `GROUP_SEND` waits or fails as ``Configuration/sendsWhileAway`` says. Any
    /// other request belongs to its session: it waits while that may go on, and is dropped with it, because the
    /// delegate registers again in ``LayerDelegate/layerDidConnect(_:)``.
    ///
    /// - Returns: Whether it leaves or waits; false: it was not sent, for want of a link or because the message is over
    ///   the broker's limit. One that waits in vain is counted in ``Counters/unsent``.
    @discardableResult
    package func post(_ request: Request) -> Bool {
        guard let failure = submit(request, ticket: nil, nil) else { return true }
        counters.unsent += 1
        if failure.code == .messageTooLarge {
            logger.warning("a message was not sent", metadata: ["reason": "\(failure.text)"])
        }
        return false
    }

    /// Gathers a request and passes its answer to `then`, in stream order: `.null` for an acknowledgement.
    ///
    /// While there is no link it waits or fails as with ``post(_:)``. Fails with `silence` when it was not sent, and
    /// with a `silence` whose ``Failure/isOutcomeKnown`` is false when its session ended before the answer: the broker
    /// may have carried it out. A link that breaks is no reason: the answer comes over the next one when the session
    /// goes on. A message over the broker's limit fails with `message_too_large`.
    ///
    /// - Parameter ticket: Ends its waiting for a link when it is cancelled and ``withdrawCancelled()`` is called.
    package func call(
        _ make: (RequestID) -> Request,
        ticket: SendTicket? = nil,
        then: @escaping (Result<MessageValue, Failure>) -> Void
    ) {
        guard let failure = submit(make(nextID()), ticket: ticket, then) else { return }
        counters.unsent += 1
        then(.failure(failure))
    }

    /// Ends the waiting of sends whose ticket was cancelled; they were not sent.
    package func withdrawCancelled() {
        guard !waiting.isEmpty else { return }
        for entry in waiting.removeAll(where: { $0.ticket?.isCancelled == true }) { failUnsent(entry, noLink) }
    }

    /// Writes a request or lets it wait.
    ///
    /// - Returns: Why it does neither.
    private func submit(_ request: Request, ticket: SendTicket?, _ then: Answered?) -> Failure? {
        // What is sent while others still wait stays behind them.
        guard isLinked, waiting.isEmpty || !request.outlivesSession else {
            return wait(request, ticket: ticket, then)
        }
        if let failure = tooLarge(request) { return failure }
        write(request, then)
        return nil
    }

    func write(_ request: Request, _ then: Answered?) {
        var request = request
        if case .report(var report) = request {
            report.received = received
            request = .report(report)
            reported = received
            unreportedBytes = 0
        }
        if canGoOn {
            unconfirmed.append(request, isQuestion: then != nil && request.isAnsweredInTurn)
        }
        if let then, let id = request.id { calls[id] = Call(number: unconfirmed.written, then: then) }
        link?.write(request)
        if canGoOn, unconfirmed.wantsQuestion { ping() }
    }

    /// Asks the broker for a sign of life, which is also one that it has taken everything before.
    func ping() {
        guard isLinked else { return }
        call({ .ping($0) }, then: { _ in })
    }

    /// Refuses here what would not fit a frame: the broker would close the connection for it.
    private func tooLarge(_ request: Request) -> Failure? {
        let count =
            switch request {
            case .send(_, _, let body, _), .groupSend(_, _, let body, _): body.count
            default: 0
            }
        guard count > bodyBytes else { return nil }
        return Failure(
            .messageTooLarge,
            "the message has \(count) bytes, the broker's limit \"body_bytes\" is \(bodyBytes)"
        )
    }

    var noLink: Failure {
        let reason = lastFailure.map { ": \($0.text)" } ?? ""
        return Failure(.silence, "the broker is not reachable\(reason); nothing was sent")
    }

    // MARK: Waiting

    private func wait(_ request: Request, ticket: SendTicket?, _ then: Answered?) -> Failure? {
        guard !isStopped, configuration.retries, ticket?.isCancelled != true else { return noLink }
        var deadline: NIODeadline?
        if request.outlivesSession {
            guard case .wait(let seconds) = configuration.sendsWhileAway, seconds > 0 else { return noLink }
            deadline = loop.now + TimeAmount.nanoseconds(Int64(min(seconds, Self.waitSecondsMaximum) * 1e9))
        } else {
            guard canGoOn else { return noLink }
        }
        guard waiting.append(WaitingRequests.Entry(request, until: deadline, ticket: ticket, then: then)) else {
            // Without it the session cannot go on as if nothing had happened.
            if deadline == nil { loseSession() }
            return Failure(.silence, "\(waiting.count) requests wait for a broker, no more may; nothing was sent")
        }
        timeWaiting()
        return nil
    }

    private static let waitSecondsMaximum = 86_400.0
    /// What has waited too long is looked for this often at most.
    private static let waitCheck = TimeAmount.milliseconds(20)

    private func timeWaiting() {
        guard !isWaitTimed, let deadline = waiting.earliestDeadline else { return }
        isWaitTimed = true
        loop.assumeIsolated().scheduleTask(deadline: max(deadline, loop.now + Self.waitCheck)) {
            self.isWaitTimed = false
            self.endLongWaits()
        }
    }

    private func endLongWaits() {
        let now = loop.now
        let late = waiting.removeAll { $0.deadline.map { $0 <= now } ?? false }
        timeWaiting()
        guard !late.isEmpty, case .wait(let seconds) = configuration.sendsWhileAway else { return }
        logger.warning("messages waited in vain for a broker", metadata: ["count": "\(late.count)"])
        let reason = lastFailure.map { ": \($0.text)" } ?? ""
        let failure = Failure(.silence, "no broker was reachable for \(seconds) s\(reason); nothing was sent")
        for entry in late { failUnsent(entry, failure) }
    }

    func failUnsent(_ entry: WaitingRequests.Entry, _ failure: Failure) {
        counters.unsent += 1
        entry.then?(.failure(failure))
    }

    /// Lets go of what waited, in order, now that there is a link.
    func writeWaiting() {
        while isLinked, let next = waiting.popFirst() {
            if let failure = tooLarge(next.request) {
                failUnsent(next, failure)
            } else {
                counters.waited += 1
                write(next.request, next.then)
            }
        }
    }
}

extension Request {
    /// Whether the request means the same to whatever session takes it.
    var outlivesSession: Bool {
        switch self {
        case .send, .groupSend: true
        default: false
        }
    }

    /// Whether the answer does not wait for other processes.
    fileprivate var isAnsweredInTurn: Bool {
        switch self {
        case .flush: false
        case .groupSend(_, _, _, let options): !options.wantsOutcome
        default: true
        }
    }
}
