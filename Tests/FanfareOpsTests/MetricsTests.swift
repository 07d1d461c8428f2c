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
}
