import FanfareModel
import NIOCore

/// The broker's operator asks this program to finish and to leave: `fanfare drain`.
public struct DrainRequest: Sendable, Equatable {
    /// Seconds until the layer closes by itself.
    public let withinSeconds: Double
    /// Why, in the operator's words.
    public let reason: String
}

// Leaving when the broker asks for it: `proto/PROTOCOL.md`, section 3.8.
extension LayerEngine {
    /// Lets the program finish, or, if it does not want to know, what is under way; then the layer closes for good.
    func drain(_ within: Milliseconds, _ reason: String) {
        guard !isDraining else { return }
        isDraining = true
        let within = min(within.value, Self.drainMillisecondsMaximum)
        loop.assumeIsolated().scheduleTask(in: .milliseconds(Int64(within))) { [weak self] in self?.close() }
        if let onDrain {
            onDrain(DrainRequest(withinSeconds: Double(within) / 1_000, reason: reason))
        } else {
            // Answered behind everything that is under way.
            call({ .ping($0) }) { _ in self.close() }
        }
    }

    private static let drainMillisecondsMaximum: UInt64 = 86_400_000
}
