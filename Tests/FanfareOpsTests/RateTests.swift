import FanfareModel
import Testing

@testable import FanfareOps

@Suite struct RateTests {
    @Test(
        arguments: [
            ("20/s", Rate(20)), ("600/min", Rate(600, perSeconds: 60)), ("5/10s", Rate(5, perSeconds: 10)),
            ("1/h", Rate(1, perSeconds: 3_600)), ("1/24h", Rate(1, perSeconds: 86_400)),
            ("20/s burst 40", Rate(20, burst: 40)), ("600/2min burst 10", Rate(600, perSeconds: 120, burst: 10)),
            ("1_000/60s", Rate(1_000, perSeconds: 60)),
        ] as [(String, Rate)]
    )
    func `a rate is read, and printed so that it is read again`(text: String, rate: Rate) {
        #expect(Rate(text) == rate)
        #expect(Rate(rate.description) == rate)
    }

    @Test func `a burst nobody gives is the count, and a rate has one printed form`() {
        #expect(Rate("20/s")?.burst == 20)
        #expect(Rate("20/s burst 20")?.description == "20/s")
        #expect(Rate("20/120s")?.description == "20/2min")
        #expect(Rate("20/90s")?.description == "20/90s")
        #expect(Rate("20/60min")?.description == "20/h")
    }

    @Test(arguments: [
        "", "20", "20/", "/s", "20/ s", "20 /s", "0/s", "20/0s", "-1/s", "1.5/s", "20/s/s", "20/m", "20/S", "20/d",
        "20/1.5s", "20/25h", "20/86401s", "20/99999999999999999999s", "99999999999999999999/s",
        "20/9223372036854775807h",
        "20/s burst", "20/s burst 0", "20/s burst -1", "20/s  burst 4", "20/s Burst 4", "20/s burst 4 5",
        "20/s burst 4 ",
        "٣/s", "20/٣s", "20/s\n",
    ])
    func `what is not a rate is refused`(text: String) {
        #expect(Rate(text) == nil)
    }

    @Test(arguments: ["1/s", "11/s", "5/s burst 1", "5/s burst 11", "x"])
    func `a rate beyond the range of its setting is refused`(text: String) {
        #expect(throws: WrongValue.self) { try SettingKind.rate(2...10).value(of: text) }
    }
}

@Suite struct NumberTests {
    @Test(
        arguments: [
            ("0", 0), ("1", 1), ("0.25", 0.25), ("-1.5", -1.5), ("1e-7", 1e-7), ("1.5E+3", 1_500),
            ("123456789.125", 123_456_789.125),
        ] as [(String, Double)]
    )
    func `a number is read, and printed so that it is read again`(text: String, number: Double) throws {
        let kind = SettingKind.number(-1e300...1e300)
        #expect(try kind.value(of: text) == .number(number))
        #expect(try kind.value(of: try #require(kind.yaml(.number(number)))) == .number(number))
    }

    @Test(arguments: [
        "", "-", "nan", "inf", "-inf", "infinity", "0x1p3", "1.", ".5", "+1", "1e", "1e999", "-1e999", "1,5", " 1",
        "1 ", "--1",
        "1-1", "1e5.5", "٣",
    ])
    func `what is not a number is refused`(text: String) {
        #expect(throws: WrongValue.self) { try SettingKind.number(-1e300...1e300).value(of: text) }
    }

    @Test(arguments: ["-0.001", "1.001", "2"])
    func `a number beyond its range is refused`(text: String) {
        #expect(throws: WrongValue(text: "must be a number from 0 to 1, not \"\(text)\"")) {
            try SettingKind.number(0...1).value(of: text)
        }
    }
}
