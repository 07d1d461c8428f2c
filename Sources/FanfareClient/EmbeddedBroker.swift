import FanfareCore
import FanfareModel
import NIOCore

/// A core in this process behind the same link as a socket: for tests and programs of one process.
///
/// Replies never arrive inside the request that caused them; like over a socket they come in a later turn, in order.
/// Not Sendable; it lives on one loop, and so do all its sessions.
final class EmbeddedBroker: LinkCarrier {
    private let loop: any EventLoop
    private let limits: Limits
    private var epoch: UInt64 = 1
    private var lastToken = 0
    private var core: Core
    private var effects = Effects()
    private var sessions: [SessionID: EmbeddedSession] = [:]
    private var inboxes: [(link: EmbeddedLink, reply: Reply?)] = []
    private var isScheduled = false
    private var timer: (deadline: Instant, task: Scheduled<Void>)?

    init(loop: any EventLoop, limits: Limits) {
        self.loop = loop
        self.limits = limits
        core = Core(limits: limits, epoch: epoch, broker: "embedded")
    }

    private var now: Instant { Instant(nanoseconds: loop.now.uptimeNanoseconds) }

    /// Whether everything that was asked has been answered and passed on.
    var isQuiet: Bool { inboxes.isEmpty && !isScheduled }

    /// Forgets everything and ends all links, as a broker that is stopped and started again.
    func restart() {
        epoch += 1
        core = Core(limits: limits, epoch: epoch, broker: "embedded")
        effects.removeAll()
        for session in sessions.values {
            session.grace?.cancel()
            session.link?.isCut = true
            if let link = session.link { inboxes.append((link, nil)) }
        }
        sessions.removeAll()
        run()
    }

    /// Breaks all links: what is on its way over them is lost. Sessions that can go on do so over the next ones.
    func breakLinks() {
        for (id, session) in sessions {
            guard let link = session.link else { continue }
            inboxes.removeAll { $0.link === link }
            link.isCut = true
            inboxes.append((link, nil))
            lost(session, id)
        }
        run()
    }

    private func lost(_ session: EmbeddedSession, _ id: SessionID) {
        session.link = nil
        guard session.token != nil else { return end(id) }
        core.endTails(of: id)
        let grace = TimeAmount.milliseconds(Int64(clamping: limits.resumeGrace.value))
        session.grace = loop.assumeIsolated().scheduleTask(in: grace) { [weak self] in
            self?.end(id)
            self?.run()
        }
    }

    private func end(_ id: SessionID) {
        guard let session = sessions.removeValue(forKey: id) else { return }
        session.grace?.cancel()
        core.close(id, now: now, into: &effects)
    }

    var endpointCount: Int { 1 }

    func connect(to endpoint: Int, for session: LayerSession) {
        session.linkOpened(EmbeddedLink(broker: self, session: session))
    }

    func apply(_ request: Request, from link: EmbeddedLink) {
        guard !link.isCut else { return }
        if let id = link.id {
            sessions[id]?.note(request)
            core.apply(request, from: id, now: now, into: &effects)
        } else if case .hello(let hello) = request, !goOn(hello, over: link) {
            open(hello, for: link)
        }
        run()
    }

    private func open(_ hello: Hello, for link: EmbeddedLink) {
        lastToken += 1
        let canResume = hello.capabilities.contains(Protocol.resumeCapability)
        let token = canResume ? Array("\(epoch).\(lastToken)".utf8) : nil
        let resumption = token.map { Welcome.Resumption(token: $0, grace: limits.resumeGrace) }
        do throws(Failure) {
            let id = try core.open(hello, resumption: resumption, now: now, into: &effects)
            let session = EmbeddedSession(token: token)
            session.link = link
            sessions[id] = session
            link.id = id
        } catch {
            inboxes.append((link, .error(nil, error)))
            inboxes.append((link, nil))
        }
    }

    /// Goes on with the session a hello names: all or nothing.
    private func goOn(_ hello: Hello, over link: EmbeddedLink) -> Bool {
        guard let resume = hello.resume, let (id, session) = sessions.first(where: { $0.value.token == resume.token }),
            let (_, welcome) = core.introduction(of: id)
        else { return false }
        guard let replies = session.replies(after: resume.received) else {
            end(id)
            return false
        }
        session.grace?.cancel()
        session.link = link
        link.id = id
        var resumed = welcome
        resumed.resumption = Welcome.Resumption(
            token: resume.token,
            grace: limits.resumeGrace,
            resumedAfter: session.taken
        )
        inboxes.append((link, .welcome(resumed)))
        for reply in replies { inboxes.append((link, reply)) }
        return true
    }

    func close(_ link: EmbeddedLink) {
        link.isClosed = true
        guard let id = link.id, sessions[id]?.link === link else { return }
        end(id)
        run()
    }

    private func run() {
        for effect in effects.list {
            switch effect {
            case .reply(let reply, let session): deliver(reply, to: session)
            case .fanOut(let reply, let range): for session in effects.targets[range] { deliver(reply, to: session) }
            case .close(let session, _):
                if let link = sessions.removeValue(forKey: session)?.link { inboxes.append((link, nil)) }
            case .drain: break  // Only an admin can ask for it, and a layer's session is none.
            }
        }
        effects.removeAll()
        arm()
        guard !inboxes.isEmpty, !isScheduled else { return }
        isScheduled = true
        loop.assumeIsolated().execute { self.passOn() }
    }

    private func deliver(_ reply: Reply, to session: SessionID) {
        guard let session = sessions[session] else { return }
        session.note(reply)
        if let link = session.link { inboxes.append((link, reply)) }
    }

    /// Passes on what has gathered; `nil` stands for the end of a link.
    private func passOn() {
        isScheduled = false
        let passed = inboxes
        inboxes.removeAll(keepingCapacity: true)
        // A session that has left hears nothing more, also of what was under way.
        for (link, reply) in passed where !link.isClosed {
            if let reply {
                link.session.linkReceived(reply)
            } else {
                link.session.linkClosed(link, Failure(.silence, "the embedded broker ended the link"))
            }
        }
        var told: Set<ObjectIdentifier> = []
        for (link, _) in passed where !link.isClosed && told.insert(ObjectIdentifier(link)).inserted {
            link.session.linkFinishedBurst()
        }
    }

    private func arm() {
        guard let next = core.nextDeadline else { return }
        if let timer, timer.deadline <= next { return }
        timer?.task.cancel()
        let task = loop.assumeIsolated().scheduleTask(deadline: .uptimeNanoseconds(next.nanoseconds)) { [weak self] in
            guard let self else { return }
            timePassed()
        }
        timer = (next, task)
    }

    private func timePassed() {
        timer = nil
        core.advance(to: now, into: &effects)
        run()
    }
}

/// A session's link to a core in this process.
final class EmbeddedLink: BrokerLink {
    var id: SessionID?
    /// Whether the session has ended it.
    var isClosed = false
    /// Whether it is broken: what is written is lost.
    var isCut = false
    let session: LayerSession
    private let broker: EmbeddedBroker

    init(broker: EmbeddedBroker, session: LayerSession) {
        self.broker = broker
        self.session = session
    }

    func write(_ request: Request) {
        broker.apply(request, from: self)
    }

    func close() {
        broker.close(self)
    }
}
