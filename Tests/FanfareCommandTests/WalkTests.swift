import FanfareModel
import Testing

@testable import fanfare

struct WalkTests {
    private func answer(_ names: [String], total: Int, cursor: String? = nil, nodes: Bool = false) -> MessageValue {
        let rows = names.map { name -> MessageValue in
            [
                "name": .string(name), "node": nodes && name.hasPrefix("w") ? .string(name) : .null, "channels": 2,
                "rate_in": 0.5,
            ]
        }
        var map: [String: MessageValue] = [
            "rows": .array(rows), "total": .count(total), "totals": ["channels": .count(2 * total)],
        ]
        map["cursor"] = cursor.map { .string($0) }
        return .map(map)
    }

    /// Walks through these answers: the rows, and one answer for all.
    private func outcome(_ walk: Walk, _ answers: [MessageValue]) -> (names: [String], answer: MessageValue, asked: Int)
    {
        var walk = walk
        var rows: [MessageValue] = []
        var asked = 0
        for answer in answers {
            asked += 1
            let step = walk.take(answer)
            rows += step.rows
            guard step.next != nil else { break }
        }
        return (rows.compactMap { $0["name"]?.string }, walk.answer(rows), asked)
    }

    @Test func `one page is the broker's answer, cursor and all`() {
        let walk = Walk(.groups, InspectionQuery(.groups), rows: 2)
        #expect(walk.first.limit == 2)
        let page = answer(["a", "b"], total: 5, cursor: "c1")
        let outcome = outcome(walk, [page, page])
        #expect(outcome.answer == page)
        #expect(outcome.asked == 1)
    }

    @Test func `every page is asked for with the cursor of the one before`() {
        var walk = Walk(.groups, InspectionQuery(.groups), rows: nil)
        #expect(walk.first.limit == 1_000)
        #expect(walk.first.cursor == nil)
        let second = walk.take(answer(["a", "b"], total: 3, cursor: "c1")).next
        #expect(second?.cursor == "c1")
        #expect(second?.limit == 1_000)
        #expect(walk.take(answer(["c"], total: 3)).next == nil)
    }

    @Test func `a walk of many rows asks for what is missing and no more`() {
        var walk = Walk(.groups, InspectionQuery(.groups), rows: 1_500)
        #expect(walk.first.limit == 1_000)
        let thousand = answer(Array(repeating: "a", count: 1_000), total: 4_000, cursor: "c")
        #expect(walk.take(thousand).next?.limit == 500)
        // A broker that gives more than it was asked for changes nothing.
        let last = walk.take(thousand)
        #expect(last.rows.count == 500)
        #expect(last.next == nil)
        #expect(walk.answer([])["cursor"] == "c")
    }

    @Test func `a walk remembers that one of its pages was partial, and says so in words`() {
        var query = InspectionQuery(.groups)
        query.budget = Milliseconds(20)
        var walk = Walk(.groups, query, rows: nil)
        #expect(walk.notice == nil)
        _ = walk.take(["rows": [["name": "a"]], "total": 1, "cursor": "c", "partial": true])
        _ = walk.take(answer(["b"], total: 1))
        #expect(walk.answer([])["partial"] == true)
        #expect(walk.notice?.contains("20 ms") == true)
        #expect(walk.notice?.contains("partial") == true)
    }

    @Test func `a broker without time for a single row is not asked for ever`() {
        var walk = Walk(.groups, InspectionQuery(.groups), rows: nil)
        #expect(walk.take(["rows": [], "total": 0, "cursor": "c", "partial": true]).next == nil)
    }

    @Test func `workers are the sessions with a node, counted and summed up before they are cut`() {
        let walk = Walk(.workers, InspectionQuery(.sessions), rows: 2, keeping: .owners)
        #expect(walk.first.limit == 1_000)
        let outcome = outcome(
            walk,
            [
                answer(["w1", "cli", "w2"], total: 5, cursor: "c", nodes: true),
                answer(["w3", "x"], total: 5, nodes: true),
            ]
        )
        #expect(outcome.names == ["w1", "w2"])
        #expect(outcome.answer["total"] == 3)
        #expect(outcome.answer["totals"] == ["channels": 6, "rate_in": 1.5])
        #expect(outcome.answer["cursor"] == nil)
    }

    private let drops: MessageValue = [
        "rows": [
            ["name": "a", "reason": "full", "count": 7, "age_milliseconds": 10],
            ["name": "b", "reason": "expired", "count": 2, "age_milliseconds": 20],
            ["name": "c", "reason": "full", "count": 1, "age_milliseconds": 30],
            ["name": "d", "reason": "full", "count": .int(.max), "age_milliseconds": 40],
            ["name": "odd", "reason": "odd", "count": "many"],
        ],
        "total": 5,
    ]

    @Test func `drops are summed up by reason, whatever is shown`() {
        let all = outcome(Walk(.drops, InspectionQuery(.drops), rows: 1), [drops])
        #expect(all.names == ["a"])
        #expect(all.answer["total"] == 5)
        #expect(all.answer["count_by_reason"] == ["full": .int(.max), "expired": 2])
        #expect(all.answer["totals"] == ["count": .int(.max)])
    }

    @Test func `drops of late are those, and their sums`() {
        let late = Walk(.drops, InspectionQuery(.drops), rows: nil, keeping: .within(Milliseconds(20)))
        let outcome = outcome(late, [drops])
        #expect(outcome.names == ["a", "b"])
        #expect(outcome.answer["count_by_reason"] == ["full": 7, "expired": 2])
        #expect(outcome.answer["totals"] == ["count": 9] && outcome.answer["total"] == 2)
    }

    @Test func `an answer of an unknown shape ends a walk`() {
        for odd: MessageValue in [nil, [:], ["rows": 1, "cursor": "c"], ["cursor": 5], [1]] {
            var walk = Walk(.drops, InspectionQuery(.drops), rows: nil)
            #expect(walk.take(odd).next == nil)
        }
    }
}
