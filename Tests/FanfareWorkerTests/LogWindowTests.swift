import FanfareModel
import Testing

@testable import FanfareWorker

struct LogWindowTests {
    private func instant(_ milliseconds: UInt64) -> Instant {
        Instant(nanoseconds: milliseconds * 1_000_000)
    }

    @Test func `the first line passes, others wait for the end of the window and are counted`() {
        var window = LogWindow(Milliseconds(10))
        #expect(window.admit(at: instant(5)) == 0)
        for time in 5..<15 { #expect(window.admit(at: instant(UInt64(time))) == nil) }
        #expect(window.admit(at: instant(15)) == 10)
        #expect(window.admit(at: instant(24)) == nil)
        #expect(window.admit(at: instant(1_000)) == 1)
        #expect(window.admit(at: instant(1_010)) == 0)
    }

    @Test func `a window at the end of the clock does not overflow`() {
        var window = LogWindow(Milliseconds(.max))
        #expect(window.admit(at: Instant(nanoseconds: .max - 1)) == 0)
        #expect(window.admit(at: Instant(nanoseconds: .max - 1)) == nil)
    }
}

struct HandlerBackoffTests {
    private func waits(_ count: Int, seed: UInt64) -> [Duration] {
        var (backoff, random) = (HandlerBackoff(), SplitMix64(seed: seed))
        return (0..<count).map { _ in backoff.next(using: &random) }
    }

    @Test("waits double up to thirty seconds, each by chance between half and whole", arguments: UInt64(0)..<20)
    func waits(seed: UInt64) {
        var step = Duration.milliseconds(200)
        for wait in waits(20, seed: seed) {
            #expect(wait >= step / 2 && wait <= step)
            step = min(step * 2, .seconds(30))
        }
    }

    @Test func `places that fail together do not come back together`() {
        #expect(Set((0..<50).map { waits(1, seed: $0)[0] }).count > 40)
    }
}
