/// What a worker tells about itself: for health checks, metrics and logs.
package struct WorkerHealth: Sendable, Equatable {
    /// Whether there is a link to a broker now.
    package var isConnected = false
    /// Why there is none, or why the last one ended.
    package var lastFailure: String?
    /// The worker's name in listings.
    package var name = ""
    /// The node of its process channels.
    package var node = ""
    /// WebSockets now.
    package var sockets = 0
    /// Connections that are no WebSocket yet.
    package var handshakes = 0
    /// Groups with members here.
    package var groups = 0
    /// What has been counted since the start.
    package var counters = WorkerCounters()
    /// Messages given to sockets.
    package var messagesOut: UInt64 = 0
    /// `send(2)` calls that took them there; fewer where messages of a burst were merged.
    package var sends: UInt64 = 0
}

/// Counts since the start of a worker.
package struct WorkerCounters: Sendable, Equatable {
    /// Handshakes that became sockets.
    package var socketsOpened: UInt64 = 0
    /// HTTP answers by status.
    package var responses: [Int: UInt64] = [:]
    /// Connections closed before an answer: too many, too slow, or not HTTP.
    package var handshakesDropped: UInt64 = 0
    /// Sockets closed, by the code that began it; 1006 where no close frame did.
    package var closes: [UInt16: UInt64] = [:]
    /// Text and binary messages of clients.
    package var messagesIn: UInt64 = 0
    /// Messages of clients that were not sent on because there was no broker.
    package var messagesRefused: UInt64 = 0
    /// Messages from the broker for groups.
    package var groupMessages: UInt64 = 0
    /// Messages from the broker for one socket.
    package var directMessages: UInt64 = 0
    /// Messages from the broker that came after their expiry.
    package var expired: UInt64 = 0
    /// Messages from the broker that no consumer could read.
    package var undecodable: UInt64 = 0
    /// Messages the broker said this worker missed.
    package var missed: UInt64 = 0
    /// Links to a broker that were made.
    package var links: UInt64 = 0
}
