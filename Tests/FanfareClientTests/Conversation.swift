import FanfareModel
import NIOCore
import NIOEmbedded

@testable import FanfareClient

/// A client that sends numbers through a ``ResumingBroker`` and remembers what became of each, in a time of its own.
final class Conversation: LayerDelegate {
    enum End: Equatable {
        case accepted
        case unsent
        case unknown
    }

    let loop = EmbeddedEventLoop()
    let broker = ResumingBroker()
    let session: LayerSession
    private(set) var ends: [Int: [End]] = [:]
    private(set) var delivered: [Int] = []
    private(set) var connects = 0
    private(set) var resumes = 0
    private(set) var posted: Set<Int> = []
    private(set) var called: Set<Int> = []
    private var last = 0

    init(_ change: (inout LayerSession.Configuration) -> Void = { _ in }) {
        let limits = Limits()
        let hello = Hello(client: "test/1", name: "test", role: .worker, policy: Policy(limits))
        var configuration = LayerSession.Configuration(endpoints: [], hello: hello, limits: limits)
        configuration.sendsWhileAway = .wait(seconds: 60)
        change(&configuration)
        session = LayerSession(loop: loop, configuration: configuration, carrier: broker, logger: MeetingPlace.quiet)
        session.delegate = self
        session.start()
    }

    func layerDidConnect(_ welcome: Welcome) { connects += 1 }
    func layerDidResume(_ welcome: Welcome) { resumes += 1 }
    func layerDidDisconnect(_ failure: Failure) {}
    func layerDidFinishBurst() {}

    func layerDidReceive(_ push: Reply) {
        if case .deliver(_, let body, _, _) = push { delivered.append(ResumingBroker.number(of: body)) }
    }

    /// Sends the next number, with an answer or without.
    func send(isCall: Bool) {
        last += 1
        let number = last
        let body = ResumingBroker.body(number)
        guard isCall else {
            if session.post(.send(id: nil, channel: "c", body: body, SendOptions())) { posted.insert(number) }
            return
        }
        called.insert(number)
        session.call({ .send(id: $0, channel: "c", body: body, SendOptions()) }) { result in
            let end: End =
                switch result {
                case .success: .accepted
                case .failure(let failure): failure.isOutcomeKnown ? .unsent : .unknown
                }
            self.ends[number, default: []].append(end)
        }
    }

    /// Everything under way arrives, and time passes until nothing happens any more.
    func settle() {
        broker.isReachable = true
        for _ in 0..<40 {
            broker.tell()
            while broker.takeRequest() || broker.passReply() {}
            loop.advanceTime(by: .milliseconds(500))
        }
    }

    /// One thing happens: a request arrives, or a reply.
    @discardableResult
    func step(_ number: Int) -> Bool {
        number % 2 == 0
            ? broker.takeRequest() || broker.passReply() : broker.passReply() || broker.takeRequest()
    }
}
