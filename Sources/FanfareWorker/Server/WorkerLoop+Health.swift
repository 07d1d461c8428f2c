import FanfareClient
import FanfareModel
import FanfareTransport

/// What a worker counts for ``WorkerHealth`` and uses for nothing else.
struct WorkerTally {
    private struct Route {
        let pattern: String
        var sockets = 0
    }

    /// By what serves them.
    private var routes: [ObjectIdentifier: Route] = [:]
    /// Sockets here that messages of groups were for.
    var fanOutSockets = Histogram.ofMembers
    /// How long handlers of consumers took.
    var handlerSeconds = Histogram.ofWorkSeconds
    private(set) var outgoingBytesHigh = 0

    /// Sockets now, by the pattern of their route.
    var socketsByRoute: [String: Int] {
        Dictionary(routes.values.map { ($0.pattern, $0.sockets) }, uniquingKeysWith: +)
    }

    mutating func add(_ service: any SocketService, _ pattern: String) {
        routes[ObjectIdentifier(service)] = Route(pattern: pattern)
    }

    mutating func opened(_ socket: Socket) {
        routes[ObjectIdentifier(socket.service)]?.sockets += 1
    }

    mutating func left(_ socket: Socket) {
        routes[ObjectIdentifier(socket.service)]?.sockets -= 1
    }

    mutating func saw(outgoingBytes: Int) {
        outgoingBytesHigh = max(outgoingBytesHigh, outgoingBytes)
    }
}

extension WorkerLoop {
    /// What there is and what has been counted.
    package var health: WorkerHealth {
        let outgoingBytes = slowReaders.outgoingBytes
        tally.saw(outgoingBytes: outgoingBytes)
        var health = WorkerHealth()
        health.isConnected = link.welcome != nil
        health.isDraining = isDraining
        health.closing = max(leaving.count, ending.count)
        health.lastFailure = link.lastFailure?.text
        health.name = name
        health.node = node
        health.sockets = sockets.count
        health.socketsByRoute = tally.socketsByRoute
        health.handshakes = strangers.count
        health.groups = fanOut.groupCount
        health.slowReaders = slowReaders.count
        health.counters = counters
        health.messagesOut = fanOut.messagesOut
        health.bytesOut = fanOut.bytesOut
        health.sends = fanOut.sends
        health.outgoingBytes = outgoingBytes
        health.outgoingBytesHigh = tally.outgoingBytesHigh
        health.outgoingOldestSeconds = slowReaders.longestWait(at: ticks)
        health.fanOutSockets = tally.fanOutSockets
        health.handlerSeconds = tally.handlerSeconds
        if let loop = eventLoop as? EpollLoop { health.loopSeconds = loop.turnSeconds }
        return health
    }
}

extension WorkerHealth {
    /// Adds what the session with the broker has counted.
    mutating func add(_ session: LayerSession.Counters) {
        brokerLagSeconds = session.lagSeconds
        counters.requestsRepeated = session.repeated
        counters.requestsUnknown = session.unknown
        counters.sendsWaited = session.waited
        counters.requestsUnsent = session.unsent
    }
}
