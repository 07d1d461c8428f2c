import Synchronization

/// What becomes of a message that is sent while there is no link to a broker.
///
/// Messages that wait leave in the order they were sent, behind everything the broker has to be told again first.
public enum SendsWhileAway: Sendable, Equatable {
    /// The send waits for a link, at most so many seconds, and is then carried out as if nothing had been. When the
    /// time is over, or 16 384 requests or 16 MiB wait already, it throws ``ChannelLayerError/notConnected(_:)``: the
    /// message was not sent.
    case wait(seconds: Double)
    /// The send throws ``ChannelLayerError/notConnected(_:)`` at once.
    case fail
}

/// Tells a send that waits for a link that nobody waits for it any more.
package final class SendTicket: Sendable {
    private let cancelled = Atomic(false)

    package init() {}

    package var isCancelled: Bool { cancelled.load(ordering: .acquiring) }

    package func cancel() {
        cancelled.store(true, ordering: .releasing)
    }
}
