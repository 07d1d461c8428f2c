import FanfareModel
import Testing

struct PolicyTests {
    private func policy(_ overrides: [(String, Int)]) -> Policy {
        var policy = Policy(Limits())
        policy.channelCapacity = overrides.map { Policy.ChannelCapacity(pattern: Glob($0.0), capacity: $0.1) }
        return policy
    }

    @Test("without overrides every channel has the default capacity")
    func defaults() {
        let policy = Policy(Limits())
        #expect(policy.capacity(of: "anything") == 100)
        #expect(policy.expiry == Milliseconds(60_000))
        #expect(policy.groupExpiry == Milliseconds(86_400_000))
        #expect(policy.capacityScope == .channel)
        #expect(!policy.groupExpiryIsLiteral)
    }

    @Test("of several patterns that match the first counts")
    func firstMatchWins() {
        let policy = policy([("http.request", 200), ("http.*", 20), ("*", 5), ("http.response", 7)])
        #expect(policy.capacity(of: "http.request") == 200)
        #expect(policy.capacity(of: "http.response") == 20)
        #expect(policy.capacity(of: "chat") == 5)
    }

    @Test("a channel no pattern matches has the default")
    func noMatch() {
        #expect(policy([("http.*", 20)]).capacity(of: "chat") == 100)
    }

    @Test("every value is brought within the limits")
    func capping() {
        var limits = Limits()
        limits.capacityMaximum = 50
        limits.expiryMaximum = Milliseconds(1_000)
        limits.groupExpiryMaximum = Milliseconds(2_000)
        limits.capacityPatterns = 2
        var greedy = policy([("a", 1_000), ("b", 0), ("c", 3)])
        greedy.capacity = .max
        greedy.expiry = Milliseconds(.max)
        greedy.groupExpiry = Milliseconds(.max)
        greedy.capacityScope = .process
        greedy.groupExpiryIsLiteral = true
        let capped = greedy.capped(by: limits)
        #expect(capped.capacity == 50)
        #expect(capped.capacity(of: "a") == 50)
        #expect(capped.capacity(of: "b") == 1)
        #expect(capped.capacity(of: "c") == 50, "the third pattern is beyond the limit of two")
        #expect(capped.expiry == Milliseconds(1_000))
        #expect(capped.groupExpiry == Milliseconds(2_000))
        #expect(capped.capacityScope == .process)
        #expect(capped.groupExpiryIsLiteral)
    }

    @Test("a policy within the limits stays as it is, and a capacity is at least 1", arguments: [Int.min, -1, 0, 1])
    func cappingFromBelow(capacity: Int) {
        var policy = policy([("a", 7)])
        #expect(policy.capped(by: Limits()) == policy)
        policy.capacity = capacity
        #expect(policy.capped(by: Limits()).capacity == 1)
    }
}
