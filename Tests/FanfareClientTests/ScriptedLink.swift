import FanfareModel
import NIOCore

@testable import FanfareClient

/// A broker that answers what the test says, when the test says: links to it are made at once and without sockets.
final class ScriptedBroker: LinkCarrier {
    final class Link: BrokerLink {
        let session: LayerSession
        var requests: [Request] = []
        var isClosed = false

        init(_ session: LayerSession) {
            self.session = session
        }

        func write(_ request: Request) {
            requests.append(request)
        }

        func close() {
            isClosed = true
        }

        func welcome(_ limits: Limits = Limits()) {
            let policy = Policy(limits)
            session.linkReceived(
                .welcome(Welcome(session: SessionID(1), epoch: 1, broker: "scripted", policy: policy, limits: limits))
            )
        }

        /// Answers one of the requests that wait.
        func answer(_ id: RequestID, _ random: inout some RandomNumberGenerator) {
            requests.removeAll { $0.id == id }
            switch Int.random(in: 0..<3, using: &random) {
            case 0: session.linkReceived(.ack(id))
            case 1: session.linkReceived(.result(id, .int(Int64(id))))
            default: session.linkReceived(.error(id, Failure(.channelFull, "full")))
            }
        }

        /// What was asked with an id and has not been answered.
        var open: [RequestID] { requests.compactMap(\.id) }

        func drop(_ failure: Failure = Failure(.silence, "the broker closed the connection")) {
            session.linkClosed(self, failure)
        }
    }

    private(set) var links: [Link] = []
    /// Whether dialling works; it fails with the reason otherwise.
    var refusal: Failure?
    /// Brokers there are, and which of them was dialled, in order.
    let endpointCount: Int
    private(set) var dialled: [Int] = []
    /// Endpoints that refuse.
    var dead: Set<Int> = []

    init(endpointCount: Int = 1) {
        self.endpointCount = endpointCount
    }

    func connect(to endpoint: Int, for session: LayerSession) {
        dialled.append(endpoint)
        if dead.contains(endpoint) { return session.linkClosed(nil, Failure(.silence, "\(endpoint): refused")) }
        if let refusal { return session.linkClosed(nil, refusal) }
        let link = Link(session)
        links.append(link)
        session.linkOpened(link)
    }
}
