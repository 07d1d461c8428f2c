package import FanfareModel
import FanfareTransport
import NIOCore
import Synchronization

// Looking at the broker from its own process.
extension BrokerServer {
    /// What a viewer may ask: the query, with the visibility of the viewer's credential.
    ///
    /// - Throws: `unauthorized`, `forbidden`, or `draining` once the broker has stopped.
    package func admit(_ query: InspectionQuery, from viewer: Viewer) async throws(Failure) -> InspectionQuery {
        try await onLoop { (broker) throws(Failure) in
            let access = try broker.security.access(for: viewer)
            guard case .inspect(_, let admitted) = try broker.admit(.inspect(0, query), from: access) else {
                preconditionFailure("a gate made something else of an INSPECT")
            }
            return admitted
        }
    }

    /// Starts a tail, which counts against the limit `tails` like those of sessions.
    ///
    /// - Throws: `unauthorized`, `forbidden`, `limit_reached`, or `draining` once the broker has stopped.
    package func tail(_ query: TailQuery, for viewer: Viewer) async throws(Failure) -> TailFeed {
        try await onLoop { (broker) throws(Failure) in try broker.watch(query, for: viewer) }
    }

    /// Runs `body` on the loop that owns the broker.
    private func onLoop<Value: Sendable>(
        _ body: @escaping @Sendable (BrokerLoop) throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        let isOver = Failure(.draining, "the broker has stopped")
        guard !hasStopped.load(ordering: .acquiring) else { throw isOver }
        let answer = try? await loop.submit { [broker] in
            Result { () throws(Failure) in try body(broker.value) }
        }.get()
        guard let answer else { throw isOver }
        return try answer.get()
    }
}
