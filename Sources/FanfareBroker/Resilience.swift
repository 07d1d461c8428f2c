import FanfareModel
import NIOCore

/// Faults a broker makes on purpose, so that applications can test themselves: the channel layer specification asks
/// for code that survives lost messages, and nothing else makes them.
///
/// Never on by itself: see `--resilience-testing`. The same seed and the same requests give the same faults.
package struct Resilience: Sendable {
    /// How often each fault happens, in a million messages sent.
    package struct Settings: Sendable, Equatable {
        /// A message is acknowledged and let fall, counted as `injected`.
        package var dropsPerMillion = 0
        /// A message, and everything its connection sends behind it, waits.
        package var delaysPerMillion = 0
        package var delayMilliseconds = 100
        /// The connection is closed without a word.
        package var disconnectsPerMillion = 0
        package var seed = 1

        package init() {}
    }

    enum Verdict: Equatable {
        case pass
        case drop
        case delay(TimeAmount)
        case disconnect
    }

    /// Requests held back for one connection; with one more all of them are let go.
    static let heldMaximum = 10_000

    let settings: Settings
    private var state: UInt64

    package init(_ settings: Settings) {
        self.settings = settings
        state = UInt64(truncatingIfNeeded: settings.seed)
    }

    /// What to do with a request; only messages are harmed.
    mutating func verdict(on request: Request) -> Verdict {
        switch request {
        case .send, .groupSend: break
        default: return .pass
        }
        if happens(settings.disconnectsPerMillion) { return .disconnect }
        if happens(settings.dropsPerMillion) { return .drop }
        if happens(settings.delaysPerMillion) {
            return .delay(.milliseconds(Int64(settings.delayMilliseconds)))
        }
        return .pass
    }

    private mutating func happens(_ perMillion: Int) -> Bool {
        // SplitMix64 by Steele, Lea and Flood.
        state &+= 0x9E37_79B9_7F4A_7C15
        var bits = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
        bits ^= bits >> 31
        return bits % 1_000_000 < UInt64(perMillion)
    }

    /// What `status` shows.
    var status: MessageValue {
        [
            "drops_per_million": .count(settings.dropsPerMillion),
            "delays_per_million": .count(settings.delaysPerMillion),
            "delay_milliseconds": .count(settings.delayMilliseconds),
            "disconnects_per_million": .count(settings.disconnectsPerMillion), "seed": .count(settings.seed),
        ]
    }
}
