import FanfareModel
import Testing

@testable import fanfare

struct DisplayTests {
    private let answer: MessageValue = ["total": 1, "rows": [["name": "a", "rate": 1.0, "expires": nil]]]
    private let terminal = Surface(isStyled: true, columns: 80, rows: 24)

    private func page(_ answer: MessageValue) -> Page {
        var page = Page()
        page.append("total \(answer["total"]?.int ?? 0)")
        page.append("end")
        return page
    }

    @Test func `JSON is the broker's answer as one line with raw numbers, watched or not, terminal or not`() throws {
        for seconds in [nil, 2.0] {
            for surface in [Surface.plain, terminal] {
                let display = Display(isJSON: true, watchSeconds: seconds)
                let text = try display.text(answer, page, isFirst: false, on: surface)
                #expect(text == #"{"rows":[{"expires":null,"name":"a","rate":1.0}],"total":1}"# + "\n")
            }
        }
    }

    @Test func `a page shown once has no escape sequences but its headings'`() throws {
        let display = Display(isJSON: false, watchSeconds: nil)
        #expect(try display.text(answer, page, isFirst: true, on: terminal) == "total 1\nend\n")
        #expect(try display.text(answer, page, isFirst: true, on: .plain) == "total 1\nend\n")
    }

    @Test func `watched pages follow each other after an empty line where nothing can be redrawn`() throws {
        let display = Display(isJSON: false, watchSeconds: 2)
        #expect(try display.text(answer, page, isFirst: true, on: .plain) == "total 1\nend\n")
        #expect(try display.text(answer, page, isFirst: false, on: .plain) == "\ntotal 1\nend\n")
    }

    @Test func `watched pages take each other's place on a terminal`() throws {
        let display = Display(isJSON: false, watchSeconds: 2)
        let redrawn = "\u{1b}[Htotal 1\u{1b}[K\nend\u{1b}[K\n\u{1b}[J"
        #expect(try display.text(answer, page, isFirst: true, on: terminal) == "\u{1b}[2J" + redrawn)
        #expect(try display.text(answer, page, isFirst: false, on: terminal) == redrawn)
    }
}

struct WalkTests {
    private func answer(_ names: [String], total: Int, cursor: String? = nil, nodes: Bool = false) -> MessageValue {
        let rows = names.map { name -> MessageValue in
            ["name": .string(name), "node": nodes && name.hasPrefix("w") ? .string(name) : .null]
        }
        var map: [String: MessageValue] = ["rows": .array(rows), "total": .count(total)]
        map["cursor"] = cursor.map { .string($0) }
        return .map(map)
    }

    private func names(_ answer: MessageValue) -> [String] {
        answer["rows"]?.array?.compactMap { $0["name"]?.string } ?? []
    }

    @Test func `one page is the broker's answer, cursor and all`() {
        var query = InspectionQuery(.groups)
        query.limit = 2
        var walk = Walk(query, .page)
        #expect(walk.first == query)
        let page = answer(["a", "b"], total: 5, cursor: "c1")
        #expect(walk.take(page) == nil)
        #expect(walk.answer == page)
    }

    @Test func `every page is asked for with the cursor of the one before`() {
        var walk = Walk(InspectionQuery(.groups), .all)
        #expect(walk.first.limit == 1_000)
        #expect(walk.first.cursor == nil)
        let second = walk.take(answer(["a", "b"], total: 3, cursor: "c1"))
        #expect(second?.cursor == "c1")
        #expect(second?.limit == 1_000)
        #expect(walk.take(answer(["c"], total: 3)) == nil)
        #expect(walk.answer == answer(["a", "b", "c"], total: 3))
    }

    @Test func `a walk remembers that one of its pages was partial`() {
        var walk = Walk(InspectionQuery(.groups), .all)
        _ = walk.take(["rows": [], "total": 1, "cursor": "c", "partial": true])
        _ = walk.take(answer(["a"], total: 1))
        #expect(walk.answer["partial"] == true)
    }

    @Test func `a walk ends at its bound and says where to go on`() {
        var walk = Walk(InspectionQuery(.groups), .all)
        let page = answer(Array(repeating: "a", count: 1_000), total: 4_000_000, cursor: "c")
        var pages = 1
        while walk.take(page) != nil { pages += 1 }
        #expect(pages == Walk.rowsMaximum / 1_000)
        #expect(walk.answer["rows"]?.array?.count == Walk.rowsMaximum)
        #expect(walk.answer["cursor"] == "c")
    }

    @Test func `workers are the sessions with a node, counted before they are cut`() {
        var query = InspectionQuery(.sessions)
        query.limit = 2
        var walk = Walk(query, .owners(limit: query.limit))
        #expect(walk.first.limit == 1_000)
        #expect(walk.take(answer(["w1", "cli", "w2"], total: 5, cursor: "c", nodes: true)) != nil)
        #expect(walk.take(answer(["w3", "x"], total: 5, nodes: true)) == nil)
        #expect(names(walk.answer) == ["w1", "w2"])
        #expect(walk.answer["total"] == 3)
        #expect(walk.answer["cursor"] == nil)
    }
}
