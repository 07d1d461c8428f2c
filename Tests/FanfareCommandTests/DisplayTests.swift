import FanfareModel
import Testing

@testable import fanfare

struct DisplayTests {
    private let answer: MessageValue = ["total": 1, "rows": [["name": "a", "rate": 1.0, "expires": nil]]]
    private let terminal = Surface(isStyled: true, isRedrawn: true, columns: 80, rows: 24)

    private func page(_ answer: MessageValue) -> Page {
        var page = Page()
        page.append("total \(answer["total"]?.int ?? 0)")
        page.append("end")
        return page
    }

    @Test func `JSON is the broker's answer as one line with raw numbers, watched or not, terminal or not`() throws {
        for seconds in [nil, 2.0] {
            for surface in [Surface.plain, terminal] {
                let display = Display(.json, watchSeconds: seconds)
                let text = try display.text(answer, page, isFirst: false, on: surface)
                #expect(text == #"{"rows":[{"expires":null,"name":"a","rate":1.0}],"total":1}"# + "\n")
            }
        }
    }

    @Test func `a page shown once has no escape sequences but its headings'`() throws {
        let display = Display(.page, watchSeconds: nil)
        #expect(try display.text(answer, page, isFirst: true, on: terminal) == "total 1\nend\n")
        #expect(try display.text(answer, page, isFirst: true, on: .plain) == "total 1\nend\n")
    }

    @Test func `watched pages follow each other after an empty line where nothing can be redrawn`() throws {
        let display = Display(.page, watchSeconds: 2)
        #expect(try display.text(answer, page, isFirst: true, on: .plain) == "total 1\nend\n")
        #expect(try display.text(answer, page, isFirst: false, on: .plain) == "\ntotal 1\nend\n")
    }

    @Test func `watched pages take each other's place on a terminal`() throws {
        let display = Display(.page, watchSeconds: 2)
        let redrawn = "\u{1b}[Htotal 1\u{1b}[K\nend\u{1b}[K\n\u{1b}[J"
        #expect(try display.text(answer, page, isFirst: true, on: terminal) == "\u{1b}[2J" + redrawn)
        #expect(try display.text(answer, page, isFirst: false, on: terminal) == redrawn)
    }

    @Test func `without colours a watched page is redrawn all the same`() throws {
        let display = Display(.page, watchSeconds: 2)
        let colorless = Surface(isStyled: false, isRedrawn: true, columns: 80, rows: 24)
        #expect(try display.text(answer, page, isFirst: false, on: colorless).hasPrefix("\u{1b}[H"))
    }

    @Test func `JSON lines are rows, with the chosen columns only`() throws {
        let rows: [MessageValue] = [
            ["group": "a", "members": 2, "attributes": ["pid": "7"]], ["group": "b\nc", "members": 1],
        ]
        #expect(
            try Display.lines(rows, nil) == #"{"attributes":{"pid":"7"},"group":"a","members":2}"# + "\n"
                + #"{"group":"b\nc","members":1}"# + "\n"
        )
        let chosen = try Listing.groups.columns(named: "members,group")
        #expect(
            try Display.lines(rows, chosen)
                == #"{"group":"a","members":2}"# + "\n" + #"{"group":"b\nc","members":1}"# + "\n"
        )
        let pid = try Listing.workers.columns(named: "pid,rate_in")
        #expect(try Display.lines([rows[0]], pid) == #"{"pid":"7","rate_in":null}"# + "\n")
    }
}
