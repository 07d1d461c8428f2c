import FanfareModel
import Testing

@testable import FanfareOps

@Suite struct MetricsTests {
    @Test func `each metric has help, type and its numbers in order`() {
        var metrics = Metrics()
        metrics.add("fanfare_sessions", .gauge, help: "Connected.", 3)
        metrics.add("fanfare_drops_total", .counter, help: "Lost.", by: "reason", ["full": 2, "expired": 1.5])
        #expect(
            metrics.text == """
                # HELP fanfare_sessions Connected.
                # TYPE fanfare_sessions gauge
                fanfare_sessions 3
                # HELP fanfare_drops_total Lost.
                # TYPE fanfare_drops_total counter
                fanfare_drops_total{reason="expired"} 1.5
                fanfare_drops_total{reason="full"} 2

                """
        )
    }

    @Test func `help and label values cannot break a line`() {
        var metrics = Metrics()
        metrics.add("x", .gauge, help: "a\nb\\c\"d", by: "label", ["q\"u\\o\nte\r\n": 1])
        #expect(
            metrics.text == #"""
                # HELP x a\nb\\c"d
                # TYPE x gauge
                x{label="q\"u\\o\nte\n"} 1

                """#
        )
    }

    @Test(arguments: [
        (0.0, "0"), (-1, "-1"), (9_007_199_254_740_991, "9007199254740991"), (1e300, "1e+300"), (.nan, "NaN"),
        (.infinity, "+Inf"), (-.infinity, "-Inf"), (0.25, "0.25"),
    ])
    func `numbers are written as Prometheus reads them`(value: Double, text: String) {
        var metrics = Metrics()
        metrics.add("x", .gauge, help: "x", value)
        #expect(metrics.text.hasSuffix("\nx \(text)\n"))
    }

    @Test func `two labels come in order`() {
        var metrics = Metrics()
        metrics.add(
            "x",
            .counter,
            help: "x",
            by: ("class", "reason"),
            ["group": ["gone": 1, "full": 2], "a\"b": ["full": 3], "none": [:]]
        )
        #expect(
            metrics.text.hasSuffix(
                #"""
                # TYPE x counter
                x{class="a\"b",reason="full"} 3
                x{class="group",reason="full"} 2
                x{class="group",reason="gone"} 1

                """#
            )
        )
    }

    @Test func `a histogram's buckets are cumulative, and the last one is the count`() {
        var histogram = Histogram(bounds: [0.000001, 0.5, 1])
        for value in [0.25, 0.25, 1, 2] { histogram.record(value) }
        var metrics = Metrics()
        metrics.add("x_seconds", help: "x", histogram)
        #expect(
            metrics.text == """
                # HELP x_seconds x
                # TYPE x_seconds histogram
                x_seconds_bucket{le="1e-06"} 0
                x_seconds_bucket{le="0.5"} 2
                x_seconds_bucket{le="1"} 3
                x_seconds_bucket{le="+Inf"} 4
                x_seconds_sum 3.5
                x_seconds_count 4

                """
        )
    }

    @Test func `a histogram that is full to the brim is still one`() {
        var histogram = Histogram(bounds: [1, 2])
        for value in [1.0, 2, 3] { histogram.record(value, times: .max) }
        var metrics = Metrics()
        metrics.add("x", help: "x", histogram)
        let counts = metrics.text.split(separator: "\n").filter { $0.hasPrefix("x_bucket") || $0.hasPrefix("x_count") }
        #expect(Set(counts.compactMap { $0.split(separator: " ").last }).count == 1)
    }
}
