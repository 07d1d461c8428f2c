import Synchronization

/// What the operations port turned away, counted by reason.
package final class OpsRefusals: Sendable {
    package enum Reason: String, Sendable, CaseIterable {
        /// A connection over ``OpsServer/connections``.
        case connections
        /// A stream over ``OpsServer/streams``.
        case streams
        /// What is no request this port reads.
        case malformed
        /// Who showed nothing, or something unknown.
        case unauthorized
        /// Who may not look at what was asked for.
        case forbidden
        /// Who failed too often to be listened to for a while.
        case tooManyAttempts = "too_many_attempts"
        /// A page of another origin.
        case crossSite = "cross_site"
    }

    private let counted = Mutex<[Reason: UInt64]>([:])

    package init() {}

    package func count(_ reason: Reason) {
        counted.withLock { $0[reason, default: 0] += 1 }
    }

    /// All of them by name, those that never happened as 0.
    package var counts: [String: UInt64] {
        counted.withLock { counted in
            Dictionary(uniqueKeysWithValues: Reason.allCases.map { ($0.rawValue, counted[$0] ?? 0) })
        }
    }

    /// As a metric.
    package func add(to metrics: inout Metrics, _ name: String) {
        metrics.add(
            name,
            .counter,
            help: "What the operations port turned away, by reason. Growing `unauthorized` or `too_many_attempts`: "
                + "somebody guesses, or a token is wrong.",
            by: "reason",
            counts.mapValues { Double($0) }
        )
    }
}
