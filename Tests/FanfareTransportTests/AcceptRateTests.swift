import FanfareTransport
import Testing

@Suite struct AcceptRateTests {
    private static let second: UInt64 = 1_000_000_000

    /// Takes until it is refused.
    private func takeAll(_ rate: inout AcceptRate, at now: UInt64) -> (taken: Int, wait: UInt64) {
        var taken = 0
        while true {
            let wait = rate.take(at: now)
            guard wait == 0 else { return (taken, wait) }
            taken += 1
        }
    }

    @Test func `a burst is accepted at once, the next when its token is back`() {
        var rate = AcceptRate(perSecond: 100, burst: 7)
        let (taken, wait) = takeAll(&rate, at: Self.second)
        #expect(taken == 7)
        #expect(wait == Self.second / 100)
        // Being refused costs nothing.
        #expect(rate.take(at: Self.second) == wait)
        #expect(rate.take(at: Self.second + wait - 1) == 1)
        #expect(rate.take(at: Self.second + wait) == 0)
        #expect(rate.take(at: Self.second + wait) == wait)
    }

    @Test func `over any time no more than the rate and one burst are accepted, and no less when enough come`() {
        for (perSecond, burst, step) in [(5_000, 1_250, 1_000_000), (3, 2, 77_000_000), (1_000_000, 10, 1_300)] {
            var rate = AcceptRate(perSecond: perSecond, burst: burst)
            var taken = 0
            let steps = 2_000
            for index in 0...steps { taken += takeAll(&rate, at: Self.second + UInt64(index * step)).taken }
            let due = Int(UInt64(steps * step) * UInt64(perSecond) / Self.second)
            // What comes back while the bucket is full is lost: at these steps it never is.
            #expect(taken <= due + burst)
            #expect(taken >= min(due, due + burst - 1))
        }
    }

    @Test func `without a burst it is a quarter of a second's worth, and never nothing`() {
        var usual = AcceptRate(perSecond: 5_000)
        #expect(takeAll(&usual, at: 0).taken == 1_250)
        var slow = AcceptRate(perSecond: 1)
        #expect(takeAll(&slow, at: 0).taken == 1)
    }

    @Test func `no clock and no setting makes it stop for ever or trap`() {
        for perSecond in [Int.min, 0, 1, Int.max] {
            for burst in [Int.min, 0, 1, 1_000] {
                var rate = AcceptRate(perSecond: perSecond, burst: burst)
                #expect(rate.take(at: .max) == 0)
                // The clock went back: the wait is no longer than that of a full bucket.
                _ = takeAll(&rate, at: .max / 2)
                let wait = rate.take(at: 0)
                #expect(wait <= Self.second)
                #expect(rate.take(at: wait) == 0)
            }
        }
    }
}
