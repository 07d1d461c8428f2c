import FanfareModel
import NIOCore

@testable import FanfareClient

/// A broker that does what section 8.2 of the protocol asks of one, and nothing clever: it takes messages for one
/// channel, acknowledges them and pushes them back. Requests and replies travel one at a time, when the test says so,
/// and a cut loses all that are under way.
final class ResumingBroker: LinkCarrier {
    final class Link: BrokerLink {
        let session: LayerSession
        var requests: [Request] = []
        var replies: [Reply] = []
        fileprivate(set) var isCut = false
        fileprivate var at: Session?

        init(_ session: LayerSession) {
            self.session = session
        }

        func write(_ request: Request) {
            if !isCut { requests.append(request) }
        }

        func close() {
            isCut = true
        }
    }

    final class Session {
        let token: Body
        fileprivate var link: Link?
        fileprivate var taken: UInt64 = 0
        fileprivate var kept: [Reply] = []
        fileprivate var base: UInt64 = 0

        init(_ token: Body) {
            self.token = token
        }
    }

    /// What was taken, in order, by number.
    private(set) var accepted: [Int] = []
    private(set) var reports: [UInt64] = []
    private(set) var pings = 0
    /// Every session there was.
    private(set) var opened = 0
    private(set) var links: [Link] = []
    var isReachable = true
    var grace = Milliseconds(10_000)
    private var sessions: [Body: Session] = [:]
    let endpointCount = 1

    /// The link the client uses or has not yet heard to be broken.
    var link: Link? { links.last }

    func connect(to endpoint: Int, for session: LayerSession) {
        guard isReachable else { return session.linkClosed(nil, Failure(.silence, "refused")) }
        let link = Link(session)
        links.append(link)
        session.linkOpened(link)
    }

    /// Starts again, and knows nobody.
    func restart() {
        sessions.removeAll()
        cut()
    }

    /// Breaks the link; the client hears of it by ``tell()``.
    func cut() {
        guard let link else { return }
        link.isCut = true
        link.requests = []
        link.replies = []
        link.at?.link = nil
        link.at = nil
    }

    /// The client notices that its link is broken.
    func tell() {
        guard let link, link.isCut else { return }
        link.session.linkClosed(link, Failure(.silence, "cut"))
    }

    /// Lets one request arrive.
    ///
    /// - Returns: Whether there was one.
    func takeRequest() -> Bool {
        guard let link, !link.isCut, !link.requests.isEmpty else { return false }
        take(link.requests.removeFirst(), from: link)
        return true
    }

    /// Lets one reply arrive.
    func passReply() -> Bool {
        guard let link, !link.isCut, !link.replies.isEmpty else { return false }
        link.session.linkReceived(link.replies.removeFirst())
        if !link.isCut { link.session.linkFinishedBurst() }
        return true
    }

    private func take(_ request: Request, from link: Link) {
        if case .hello(let hello) = request { return open(hello, link) }
        guard let session = link.at else { return }
        if case .pong = request { return }
        session.taken += 1
        switch request {
        case .report(let report):
            reports.append(report.received)
            while session.base < report.received, !session.kept.isEmpty {
                session.kept.removeFirst()
                session.base += 1
            }
        case .send(let id, let channel, let body, _):
            accepted.append(Self.number(of: body))
            if let id { say(.ack(id), session) }
            say(.deliver(channel: channel, body: body, remaining: Milliseconds(60_000)), session)
        case .ping(let id):
            pings += 1
            say(.pong(id), session)
        case .goodbye: sessions[session.token] = nil
        default: if let id = request.id { say(.ack(id), session) }
        }
    }

    private func say(_ reply: Reply, _ session: Session) {
        session.kept.append(reply)
        session.link?.replies.append(reply)
    }

    private func open(_ hello: Hello, _ link: Link) {
        var welcome = Welcome(
            session: SessionID(UInt64(opened)),
            epoch: 1,
            broker: "model",
            policy: hello.policy,
            limits: Limits()
        )
        if let resume = hello.resume, let session = sessions[resume.token] {
            if (session.base...session.base + UInt64(session.kept.count)).contains(resume.received) {
                session.kept.removeFirst(Int(resume.received - session.base))
                session.base = resume.received
                session.link = link
                link.at = session
                welcome.resumption = Welcome.Resumption(
                    token: session.token,
                    grace: grace,
                    resumedAfter: session.taken
                )
                link.replies = [.welcome(welcome)] + session.kept
                return
            }
            sessions[resume.token] = nil
        }
        opened += 1
        let session = Session([UInt8(opened % 251), UInt8(opened / 251 % 251), 1])
        sessions[session.token] = session
        session.link = link
        link.at = session
        welcome.resumption = Welcome.Resumption(token: session.token, grace: grace)
        link.replies = [.welcome(welcome)]
    }

    static func body(_ number: Int) -> Body {
        withUnsafeBytes(of: UInt32(number).bigEndian, Array.init)
    }

    static func number(of body: Body) -> Int {
        body.reduce(0) { $0 << 8 | Int($1) }
    }
}
