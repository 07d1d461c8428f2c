import FanfareModel
import Logging
import NIOCore

// What comes from the link, and how a session goes on over the next one.
extension LayerSession {
    // MARK: Dialling

    /// Dials the brokers, one after the other, beginning with the one that answered last.
    package func start() {
        guard !isStopped, !isDialling, link == nil else { return }
        isDialling = true
        endpoints.begin()
        refusals = []
        dialNext()
    }

    /// - Returns: Whether there was one more to dial in this round.
    @discardableResult
    private func dialNext() -> Bool {
        guard let endpoint = endpoints.next() else { return false }
        carrier.connect(to: endpoint, for: self)
        return true
    }

    func linkOpened(_ link: any BrokerLink) {
        guard !isStopped, self.link == nil else { return link.close() }
        self.link = link
        lastWord = nil
        linkAge = LinkAge()
        var hello = configuration.hello
        hello.capabilities = [Protocol.clockCapability]
        if configuration.retries, hello.role == .worker || hello.role == .admin {
            hello.capabilities.append(Protocol.resumeCapability)
        }
        // Nobody has received so much: a broker that knows the session ends it, and its node is free for the new one.
        hello.resume = resumption.map {
            Hello.Resume(token: $0.token, received: canGoOn ? received : UInt64(Int64.max))
        }
        link.write(.hello(hello))
    }

    /// The link is gone, or could not be made: `closed` is `nil` then.
    func linkClosed(_ closed: (any BrokerLink)?, _ failure: Failure) {
        guard closed === link else { return }
        let hadWelcome = isLinked
        let failure = lastWord ?? failure
        link = nil
        welcome = nil
        isLinked = false
        lastWord = nil
        if hadWelcome {
            lostLink(failure)
        } else {
            refusals.append(failure)
            if !isStopped, dialNext() { return }
            lastFailure = refusals.together ?? failure
            if let givenUpAt, givenUpAt <= loop.now { loseSession() }
        }
        isDialling = false
        delegate?.layerDidDisconnect(lastFailure ?? failure)
        guard !isStopped, configuration.retries else { return }
        let reason = lastFailure ?? failure
        if !hadWelcome, reason.code == .unauthorized || reason.code == .forbidden { backoff.refused() }
        let delay = backoff.next(afterWelcome: hadWelcome)
        // A warning once for each reason, however often it is met.
        let isNew = reason.text != loggedReason
        loggedReason = reason.text
        logger.log(
            level: isNew ? .warning : .debug,
            "no broker; trying again",
            metadata: [
                "reason": "\(reason.text)",
                "again_milliseconds": "\(delay.nanoseconds / 1_000_000)",
            ]
        )
        loop.assumeIsolated().scheduleTask(in: delay) { self.start() }
    }

    /// A link that lived so long was a good one.
    private static let goodLink = TimeAmount.seconds(1)

    private func lostLink(_ failure: Failure) {
        lastFailure = failure
        if let linkedAt, loop.now - linkedAt >= Self.goodLink { backoff = Backoff() }
        // What the broker refused for good, or could not be read, would be the same over the next link.
        let isOver = failure.code.isFatal && failure.code != .silence && failure.code != .linkOverflow
        guard canGoOn, unconfirmed.isComplete, !isOver, !isStopped, configuration.retries else { return loseSession() }
        // Twice: a broker that starts again begins the grace anew.
        let grace = Int64(clamping: resumption?.grace.value ?? 0)
        let wait = TimeAmount.milliseconds(min(grace, Self.graceMillisecondsMaximum) * 2)
        let deadline = loop.now + wait
        givenUpAt = deadline
        loop.assumeIsolated().scheduleTask(in: wait) {
            // A link that waits for its welcome decides.
            guard self.givenUpAt == deadline, self.link == nil else { return }
            self.loseSession()
        }
    }

    private static let graceMillisecondsMaximum: Int64 = 86_400_000

    /// The session is over: what it was asked and has not answered fails, and what was to be asked of it.
    func loseSession() {
        canGoOn = false
        givenUpAt = nil
        unconfirmed = UnconfirmedRequests(configuration.limits)
        received = 0
        reported = 0
        unreportedBytes = 0
        let failed = calls
        calls.removeAll()
        let unsent = waiting.removeAll { $0.deadline == nil }
        let reason = lastFailure.map { ": \($0.text)" } ?? ""
        let unknown = Failure(
            .silence,
            "the session with the broker ended before the answer\(reason); whether it was carried out is not known",
            isOutcomeKnown: false
        )
        counters.unknown += UInt64(failed.count)
        for call in failed.sorted(by: { $0.key < $1.key }) { call.value.then(.failure(unknown)) }
        for entry in unsent { failUnsent(entry, noLink) }
    }

    // MARK: Receiving

    func linkReceived(_ reply: Reply) {
        guard link != nil else { return }
        switch reply {
        case .welcome(let welcome): welcomed(welcome)
        case .ping(let id): link?.write(.pong(id))
        case .clock(let time):
            linkAge.hear(time, at: loop.now)
            counters.lagSeconds.record(Double(linkAge.milliseconds) / 1_000)
        case .goAway(_, _, let drains):
            // Who was asked to leave stays linked until it says goodbye: a link that breaks before is made again.
            if !drains { backoff = Backoff() }
            delegate?.layerDidReceive(reply)
        default:
            if isLinked { received += 1 }
            passOn(reply)
        }
    }

    private func passOn(_ reply: Reply) {
        switch reply {
        case .ack(let id): answer(id, .success(.null))
        case .result(let id, let value): answer(id, .success(value))
        case .error(let id, let failure): refused(id, failure)
        case .pong(let id): answer(id, .success(.null))
        default: delegate?.layerDidReceive(aged(reply))
        }
    }

    /// A message with the time it spent on the link taken off its life.
    private func aged(_ reply: Reply) -> Reply {
        let now = loop.now
        guard linkAge.milliseconds(at: now) > 0 else { return reply }
        switch reply {
        case .deliver(let channel, let body, let remaining, let trace):
            return .deliver(channel: channel, body: body, remaining: linkAge.left(of: remaining, at: now), trace: trace)
        case .groupDeliver(var delivery):
            delivery.remaining = linkAge.left(of: delivery.remaining, at: now)
            return .groupDeliver(delivery)
        case .handOut(let id, var handOut):
            handOut.remaining = linkAge.left(of: handOut.remaining, at: now)
            return .handOut(id, handOut)
        default: return reply
        }
    }

    private func answer(_ id: RequestID, _ result: Result<MessageValue, Failure>) {
        guard let call = calls.removeValue(forKey: id) else { return }
        if canGoOn { unconfirmed.confirm(through: call.number) }
        call.then(result)
    }

    private func refused(_ id: RequestID?, _ failure: Failure) {
        if let id {
            if calls[id] != nil { return answer(id, .failure(failure)) }
            // A RECEIVE or TAIL, whose ids the delegate chose.
            delegate?.layerDidReceive(.error(id, failure))
            return
        }
        if failure.code.isFatal || !isLinked { lastWord = failure }
        // What ends an attempt is logged with its end.
        guard isLinked else { return }
        logger.warning(
            "the broker refused",
            metadata: ["code": "\(failure.code.name)", "reason": "\(failure.text)"]
        )
    }

    // MARK: Going on

    private func welcomed(_ welcome: Welcome) {
        guard !isLinked, let link else { return }
        let taken = welcome.resumption?.resumedAfter
        if let taken {
            guard canGoOn, taken >= unconfirmed.confirmed, unconfirmed.confirm(through: taken) else {
                logger.error("the broker goes on with a session it cannot know", metadata: ["requests": "\(taken)"])
                link.close()
                return linkClosed(link, Failure(.malformedFrame, "the broker goes on with a session it cannot know"))
            }
        } else {
            loseSession()
        }
        lastFailure = nil
        loggedReason = nil
        isDialling = false
        endpoints.answered()
        linkedAt = loop.now
        givenUpAt = nil
        resumption = configuration.retries ? welcome.resumption : nil
        canGoOn = resumption != nil
        self.welcome = welcome
        bodyBytes = welcome.bodyBytes
        isLinked = true
        logger.info(
            taken == nil ? "connected to the broker" : "the session goes on over a new link",
            metadata: ["session": "\(welcome.session.value)", "broker": "\(welcome.broker)"]
        )
        if taken == nil {
            counters.sessions += 1
            delegate?.layerDidConnect(welcome)
        } else {
            counters.resumptions += 1
            repeatUnconfirmed()
            guard self.link === link else { return }
            delegate?.layerDidResume(welcome)
        }
        writeWaiting()
    }

    private func repeatUnconfirmed() {
        let requests = unconfirmed.requests
        counters.repeated += UInt64(requests.count)
        for request in requests { link?.write(request) }
    }

    // MARK: Saying what has arrived

    /// A frame of so many bytes has been read.
    func linkRead(bytes: Int) {
        unreportedBytes += bytes
    }

    func linkFinishedBurst() {
        delegate?.layerDidFinishBurst()
        guard canGoOn, isLinked, received != reported else { return }
        if unreportedBytes >= Self.reportAfterBytes { return report() }
        guard !isReportTimed else { return }
        isReportTimed = true
        loop.assumeIsolated().scheduleTask(in: Self.reportAfter) {
            self.isReportTimed = false
            if self.canGoOn, self.received != self.reported { self.report() }
        }
    }

    private func report() {
        guard isLinked else { return }
        post(.report(Report(received: received, taken: [], dropped: [])))
    }

    // Half of what section 8.2 asks: a read may bring some more.
    private static let reportAfterBytes = 524_288
    private static let reportAfter = TimeAmount.milliseconds(50)
}

extension [Failure] {
    /// Why nobody answers, in one: the first that is more than silence gives the code.
    fileprivate var together: Failure? {
        guard count > 1, let weightiest = first(where: { $0.code != .silence }) ?? first else { return first }
        return Failure(weightiest.code, map(\.text).joined(separator: "; "))
    }
}
