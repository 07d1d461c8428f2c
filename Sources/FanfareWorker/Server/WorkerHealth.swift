package import FanfareModel

/// What a worker tells about itself: for health checks, metrics and logs.
public struct WorkerHealth: Sendable, Equatable {
    /// Whether there is a link to a broker now.
    public var isConnected = false
    /// Why there is none, or why the last one ended.
    public var lastFailure: String?
    /// The worker's name in listings.
    public var name = ""
    /// The node of its process channels.
    public var node = ""
    /// Whether the worker takes its leave: it is not ready, and closes its sockets one after the other.
    public var isDraining = false
    /// Sockets that sent or got a close frame and are not gone yet.
    public var closing = 0
    /// WebSockets now.
    public var sockets = 0
    /// Connections that are no WebSocket yet.
    public var handshakes = 0
    /// Groups with members here.
    public var groups = 0
    /// What has been counted since the start.
    public var counters = WorkerCounters()
    /// Sockets whose peers have not read everything yet.
    public var slowReaders = 0
    /// Messages given to sockets.
    public var messagesOut: UInt64 = 0
    /// `send(2)` calls that took them there; fewer where messages of a burst were merged.
    public var sends: UInt64 = 0
    /// Bytes given to sockets, as WebSocket frames.
    public var bytesOut: UInt64 = 0
    /// WebSockets now, by the pattern of their route.
    public var socketsByRoute: [String: Int] = [:]
    /// Bytes that wait for sockets whose peers have not read everything yet.
    public var outgoingBytes = 0
    /// The most of them there were when the worker looked, which it does every second and when it is asked.
    public var outgoingBytesHigh = 0
    /// Seconds the oldest of them has waited, whole ones.
    public var outgoingOldestSeconds = 0
    /// How long turns of the event loop took: whatever comes meanwhile waits so long.
    package var loopSeconds = Histogram.ofWorkSeconds
    /// Sockets here that messages of groups were for.
    package var fanOutSockets = Histogram.ofMembers
    /// How long handlers of consumers took, including what they waited for.
    package var handlerSeconds = Histogram.ofWorkSeconds
    /// How long what the broker wrote was on its way.
    package var brokerLagSeconds = Histogram.ofWaySeconds
}

/// Counts since the start of a worker.
public struct WorkerCounters: Sendable, Equatable {
    /// Handshakes that became sockets.
    public var socketsOpened: UInt64 = 0
    /// HTTP answers by status.
    public var responses: [Int: UInt64] = [:]
    /// Connections closed before an answer: too many, too slow, or not HTTP.
    public var handshakesDropped: UInt64 = 0
    /// Sockets closed, by the code that began it; 1006 where no close frame did.
    public var closes: [UInt16: UInt64] = [:]
    /// Text and binary messages of clients.
    public var messagesIn: UInt64 = 0
    /// Messages of clients that were not sent on because there was no broker.
    public var messagesRefused: UInt64 = 0
    /// Messages from the broker for groups.
    public var groupMessages: UInt64 = 0
    /// Messages from the broker for one socket.
    public var directMessages: UInt64 = 0
    /// Messages from the broker that came after their expiry, one for each socket they were for.
    public var expired: UInt64 = 0
    /// Messages from the broker that no consumer could read, one for each socket they were for.
    public var undecodable: UInt64 = 0
    /// Messages the broker said this worker missed.
    public var missed: UInt64 = 0
    /// Messages dropped at the bound of what waits for a socket whose peer does not read: reason `full`.
    public var outgoingFull: UInt64 = 0
    /// Messages that waited for slow readers when these were disconnected, and those for which there was no room any
    /// more: reason `link_overflow`.
    public var outgoingOverflow: UInt64 = 0
    /// Sockets closed because their peers read too slowly.
    public var slowReadersClosed: UInt64 = 0
    /// Messages of clients that were not what they should be, such as JSON that is none.
    public var invalidMessages: UInt64 = 0
    /// Handlers of consumers and pages that threw.
    public var handlerFailures: UInt64 = 0
    /// Messages dropped because too many waited for one connection's handlers.
    public var handlersFull: UInt64 = 0
    /// Requests, connections and messages refused, by reason.
    public var refusals: [String: UInt64] = [:]
    /// Sockets a drain has closed, with 1012.
    public var drained: UInt64 = 0
    /// Connections that were still there when a drain or stop had no time left.
    public var drainCutOff: UInt64 = 0
    /// How often accepting paused because connections came faster than ``WorkerLimits/acceptsPerSecond``.
    public var acceptPauses: UInt64 = 0
    /// Links to a broker that were made.
    public var links: UInt64 = 0
    /// Sessions with a broker: those links that did not go on with an earlier session.
    public var sessions: UInt64 = 0
    /// Consumers told that they missed messages.
    public var gapNotices: UInt64 = 0
    /// Those of ``closes`` that began here, not with the client or the end of a connection.
    public var closesFromHere: [UInt16: UInt64] = [:]
    /// Bytes read from sockets, as WebSocket frames.
    public var bytesIn: UInt64 = 0
    /// Messages from the broker given to sockets or their consumers: one for each socket.
    public var deliveries: UInt64 = 0
    /// Messages for sockets whose consumers had ended with them waiting.
    public var ownerGone: UInt64 = 0
    /// Requests written to the broker again because the session went on over another link.
    public var requestsRepeated: UInt64 = 0
    /// Requests whose session ended before the answer: whether they were carried out is not known.
    public var requestsUnknown: UInt64 = 0
    /// Sends that waited for a link and went out.
    public var sendsWaited: UInt64 = 0
    /// Requests that were not sent: no link, no room to wait, or waited too long.
    public var requestsUnsent: UInt64 = 0
    /// Times files were read again while the worker ran, by what came of it, such as `tls_ok`.
    public var reloads: [String: UInt64] = [:]
}

/// What can come of reading files again.
package enum Reload: String, Sendable, CaseIterable {
    case tlsOK = "tls_ok"
    case tlsFailed = "tls_failed"
    case tokenKeysOK = "token_keys_ok"
    case tokenKeysFailed = "token_keys_failed"
}
