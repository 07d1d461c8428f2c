import Testing

@testable import FanfareModel

@Suite struct HistogramTests {
    @Test func `a value is counted at the first bound that is not below it`() {
        var histogram = Histogram(bounds: [0, 1, 10])
        for value in [0, 0.5, 1, 1.5, 10, 10.5, 1e300] { histogram.record(value) }
        #expect(histogram.counts == [1, 2, 2, 2])
        #expect(histogram.count == 7)
    }

    @Test func `every value of a wide range is counted where a plain search finds its place`() {
        for shape in [Histogram.ofMembers, .ofWorkSeconds, .ofWaySeconds] {
            var histogram = shape
            var naive = [UInt64](repeating: 0, count: shape.bounds.count + 1)
            var sum = 0.0
            for value in shape.bounds.flatMap({ [$0, $0.nextUp, $0.nextDown, $0 * 3] }) {
                histogram.record(value)
                naive[shape.bounds.firstIndex { value <= $0 } ?? shape.bounds.count] += 1
                sum += max(0, value)
            }
            #expect(histogram.counts == naive)
            #expect(histogram.sum == sum)
        }
    }

    @Test func `a value that came many times is recorded at once`() {
        var histogram = Histogram(bounds: [1, 2])
        histogram.record(2, times: 1_000)
        histogram.record(3, times: 0)
        #expect(histogram.counts == [0, 1_000, 0])
        #expect(histogram.sum == 2_000)
    }

    @Test func `what is no number is not counted, less than 0 is 0, and nothing overflows`() {
        var histogram = Histogram(bounds: [1])
        for value in [Double.nan, .infinity, -.infinity] { histogram.record(value) }
        #expect(histogram.count == 0)
        histogram.record(-5)
        #expect(histogram.counts == [1, 0] && histogram.sum == 0)
        for _ in 0..<3 { histogram.record(.greatestFiniteMagnitude, times: .max) }
        #expect(histogram.counts == [1, .max])
        #expect(histogram.count == .max)
        #expect(histogram.sum == .greatestFiniteMagnitude)
    }

    @Test func `the bounds are round numbers`() {
        #expect(Histogram.ofMembers.bounds.prefix(5) == [0, 1, 2, 5, 10] && Histogram.ofMembers.bounds.last == 100_000)
        #expect(Histogram.ofWorkSeconds.bounds.prefix(4) == [0.000001, 0.000002, 0.000005, 0.00001])
        #expect(Histogram.ofWorkSeconds.bounds.last == 10)
        #expect(Histogram.ofWaySeconds.bounds.prefix(3) == [0.001, 0.002, 0.005])
        #expect(Histogram.ofWaySeconds.bounds.last == 100)
    }

    @Test func `it comes back from the wire as it was`() {
        var histogram = Histogram.ofWorkSeconds
        for value in [0.00003, 0.02, 99] { histogram.record(value) }
        #expect(Histogram(histogram.value) == histogram)
    }

    @Test(
        arguments: [
            nil, 3, [:], ["bounds": [1], "counts": [1, 2]], ["bounds": [], "counts": [0], "sum": 0],
            ["bounds": [1], "counts": [1], "sum": 0], ["bounds": [1], "counts": [1, 2, 3], "sum": 0],
            ["bounds": [2, 1], "counts": [1, 2, 3], "sum": 0], ["bounds": [1, 1], "counts": [1, 2, 3], "sum": 0],
            ["bounds": [1, "x"], "counts": [1, 2], "sum": 0], ["bounds": [1], "counts": [1, -2], "sum": 0],
            ["bounds": [1], "counts": [1, 2.5], "sum": 0], ["bounds": [1], "counts": [1, 2], "sum": -1],
            ["bounds": [1], "counts": [1, 2], "sum": .double(.nan)],
            ["bounds": [.double(.infinity)], "counts": [1, 2], "sum": 0],
            [
                "bounds": .array((0..<65).map { .int($0) }), "counts": .array(Array(repeating: 0, count: 66)), "sum": 0,
            ],
        ] as [MessageValue]
    )
    func `what is none is not taken for one`(value: MessageValue) {
        #expect(Histogram(value) == nil)
    }
}
