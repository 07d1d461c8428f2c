import FanfareModel
import Testing

struct TimeTests {
    @Test("an instant moves by whole milliseconds")
    func advances() {
        #expect(Instant(nanoseconds: 5).advanced(by: Milliseconds(2)) == Instant(nanoseconds: 2_000_005))
        #expect(Instant(nanoseconds: 5).advanced(by: Milliseconds(0)) == Instant(nanoseconds: 5))
    }

    @Test("an instant beyond the clock is the end of the clock")
    func saturates() {
        let end = Instant(nanoseconds: .max)
        #expect(Instant(nanoseconds: 1).advanced(by: Milliseconds(.max)) == end)
        #expect(Instant(nanoseconds: .max).advanced(by: Milliseconds(1)) == end)
        #expect(Instant(nanoseconds: 0).advanced(by: Milliseconds(UInt64.max / 1_000_000 + 1)) == end)
        #expect(
            Instant(nanoseconds: 0).advanced(by: Milliseconds(UInt64.max / 1_000_000)).nanoseconds
                == UInt64.max / 1_000_000 * 1_000_000
        )
    }

    @Test(
        "what is left is rounded up, so that what lives never reads 0",
        arguments: [
            (0, 0, 0), (0, 1, 1), (0, 999_999, 1), (0, 1_000_000, 1), (0, 1_000_001, 2), (7, 7, 0), (8, 7, 0),
            (0, .max, UInt64.max / 1_000_000 + 1), (.max, 0, 0),
        ] as [(UInt64, UInt64, UInt64)]
    )
    func remaining(from: UInt64, to: UInt64, milliseconds: UInt64) {
        let left = Instant(nanoseconds: from).milliseconds(until: Instant(nanoseconds: to))
        #expect(left == Milliseconds(milliseconds))
    }

    @Test("instants and durations are ordered by their numbers")
    func order() {
        #expect(Instant(nanoseconds: 1) < Instant(nanoseconds: 2))
        #expect(!(Instant(nanoseconds: 2) < Instant(nanoseconds: 2)))
        #expect(Milliseconds(1) < Milliseconds(2))
        #expect(min(Milliseconds(3), Milliseconds(2)) == Milliseconds(2))
    }
}
