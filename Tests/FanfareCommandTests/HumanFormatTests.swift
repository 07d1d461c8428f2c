import FanfareModel
import Testing

@testable import fanfare

struct HumanFormatTests {
    @Test(
        "ages name their two largest units",
        arguments: [
            (0, "0ms"), (-5, "0ms"), (850, "850ms"), (999, "999ms"), (1_000, "1s"), (59_999, "59s"), (60_000, "1m00s"),
            (192_000, "3m12s"), (3_599_999, "59m59s"), (18_180_000, "5h03m"), (1_051_200_000, "12d04h"),
            (.max, "106751991167d07h"),
        ] as [(Int64, String)]
    )
    func ages(milliseconds: Int64, text: String) {
        #expect(HumanNumbers.age(milliseconds: milliseconds) == text)
    }

    @Test(
        "bytes change their unit at 1024",
        arguments: [
            (0, "0 B"), (512, "512 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1_258_291, "1.2 MiB"),
            (1_048_575, "1.0 MiB"),
            (3_221_225_472, "3.0 GiB"), (.max, "8.0 EiB"),
        ] as [(Int64, String)]
    )
    func bytes(bytes: Int64, text: String) {
        #expect(HumanNumbers.bytes(bytes) == text)
    }

    @Test(
        "fixed decimals are rounded",
        arguments: [
            (0, "0.0"), (12.54, "12.5"), (12.55, "12.6"), (-0.26, "-0.3"), (1_234.96, "1235.0"), (1e300, "1e+300"),
        ]
            as [(Double, String)]
    )
    func decimals(value: Double, text: String) {
        #expect(HumanNumbers.fixed(value, digits: 1) == text)
    }

    @Test func `decimals keep the zeros behind the point`() {
        #expect(HumanNumbers.fixed(1.05, digits: 3) == "1.050")
        #expect(HumanNumbers.fixed(.nan, digits: 1) == "nan")
    }

    @Test(
        "moments are shown in local time and written down in UTC",
        arguments: [
            (0, 0, "00:00:00.000", "1970-01-01T00:00:00.000Z"),
            (1_795_219_337_123, 3_600, "01:02:17.123", "2026-11-21T00:02:17.123Z"),
            (1_709_164_800_000, -18_000, "19:00:00.000", "2024-02-29T00:00:00.000Z"),
            (-1, 0, "23:59:59.999", "1969-12-31T23:59:59.999Z"),
            (951_782_399_999, 0, "23:59:59.999", "2000-02-28T23:59:59.999Z"),
            (4_107_542_400_000, 0, "00:00:00.000", "2100-03-01T00:00:00.000Z"),
        ] as [(Int64, Int64, String, String)]
    )
    func moments(milliseconds: Int64, offset: Int64, timeOfDay: String, timestamp: String) {
        let time = WallTime(milliseconds: milliseconds, offsetSeconds: offset)
        #expect(time.timeOfDay == timeOfDay)
        #expect(time.timestamp == timestamp)
    }

    @Test func `percentiles are measured durations, by nearest rank`() throws {
        let hundred = try #require(Percentiles(delays((1...100).shuffled().map { $0 * 1_000 })))
        #expect(hundred.count == 100)
        // A histogram's words: at most a thousandth too much, and the shortest and the longest as they were.
        for (value, expected) in zip(hundred.values, [1, 50, 90, 99, 100, 100.0]) {
            #expect(value >= expected * 0.999 && value <= expected * 1.001, "\(value) for \(expected)")
        }
        #expect(hundred.values.last == 100)

        let one = try #require(Percentiles(delays([1_500])))
        #expect(one.values == Array(repeating: 1.5, count: 6))
        #expect(Percentiles(delays([])) == nil)
        // Longer than any clock says.
        let longest = try #require(Percentiles(delays([0, .max])))
        #expect(longest.values.first == 0 && (longest.values.last ?? 0) > 1e15)
    }

    private func delays(_ nanoseconds: [UInt64]) -> Delays {
        nanoseconds.reduce(into: Delays()) { $0.record(nanoseconds: $1) }
    }

    @Test func `round-trip times are shown in microseconds`() throws {
        let measured = try #require(Percentiles(delays([41_520, 2_000_000])))
        let expected = """
            COUNT  MIN µs  P50 µs  P90 µs  P99 µs  P99.9 µs  MAX µs
                2    41.5    41.5  2000.0  2000.0    2000.0  2000.0

            """
        #expect(measured.page.text(on: .plain) == expected)
        let keys =
            ["count", "max_microseconds", "min_microseconds"]
            + ["50", "90", "99", "99_9"].map { "p\($0)_microseconds" }
        #expect(measured.answer.map?.keys.sorted() == keys.sorted())
        #expect(measured.answer["max_microseconds"] == .double(2_000) && measured.answer["count"] == 2)
    }
}
