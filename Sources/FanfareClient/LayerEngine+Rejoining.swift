import FanfareModel
import NIOCore

// Memberships that a new session could not register again.
extension LayerEngine {
    /// Takes note of what became of members added again: what the broker refuses for good is no membership here either,
    /// what it has no room for is tried again.
    func addedAgain(_ members: [String], to group: String, _ result: Result<MessageValue, Failure>) {
        // With `silence` the session has ended: the next one adds them again.
        guard case .failure(let failure) = result, failure.code != .silence else { return }
        guard failure.code.isRetryable else {
            for channel in members { leave(channel, group) }
            return
        }
        let isFirst = unjoined.isEmpty
        unjoined.insert(group)
        guard isFirst else { return }
        loop.assumeIsolated().scheduleTask(in: Self.rejoinAfter) { [weak self] in self?.rejoin() }
    }

    private static let rejoinAfter = TimeAmount.seconds(5)

    /// Asks again for all members of groups that were refused some; those that are in it stay so.
    private func rejoin() {
        let refused = unjoined
        unjoined.removeAll()
        guard !isClosed else { return }
        for group in refused { add(Array(groups[group] ?? []), to: group) }
    }
}
