import Testing

@testable import fanfare_bench

@Suite struct LatenciesTests {
    @Test func `nothing recorded has no percentiles`() {
        #expect(Latencies().percentiles == nil)
        #expect(Latencies().milliseconds(atShare: 0.5) == 0)
    }

    @Test func `values below 256 ns are exact`() {
        for value in Int64(0)..<256 {
            var latencies = Latencies()
            latencies.record(nanoseconds: value)
            latencies.record(nanoseconds: 1_000_000)
            #expect(latencies.milliseconds(atShare: 0.5) == Double(value) / 1e6)
        }
    }

    @Test func `a percentile is never below the value at its rank, and at most one percent above`() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<50 {
            let scale = UInt64.random(in: 1...62, using: &random)
            let values = (0..<997).map { _ in Int64(UInt64.random(in: 0...(1 << scale), using: &random)) }
            var latencies = Latencies()
            for value in values { latencies.record(nanoseconds: value) }
            let sorted = values.sorted()
            for share in [0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1] {
                let exact = Double(sorted[max(1, Int((share * 997).rounded(.up))) - 1]) / 1e6
                let found = latencies.milliseconds(atShare: share)
                #expect(found >= exact * (1 - 1e-12) && found <= exact * 1.01, "share \(share) of up to 2^\(scale)")
            }
            #expect(latencies.percentiles?.maximum == Double(sorted[996]) / 1e6)
        }
    }

    @Test func `a share that binary cannot hold takes the rank it means`() {
        var latencies = Latencies()
        for value in Int64(1)...100 { latencies.record(nanoseconds: value) }
        for percent in 1...100 {
            #expect(latencies.milliseconds(atShare: Double(percent) / 100) == Double(percent) / 1e6)
        }
    }

    @Test func `the least and the greatest value have a bucket`() {
        var latencies = Latencies()
        latencies.record(nanoseconds: .min)
        latencies.record(nanoseconds: .max)
        #expect(latencies.milliseconds(atShare: 0.5) == 0)
        #expect(latencies.milliseconds(atShare: 1) == Double(Int64.max) / 1e6)
    }

    @Test func `added histograms are as if recorded in one`() {
        var (one, other, both) = (Latencies(), Latencies(), Latencies())
        for value in Int64(0)..<5_000 {
            if value % 3 == 0 { one.record(nanoseconds: value * 977) } else { other.record(nanoseconds: value * 977) }
            both.record(nanoseconds: value * 977)
        }
        one.add(other)
        #expect(one.count == both.count)
        #expect(one.percentiles == both.percentiles)
    }
}
