import Testing

@testable import fanfare_bench

@Suite struct LatenciesTests {
    @Test func `nothing recorded is zero everywhere`() {
        #expect(Latencies().milliseconds(atShare: 0.5) == 0)
    }
}
