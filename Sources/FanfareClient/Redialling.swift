import NIOCore

// When and where a session looks for a broker: `proto/PROTOCOL.md`, section 8.4.

/// How long to wait before the next attempt.
///
/// After a link that had its welcome 0 to 50 ms: whoever lost the same broker does not come back in the same moment.
/// Else doubled from 50 ms to 5 s, times a random half to whole.
struct Backoff {
    private var stepMilliseconds: Int64 = 50
    private var isFresh = true
    private static let longestMilliseconds: Int64 = 5_000
    private static let quickNanoseconds: Int64 = 50_000_000

    /// Who was refused for who it is need not ask often.
    mutating func refused() {
        isFresh = false
        stepMilliseconds = Self.longestMilliseconds
    }

    /// - Parameter welcomed: Whether the link that has ended had its welcome. One that ends each time soon after its
    ///   welcome earns a quick attempt once, then waits as if it had had none.
    mutating func next(afterWelcome welcomed: Bool = false) -> TimeAmount {
        defer { isFresh = false }
        if welcomed, isFresh { return .nanoseconds(Int64.random(in: 0...Self.quickNanoseconds)) }
        defer { stepMilliseconds = min(stepMilliseconds * 2, Self.longestMilliseconds) }
        return .milliseconds(Int64.random(in: (stepMilliseconds / 2)...stepMilliseconds))
    }
}

/// Which broker comes next: in the order given, beginning with the one that answered last. Pure.
struct EndpointOrder {
    private let count: Int
    private var first = 0
    private var tried = 0

    init(count: Int) {
        self.count = max(count, 1)
    }

    /// Begins a round over all of them.
    mutating func begin() {
        tried = 0
    }

    /// The next one of this round, `nil` when all have been tried.
    mutating func next() -> Int? {
        guard tried < count else { return nil }
        defer { tried += 1 }
        return (first + tried) % count
    }

    /// The one that was tried last has answered.
    mutating func answered() {
        first = (first + max(tried, 1) - 1) % count
        tried = 1
    }
}
