import FanfareModel
import Testing

@testable import FanfareWorker

@Suite struct DrainPaceTests {
    private static let start = Instant(nanoseconds: 5_000_000_000)

    /// What each step closes, until none is left or the steps are over.
    private func steps(_ sockets: Int, spread: UInt64, late: UInt64 = 0) -> [Int] {
        let pace = DrainPace(sockets: sockets, spread: Milliseconds(spread), from: Self.start)
        var (left, steps) = (sockets, [Int]())
        var now = Self.start
        while left > 0, steps.count < 10_000 {
            let due = pace.due(of: left, at: now)
            steps.append(due)
            left -= due
            now = now.advanced(by: Milliseconds(DrainPace.stepMilliseconds + late))
        }
        return steps
    }

    @Test(arguments: [(100_000, 10_000), (20_000, 30_000), (501, 10_000)] as [(Int, UInt64)])
    func `many sockets are closed evenly over the whole time`(sockets: Int, spread: UInt64) {
        let steps = steps(sockets, spread: spread)
        #expect(steps.reduce(0, +) == sockets)
        let count = Int(spread / DrainPace.stepMilliseconds)
        #expect((count - 2...count + 1).contains(steps.count))
        // No step closes more than its share, rounded up.
        #expect(steps.allSatisfy { $0 <= sockets / count + 1 })
    }

    @Test func `few sockets are closed one a step and take less time`() {
        #expect(steps(1, spread: 10_000) == [1])
        #expect(steps(30, spread: 10_000) == Array(repeating: 1, count: 30))
    }

    @Test func `without time all are closed at once, and late steps catch up`() {
        #expect(steps(1_000, spread: 0) == [1_000])
        let late = steps(1_000, spread: 1_000, late: 80)
        #expect(late.reduce(0, +) == 1_000)
        #expect((9...11).contains(late.count))
    }

    @Test func `nobody is closed when nobody is left, and no number traps`() {
        let pace = DrainPace(sockets: .max, spread: Milliseconds(.max), from: Self.start)
        #expect(pace.due(of: 0, at: Self.start) == 0)
        #expect((1...Int.max).contains(pace.due(of: .max, at: Self.start)))
        #expect(pace.due(of: 7, at: Instant(nanoseconds: .max)) <= 7)
        #expect(pace.reason(1).utf8.count <= 123)
    }

    /// The milliseconds of a hint, as a page reads them.
    private func hint(_ pace: DrainPace, _ random: Double) throws -> Int {
        let reason = pace.reason(random)
        #expect(reason.utf8.count <= 123)
        let words = reason.split(separator: " ")
        #expect(words.prefix(3) == ["restart;", "reconnect", "in"] && words.last == "ms")
        return try #require(Int(words[3]))
    }

    @Test func `hints spread the return over at least a second, and a thousand clients over each`() throws {
        let few = DrainPace(sockets: 3, spread: Milliseconds(0), from: Self.start)
        #expect(try hint(few, 0) == 200)
        #expect(try hint(few, 1) == 1_200)
        // Outside of its range a random number counts as the end of it.
        #expect(try hint(few, -1) == 200 && hint(few, 7) == 1_200)
        let atOnce = DrainPace(sockets: 20_000, spread: Milliseconds(0), from: Self.start)
        #expect(try hint(atOnce, 1) == 20_200)
        // They leave over ten seconds, so that they come back over these and ten more.
        let spread = DrainPace(sockets: 20_000, spread: Milliseconds(10_000), from: Self.start)
        #expect(try hint(spread, 1) == 10_200)
        let crowd = DrainPace(sockets: 1_000_000, spread: Milliseconds(0), from: Self.start)
        #expect(try hint(crowd, 1) == 30_200)
    }

    @Test func `a plan within somebody else's time stays within it`() {
        for total in [0, 1, 3, 4, 10_000] as [UInt64] {
            for delay in [0, 2, 9_999, .max] as [UInt64] {
                let plan = DrainPlan(within: Milliseconds(total), delay: Milliseconds(delay))
                #expect(plan.total.value <= total)
                #expect(plan.delay.value <= total / 4 && plan.rest.value == total / 4)
            }
        }
        let endless = DrainPlan(delay: Milliseconds(.max), spread: Milliseconds(.max), rest: Milliseconds(1))
        #expect(endless.total == Milliseconds(.max))
    }
}
