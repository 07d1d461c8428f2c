import FanfareModel
import NIOCore
import Testing

@testable import FanfareClient

/// The time messages spend on the link, from the broker's clock in the stream.
struct LinkAgeTests {
    private func at(_ milliseconds: UInt64) -> NIODeadline {
        .uptimeNanoseconds(milliseconds * 1_000_000)
    }

    @Test("what comes as fast as ever has no age")
    func fast() {
        var age = LinkAge()
        age.hear(Milliseconds(500), at: at(10_000))
        age.hear(Milliseconds(600), at: at(10_100))
        #expect(age.milliseconds == 0)
        #expect(age.left(of: Milliseconds(70), at: at(10_100)) == Milliseconds(70))
    }

    @Test("what waited in the socket while the process stood still is older by that time")
    func stopped() {
        var age = LinkAge()
        age.hear(Milliseconds(500), at: at(10_000))
        age.hear(Milliseconds(600), at: at(13_100))
        #expect(age.milliseconds == 3_000)
        #expect(age.left(of: Milliseconds(3_001), at: at(13_100)) == Milliseconds(1))
        #expect(age.left(of: Milliseconds(2_000), at: at(13_100)) == Milliseconds(0))
        age.hear(Milliseconds(3_650), at: at(13_150))
        #expect(age.milliseconds == 0, "the link is quick again")
    }

    @Test func `what no new clock came ahead of has waited since 50 ms after the last one`() {
        var age = LinkAge()
        #expect(age.left(of: Milliseconds(70), at: at(10_000)) == Milliseconds(70), "no clock was told")
        age.hear(Milliseconds(500), at: at(10_000))
        #expect(age.left(of: Milliseconds(70), at: at(10_050)) == Milliseconds(70), "it may have been written just now")
        #expect(age.left(of: Milliseconds(70), at: at(10_060)) == Milliseconds(60))
        #expect(age.left(of: Milliseconds(1_000), at: at(13_000)) == Milliseconds(0))
        age.hear(Milliseconds(3_400), at: at(13_000))
        #expect(age.left(of: Milliseconds(1_000), at: at(13_000)) == Milliseconds(900))
        #expect(age.left(of: Milliseconds(1_000), at: at(13_060)) == Milliseconds(890))
    }

    @Test("a first sample that came late is corrected by a quicker one")
    func lateStart() {
        var age = LinkAge()
        age.hear(Milliseconds(0), at: at(9_000))
        age.hear(Milliseconds(5_000), at: at(9_000))
        #expect(age.milliseconds == 0)
        age.hear(Milliseconds(5_100), at: at(9_300))
        #expect(age.milliseconds == 200)
    }

    @Test("clocks that drift apart do not age messages, and absurd ones do not trap")
    func drift() {
        var age = LinkAge()
        for minute in UInt64(0)..<1_440 {
            // This process's clock runs fast by fifty parts in a million.
            age.hear(Milliseconds(minute * 60_000), at: at(1_000_000 + minute * 60_003))
        }
        #expect(age.milliseconds == 0)
        age.hear(Milliseconds(.max), at: at(0))
        age.hear(Milliseconds(.max), at: .uptimeNanoseconds(.max))
        #expect(age.left(of: Milliseconds(1), at: .uptimeNanoseconds(.max)) == Milliseconds(0))
        age.hear(Milliseconds(0), at: .uptimeNanoseconds(.max))
        #expect(age.left(of: Milliseconds(1), at: .uptimeNanoseconds(.max)) == Milliseconds(1), "another clock")
        #expect(age.left(of: Milliseconds(1), at: at(0)) == Milliseconds(1), "an own clock that went back")
    }

    @Test("on a link that goes on the time now comes first, and what is repeated is as old as it is")
    func resumed() {
        var age = LinkAge()
        age.hear(Milliseconds(10_000), at: at(50_000))
        age.hear(Milliseconds(7_000), at: at(50_000))
        #expect(age.milliseconds == 3_000)
        age.hear(Milliseconds(9_500), at: at(50_001))
        #expect((500...501).contains(age.milliseconds))
        age.hear(Milliseconds(10_010), at: at(50_010))
        #expect(age.milliseconds == 0)
    }

    @Test("clocks repeated by a broker whose machine has started anew age nothing that follows")
    func rebooted() {
        var age = LinkAge()
        age.hear(Milliseconds(1_000), at: at(50_000))
        age.hear(Milliseconds(900_000), at: at(50_000))
        #expect(age.milliseconds == 0)
        age.hear(Milliseconds(1_005), at: at(50_005))
        #expect(age.milliseconds == 0, "the clock went back: it is another")
        age.hear(Milliseconds(1_100), at: at(50_300))
        #expect(age.milliseconds == 200)
    }
}
