package import FanfareModel
package import Logging
package import NIOCore

/// Who a ``LayerSession`` tells what comes in: a worker's hub or a program's mailboxes. Always called on the loop.
package protocol LayerDelegate: AnyObject {
    /// The broker accepted the hello. Nothing has been pushed yet: open channels and add memberships again here.
    func layerDidConnect(_ welcome: Welcome)
    /// The session goes on over a new link as if nothing had happened: everything registered still is, nothing was
    /// missed. Instead of ``layerDidConnect(_:)``.
    func layerDidResume(_ welcome: Welcome)
    /// The link is gone; the session dials again by itself. Whether what was registered is lost is known when there is
    /// a link again.
    func layerDidDisconnect(_ failure: Failure)
    /// A push: `deliver`, `groupDeliver`, `members`, `gap`, `flushed`, `handOut`, `tailed`, `goAway`, or `error` for
    /// a `RECEIVE` or `TAIL`; in stream order, and the completions of `call` run in the same order.
    func layerDidReceive(_ push: Reply)
    /// Everything one read brought has been passed on.
    func layerDidFinishBurst()
}

/// The session of one process with its broker, whatever carries it, on one event loop.
///
/// Dials, says hello, matches answers to requests, dials again with jittered backoff when the link breaks
/// (`proto/PROTOCOL.md`, section 8), and takes the same node again. What was registered is its delegate's to
/// remember: it registers again in ``LayerDelegate/layerDidConnect(_:)``. Not Sendable.
package final class LayerSession {
    package struct Configuration: Sendable {
        /// Brokers, tried in order.
        package var endpoints: [Endpoint]
        package var hello: Hello
        package var limits: Limits
        /// Whether to dial again after a failure, for ever.
        package var retries = true

        package init(endpoints: [Endpoint], hello: Hello, limits: Limits) {
            self.endpoints = endpoints
            self.hello = hello
            self.limits = limits
        }
    }

    package weak var delegate: (any LayerDelegate)?
    /// The broker's welcome while there is a session.
    package private(set) var welcome: Welcome?
    /// Why there is no session.
    package private(set) var lastFailure: Failure?

    private let loop: any EventLoop
    private let configuration: Configuration
    private let logger: Logger
    private let carrier: any LinkCarrier
    private var link: (any BrokerLink)?
    private var lastID: RequestID = 0
    private var calls: [RequestID: (Result<MessageValue, Failure>) -> Void] = [:]
    /// What the broker said before it closed: a better reason than that it closed.
    private var lastWord: Failure?
    private var backoff = Backoff()
    private var linkAge = LinkAge()
    private var isStopped = false

    /// A session over the network.
    package convenience init(loop: any EventLoop, configuration: Configuration, logger: Logger) {
        let carrier = NetworkCarrier(endpoints: configuration.endpoints, limits: configuration.limits, loop: loop)
        self.init(loop: loop, configuration: configuration, carrier: carrier, logger: logger)
    }

    init(loop: any EventLoop, configuration: Configuration, carrier: any LinkCarrier, logger: Logger) {
        self.loop = loop
        self.configuration = configuration
        self.carrier = carrier
        self.logger = logger
    }

    /// Dials the first broker.
    package func start() {
        guard !isStopped else { return }
        carrier.connect(for: self)
    }

    /// Says goodbye and stays away. Calls in flight fail.
    package func stop() {
        isStopped = true
        if welcome != nil { link?.write(.goodbye) }
        link?.close()
        linkClosed(link, Failure(.draining, "this layer was closed"))
    }

    /// An id no request in flight has, for `RECEIVE` and `TAIL`, whose replies come through the delegate.
    package func nextID() -> RequestID {
        lastID += 1
        return lastID
    }

    /// Gathers a request that wants no answer; it leaves at the end of this loop turn.
    ///
    /// - Returns: Whether it leaves: there is a link, and the message is not over the broker's limit.
    @discardableResult
    package func post(_ request: Request) -> Bool {
        guard let welcome, let link else { return false }
        if let failure = tooLarge(request, for: welcome) {
            logger.warning("a message was not sent", metadata: ["reason": "\(failure.text)"])
            return false
        }
        link.write(request)
        return true
    }

    /// Gathers a request and passes its answer to `then`, in stream order: `.null` for an acknowledgement.
    ///
    /// Without a link, or when it breaks before the answer, `then` gets a `silence` failure; whether the broker
    /// carried the request out is not known then. A message over the broker's limit fails with `message_too_large`.
    package func call(_ make: (RequestID) -> Request, then: @escaping (Result<MessageValue, Failure>) -> Void) {
        guard let welcome, let link else { return then(.failure(noLink)) }
        let id = nextID()
        let request = make(id)
        if let failure = tooLarge(request, for: welcome) { return then(.failure(failure)) }
        calls[id] = then
        link.write(request)
    }

    /// Refuses here what would not fit a frame: the broker would close the connection for it.
    private func tooLarge(_ request: Request, for welcome: Welcome) -> Failure? {
        let count =
            switch request {
            case .send(_, _, let body, _), .groupSend(_, _, let body, _): body.count
            default: 0
            }
        guard count > welcome.bodyBytes else { return nil }
        return Failure(
            .messageTooLarge,
            "the message has \(count) bytes, the broker's limit \"body_bytes\" is \(welcome.bodyBytes)"
        )
    }

    private var noLink: Failure {
        let reason = lastFailure.map { ": \($0.text)" } ?? ""
        return Failure(.silence, "the broker is not reachable\(reason)")
    }

    // MARK: From the link

    func linkOpened(_ link: any BrokerLink) {
        guard !isStopped else { return link.close() }
        self.link = link
        lastWord = nil
        linkAge = LinkAge()
        var hello = configuration.hello
        hello.capabilities = [Protocol.clockCapability]
        link.write(.hello(hello))
    }

    func linkReceived(_ reply: Reply) {
        switch reply {
        case .welcome(let welcome):
            self.welcome = welcome
            lastFailure = nil
            backoff = Backoff()
            logger.info(
                "connected to the broker",
                metadata: ["session": "\(welcome.session.value)", "broker": "\(welcome.broker)"]
            )
            delegate?.layerDidConnect(welcome)
        case .ack(let id): answer(id, .success(.null))
        case .result(let id, let value): answer(id, .success(value))
        case .error(let id, let failure): refused(id, failure)
        case .ping(let id): link?.write(.pong(id))
        case .pong(let id): answer(id, .success(.null))
        case .clock(let time): linkAge.hear(time, at: loop.now)
        default: delegate?.layerDidReceive(aged(reply))
        }
    }

    /// A message with the time it spent on the link taken off its life.
    private func aged(_ reply: Reply) -> Reply {
        guard linkAge.milliseconds > 0 else { return reply }
        switch reply {
        case .deliver(let channel, let body, let remaining):
            return .deliver(channel: channel, body: body, remaining: linkAge.left(of: remaining))
        case .groupDeliver(var delivery):
            delivery.remaining = linkAge.left(of: delivery.remaining)
            return .groupDeliver(delivery)
        case .handOut(let id, var handOut):
            handOut.remaining = linkAge.left(of: handOut.remaining)
            return .handOut(id, handOut)
        default: return reply
        }
    }

    func linkFinishedBurst() {
        delegate?.layerDidFinishBurst()
    }

    private func answer(_ id: RequestID, _ result: Result<MessageValue, Failure>) {
        calls.removeValue(forKey: id)?(result)
    }

    private func refused(_ id: RequestID?, _ failure: Failure) {
        if let id {
            if calls[id] != nil { return answer(id, .failure(failure)) }
            // A RECEIVE or TAIL, whose ids the delegate chose.
            delegate?.layerDidReceive(.error(id, failure))
            return
        }
        if failure.code.isFatal || welcome == nil { lastWord = failure }
        logger.warning(
            "the broker refused",
            metadata: ["code": "\(failure.code.name)", "reason": "\(failure.text)"]
        )
    }

    /// The link is gone, or could not be made: `closed` is `nil` then.
    func linkClosed(_ closed: (any BrokerLink)?, _ failure: Failure) {
        guard closed === link else { return }
        link = nil
        welcome = nil
        let failure = lastWord ?? failure
        lastWord = nil
        lastFailure = failure
        let failed = calls
        calls.removeAll()
        for call in failed.sorted(by: { $0.key < $1.key }) { call.value(.failure(noLink)) }
        delegate?.layerDidDisconnect(failure)
        guard !isStopped, configuration.retries else { return }
        let delay = backoff.next()
        logger.warning(
            "no broker; trying again",
            metadata: [
                "reason": "\(failure.text)",
                "again_milliseconds": "\(delay.nanoseconds / 1_000_000)",
            ]
        )
        loop.assumeIsolated().scheduleTask(in: delay) { self.start() }
    }
}

/// How long to wait before the next attempt: doubled from 50 ms to 5 s, times a random half to whole.
struct Backoff {
    private var step: Int64 = 50
    private static let longestMilliseconds: Int64 = 5_000

    mutating func next() -> TimeAmount {
        defer { step = min(step * 2, Self.longestMilliseconds) }
        return .milliseconds(Int64.random(in: (step / 2)...step))
    }
}
