import DequeModule
import FanfareModel
import FanfareProtocol
import NIOCore

/// The state behind a ``ChannelLayer``: mailboxes of its process channels, its groups, its waiting receives.
///
/// Not Sendable; everything happens on the layer's loop.
final class LayerEngine: LayerDelegate {
    /// Somebody who waits for a message. Resumed exactly once.
    struct Waiter {
        let channel: String
        /// Whether it wants to know of holes; who does not is handed the next message.
        let hearsGaps: Bool
        let resume: (Result<Arrival, any Error>) -> Void
    }

    /// What a waiter gets.
    enum Arrival: Sendable {
        case body(Body, trace: TraceContext?)
        case gap(Gap)
    }

    let session: LayerSession
    let reader: FrameReader
    let limits: Limits
    let loop: any EventLoop
    private let node: String
    let policy: Policy
    var mailboxes: [String: Mailbox] = [:]
    var groups: [String: Set<String>] = [:]
    private var waiters: [UInt64: Waiter] = [:]
    /// Tokens given out whose receive has not begun; one that is cancelled before it begins must not wait.
    private var announced: Set<UInt64> = []
    /// Receives of normal channels: the broker's id is the waiter's token.
    private var received: [RequestID: String] = [:]
    var tails: [RequestID: AsyncStream<Tailed>.Continuation] = [:]
    private var connecting: [(Result<Void, Failure>) -> Void] = []
    /// Messages that wait in all mailboxes.
    var unread = 0
    var changed: Set<String> = []
    /// Channels the broker was asked to close and has not answered for.
    var closing: Set<String> = []
    var drops: [Report.Dropped] = []
    var isReportScheduled = false
    var expiry: (deadline: NIODeadline, task: Scheduled<Void>)?
    private var wasConnected = false
    /// Groups a new session found no room in for all that were in them; they are tried again.
    var unjoined: Set<String> = []
    /// Tails that ended with their link; a session that goes on is asked to end them too.
    var cutTails: [RequestID] = []
    /// Told when the broker asks this layer to leave.
    var onDrain: (@Sendable (DrainRequest) -> Void)?
    var isDraining = false
    private(set) var isClosed = false

    init(session: LayerSession, node: String, policy: Policy, limits: Limits, loop: any EventLoop) {
        self.session = session
        self.node = node
        self.policy = policy
        self.limits = limits
        self.loop = loop
        reader = FrameReader(limits: limits)
        session.delegate = self
    }

    // MARK: Link

    /// Calls back once there is a session, or when the first attempt has failed and there is no retrying.
    func whenConnected(_ callback: @escaping (Result<Void, Failure>) -> Void) {
        if session.welcome != nil { return callback(.success(())) }
        // The first attempt may have failed before anybody asked.
        if let failure = session.lastFailure { return callback(.failure(failure)) }
        connecting.append(callback)
    }

    func layerDidConnect(_ welcome: Welcome) {
        cutTails = []
        unjoined.removeAll()
        drops.removeAll()
        changed.removeAll()
        // What was lost with the session nobody can count: each channel is told once.
        if wasConnected {
            for name in mailboxes.keys { mailboxes[name]?.forgetSession() }
            for channel in mailboxes.keys { missed(Gap(name: nil, count: 0, reason: .ownerGone), by: channel) }
        }
        wasConnected = true
        for (group, members) in groups { add(Array(members), to: group) }
        for channel in mailboxes.keys { note(channel) }
        for (id, channel) in received { session.post(.receive(id: id, channel: channel, count: 1)) }
        endConnecting(.success(()))
    }

    func layerDidResume(_ welcome: Welcome) {
        // What was taken and dropped in the meantime.
        report()
        for id in cutTails { session.call({ .cancel(id: $0, target: id) }, then: { _ in }) }
        cutTails = []
        endConnecting(.success(()))
    }

    func layerDidDisconnect(_ failure: Failure) {
        endConnecting(.failure(failure))
        cutTails += tails.keys
        for tail in tails.values { tail.finish() }
        tails.removeAll()
    }

    private func endConnecting(_ result: Result<Void, Failure>) {
        let waiting = connecting
        connecting.removeAll()
        for callback in waiting { callback(result) }
    }

    func layerDidFinishBurst() {}

    /// Ends everything that waits, gives back what is on its way to those, and leaves the broker.
    func close(_ done: @escaping () -> Void = {}) {
        guard !isClosed else { return done() }
        isClosed = true
        for (token, waiter) in waiters.sorted(by: { $0.key < $1.key }) {
            end(token, waiter, ChannelLayerError.closed)
        }
        whenGivenBack {
            self.session.stop()
            self.expiry?.task.cancel()
            done()
        }
    }

    // MARK: Pushes

    func layerDidReceive(_ push: Reply) {
        switch push {
        case .tailed(let id, let tailed): tails[id]?.yield(tailed)
        case .error(let id?, let failure): refused(id, failure)
        case .goAway(let within, let reason, drains: true): drain(within, reason)
        case .deliver(let channel, _, _, _) where closing.contains(channel): break
        case .deliver(let channel, let body, let remaining, let trace):
            let message = Mailbox.Message(
                body: body,
                trace: trace,
                deadline: deadline(remaining),
                group: nil,
                isHeld: false
            )
            arrive(message, for: channel)
            loseSurplus(of: channel)
        case .gap(let gap): arrive(gap)
        case .groupDeliver(let delivery): arrive(delivery)
        case .handOut(let id, let handOut): arrive(handOut, for: id)
        case .members(let group, let added, let removed):
            for channel in added { join(channel, group) }
            for channel in removed { leave(channel, group) }
        case .flushed(let token): flushed(token)
        default: break
        }
    }

    private func deadline(_ remaining: Milliseconds) -> NIODeadline {
        loop.now + .milliseconds(Int64(clamping: remaining.value))
    }

    private func arrive(_ message: Mailbox.Message, for channel: String) {
        mailboxes[channel, default: Mailbox()].append(message)
        unread += 1
        hand(channel)
        if mailboxes[channel] != nil { scheduleExpiry(message.deadline) }
    }

    private func arrive(_ gap: Gap) {
        guard let name = gap.name else {
            for channel in mailboxes.keys { missed(gap, by: channel) }
            return
        }
        if gap.isClosed { discard(name) }
        missed(gap, by: name)
    }

    /// Notes a hole in what a channel got and tells who waits to hear of it.
    func missed(_ gap: Gap, by channel: String) {
        mailboxes[channel, default: Mailbox()].append(gap)
        hand(channel)
    }

    private func arrive(_ delivery: GroupDelivery) {
        let until = deadline(delivery.remaining)
        var (accepted, dropped) = (UInt64(0), UInt64(0))
        for channel in groups[delivery.group] ?? [] where !delivery.exclude.contains(channel) {
            if hasRoom(channel, for: delivery) {
                accepted += 1
                let message = Mailbox.Message(
                    body: delivery.body,
                    trace: delivery.trace,
                    deadline: until,
                    group: delivery.group,
                    isHeld: true
                )
                arrive(message, for: channel)
            } else {
                dropped += 1
            }
        }
        if let token = delivery.outcome {
            session.post(.outcome(token: token, accepted: accepted, dropped: dropped))
        }
    }

    /// A `RECEIVE` or `TAIL` was refused.
    private func refused(_ id: RequestID, _ failure: Failure) {
        received.removeValue(forKey: id)
        waiters.removeValue(forKey: id)?.resume(.failure(ChannelLayerError(failure)))
        tails.removeValue(forKey: id)?.finish()
    }

    private func arrive(_ handOut: HandOut, for id: RequestID) {
        guard let channel = received.removeValue(forKey: id) else { return }
        guard let waiter = waiters[id], handOut.remaining.value > 0 else {
            // Cancelled while the message was on its way: it goes back to the head of its queue.
            // Expired on the way: the broker counts it as such when it comes back, and the wait goes on.
            session.post(.giveBack(id: nil, channel: channel, GivenBack(handOut)))
            if waiters[id] != nil { ask(for: channel, id) }
            return
        }
        waiters[id] = nil
        waiter.resume(.success(.body(handOut.body, trace: handOut.trace)))
    }

    private func flushed(_ token: UInt64) {
        for channel in mailboxes.keys { mailboxes[channel]?.flush() }
        unread = 0
        groups.removeAll()
        changed.removeAll()
        drops.removeAll()
        mailboxes = mailboxes.filter { !$0.value.isIdle }
        session.post(.outcome(token: token, accepted: 0, dropped: 0))
    }

    // MARK: Receiving

    /// Waits for a message of `channel` under `token`, or for a hole in its order if `hearsGaps`.
    func receive(
        _ token: UInt64,
        from channel: String,
        hearsGaps: Bool,
        _ resume: @escaping (Result<Arrival, any Error>) -> Void
    ) {
        guard announced.remove(token) != nil else { return resume(.failure(CancellationError())) }
        guard !isClosed else { return resume(.failure(ChannelLayerError.closed)) }
        guard Names.isChannel(channel, limits) else {
            return resume(.failure(ChannelLayerError.badName("\"\(channel)\" is no channel name")))
        }
        let isOwn = isOwn(channel)
        guard isOwn || Names.node(of: channel) == nil else {
            return resume(.failure(ChannelLayerError.notOwner(channel)))
        }
        waiters[token] = Waiter(channel: channel, hearsGaps: hearsGaps, resume: resume)
        guard isOwn else { return ask(for: channel, token) }
        mailboxes[channel, default: Mailbox()].waiters.append(token)
        if hearsGaps { mailboxes[channel]?.isWatched = true }
        hand(channel)
    }

    /// Asks the broker for a message of a normal channel.
    private func ask(for channel: String, _ token: UInt64) {
        received[token] = channel
        session.post(.receive(id: token, channel: channel, count: 1))
    }

    /// How many wait for a message of `channel`.
    func waits(on channel: String) -> Int {
        waiters.values.count { $0.channel == channel }
    }

    /// A token for one receive.
    func newToken() -> UInt64 {
        let token = session.nextID()
        announced.insert(token)
        return token
    }

    /// Stops waiting, or keeps a receive from beginning. A message that comes all the same is given back.
    func cancel(_ token: UInt64) {
        announced.remove(token)
        if let waiter = waiters[token] { end(token, waiter, CancellationError()) }
    }

    private func end(_ token: UInt64, _ waiter: Waiter, _ error: any Error) {
        waiters.removeValue(forKey: token)
        if received[token] != nil {
            session.call({ .cancel(id: $0, target: token) }, then: { _ in self.received.removeValue(forKey: token) })
        } else {
            mailboxes[waiter.channel]?.waiters.removeAll { $0 == token }
            removeIfIdle(waiter.channel)
        }
        waiter.resume(.failure(error))
    }

    /// Calls back when the broker has what it handed to receives that had ended: at once when there are none, else
    /// after two round trips, or ``givenBackWithin`` when the broker does not answer.
    ///
    /// The first round brings what was on its way, the second takes it back. A layer that left before would lose it.
    func whenGivenBack(_ done: @escaping () -> Void) {
        guard received.keys.contains(where: { waiters[$0] == nil }) else { return done() }
        var isDone = false
        let finish = {
            guard !isDone else { return }
            isDone = true
            done()
        }
        let timer = loop.assumeIsolated().scheduleTask(in: Self.givenBackWithin, finish)
        session.call({ .ping($0) }) { _ in
            self.session.call({ .ping($0) }) { _ in
                timer.cancel()
                finish()
            }
        }
    }

    private static let givenBackWithin = TimeAmount.seconds(1)

    func isOwn(_ channel: String) -> Bool {
        Names.node(of: channel).map { $0 == node } ?? false
    }

    /// Gives what stands first in a channel to those who wait longest. What has expired is a hole by then.
    private func hand(_ channel: String) {
        guard !closing.contains(channel) else { return }
        while let token = mailboxes[channel]?.waiters.first {
            let now = loop.now
            if case .message(let first)? = mailboxes[channel]?.items.first, first.deadline <= now {
                lose(.expired, of: channel) { $0.deadline <= now }
            }
            guard let item = mailboxes[channel]?.popFirst() else { break }
            switch item {
            case .message(let message):
                unread -= 1
                mailboxes[channel]?.waiters.removeFirst()
                waiters.removeValue(forKey: token)?.resume(.success(.body(message.body, trace: message.trace)))
            case .gap(let gap):
                guard waiters[token]?.hearsGaps == true else { continue }
                mailboxes[channel]?.waiters.removeFirst()
                waiters.removeValue(forKey: token)?.resume(.success(.gap(gap)))
            }
        }
        note(channel)
        removeIfIdle(channel)
    }

    func removeIfIdle(_ channel: String) {
        if mailboxes[channel]?.isIdle == true { mailboxes[channel] = nil }
    }

    // MARK: Closing

    /// Forgets a channel of this process: it leaves all its groups, here and at the broker, with what waits in it.
    func closeChannel(_ channel: String, _ done: @escaping (Result<MessageValue, Failure>) -> Void) {
        close(channel) { result in
            if case .success = result { self.forget(channel) } else { self.hand(channel) }
            done(result)
        }
    }

    private func forget(_ channel: String) {
        discard(channel)
        guard let mailbox = mailboxes.removeValue(forKey: channel) else { return }
        for token in mailbox.waiters {
            waiters.removeValue(forKey: token)?.resume(.failure(ChannelLayerError.closed))
        }
    }

    // MARK: Sending

    /// Sends a request behind the reports it may depend on: what was taken makes room for what is sent.
    func call(
        _ make: (RequestID) -> Request,
        ticket: SendTicket? = nil,
        _ done: @escaping (Result<MessageValue, Failure>) -> Void
    ) {
        report()
        session.call(make, ticket: ticket, then: done)
    }
}
