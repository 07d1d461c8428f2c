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
    private var core: Core
    private var effects = Effects()
    private var links: [SessionID: EmbeddedLink] = [:]
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
        for link in links.values { inboxes.append((link, nil)) }
        links.removeAll()
        run()
    }

    var endpointCount: Int { 1 }

    func connect(to endpoint: Int, for session: LayerSession) {
        session.linkOpened(EmbeddedLink(broker: self, session: session))
    }

    func apply(_ request: Request, from link: EmbeddedLink) {
        if let id = link.id {
            core.apply(request, from: id, now: now, into: &effects)
        } else if case .hello(let hello) = request {
            open(hello, for: link)
        }
        run()
    }

    private func open(_ hello: Hello, for link: EmbeddedLink) {
        do throws(Failure) {
            let id = try core.open(hello, now: now, into: &effects)
            link.id = id
            links[id] = link
        } catch {
            inboxes.append((link, .error(nil, error)))
            inboxes.append((link, nil))
        }
    }

    func close(_ link: EmbeddedLink) {
        link.isClosed = true
        guard let id = link.id, links.removeValue(forKey: id) != nil else { return }
        core.close(id, now: now, into: &effects)
        run()
    }

    private func run() {
        for effect in effects.list {
            switch effect {
            case .reply(let reply, let session): deliver(reply, to: session)
            case .fanOut(let reply, let range): for session in effects.targets[range] { deliver(reply, to: session) }
            case .close(let session, _):
                if let link = links.removeValue(forKey: session) { inboxes.append((link, nil)) }
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
        if let link = links[session] { inboxes.append((link, reply)) }
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
                link.session.linkClosed(link, Failure(.silence, "the embedded broker ended the session"))
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
