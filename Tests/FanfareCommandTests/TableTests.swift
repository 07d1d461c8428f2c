import FanfareModel
import Testing

@testable import fanfare

struct TableTests {
    private var table: Table {
        var table = Table([("NAME", .left), ("COUNT", .right), ("NOTE", .left)])
        table.append(["lobby", "7", "x"])
        table.append(["部屋👋", "1000", ""])
        return table
    }

    private func page(_ lines: Int) -> Page {
        var page = Page()
        for line in 1...lines { page.append("line \(line)") }
        return page
    }

    @Test func `columns are aligned by what a terminal shows, numbers to the right, without trailing blanks`() {
        var page = Page()
        page.append(table)
        let expected = """
            NAME    COUNT  NOTE
            lobby       7  x
            部屋👋   1000

            """
        #expect(page.text(on: .plain) == expected)
    }

    @Test func `headings are bold where that can be seen and nowhere else`() {
        var page = Page()
        page.append(table)
        let styled = page.text(on: Surface(isStyled: true, isRedrawn: true, columns: nil, rows: nil))
        #expect(styled.hasPrefix("\u{1b}[1mNAME    COUNT  NOTE\u{1b}[0m\nlobby"))
        #expect(styled.split(separator: "\n").dropFirst().allSatisfy { !$0.contains("\u{1b}") })
        #expect(!page.text(on: .plain).contains("\u{1b}"))
    }

    @Test func `a table gives up the ends of its widest texts first, then the ends of its lines`() {
        var table = Table([("NAME", .left), ("WORKER", .left), ("COUNT", .right)])
        table.append(["a-very-long-name-of-a-group", "worker-1", "12345"])
        var page = Page()
        page.append(table)
        let surface = { Surface(isStyled: false, isRedrawn: false, columns: $0, rows: nil) }
        #expect(
            page.text(on: surface(30)) == """
                NAME           WORKER    COUNT
                a-very-long-…  worker-1  12345

                """
        )
        #expect(page.text(on: surface(44)).contains("a-very-long-name-of-a-group  worker-1  12345"))
        #expect(page.text(on: surface(20)) == "NAME      WORKER   …\na-very-…  worker-1 …\n")
        #expect(page.text(on: .plain).contains("a-very-long-name-of-a-group"))
        for columns in 0...60 {
            let lines = page.text(on: surface(columns)).split(separator: "\n").map(String.init)
            #expect(lines.allSatisfy { DisplayText.width($0) <= columns })
        }
    }

    @Test func `a table gives up the columns it can best do without, and the last line says how many`() {
        var table = Table([("NAME", .left, 0), ("NODE", .left, 2), ("LAG", .right, 0), ("AGE", .right, 1)])
        table.append(["worker-1", "0123456789abcdef", "1.25ms", "12s"])
        var page = Page()
        page.append(table)
        page.append(totals: "1 worker", hint: ", see --columns")
        let surface = { Surface(isStyled: false, isRedrawn: false, columns: $0, rows: nil) }
        #expect(page.text(on: surface(39)) == page.text(on: .plain))
        #expect(page.text(on: .plain).hasSuffix("12s\n1 worker\n"))
        #expect(
            page.text(on: surface(38)) == """
                NAME         LAG  AGE
                worker-1  1.25ms  12s
                1 worker; 1 column left out, see --columns

                """
        )
        #expect(page.text(on: surface(20)).hasSuffix("worker-1  1.25ms\n1 worker; 2 columns left out, see --columns\n"))
        // What is left is cut as ever.
        #expect(page.text(on: surface(12)).hasPrefix("NAME       …\nworker-1  1…\n"))
        // A text that can be cut to a comfortable width is, before a column goes.
        var long = Table([("NAME", .left, 0), ("AGE", .right, 1)])
        long.append([String(repeating: "n", count: 40), "12s"])
        #expect(long.fitting(25) == long)
        #expect(long.fitting(24).headings == ["NAME"])
    }

    @Test func `on eighty columns every listing keeps what it is looked at for`() throws {
        let kept: [(Listing, [String])] = [
            (.workers, ["NAME", "IN/s", "OUT/s", "LAG", "DROPS"]),
            (.closed, ["AGE", "NAME", "REASON", "DROPS", "DETAIL"]),
            (.channels, ["CHANNEL", "DEPTH", "OLDEST", "RATE/s", "DROPS"]), (.drops, ["NAME", "REASON", "COUNT"]),
            (.groups, ["GROUP", "MEMBERS", "RATE/s", "DROPS"]), (.group, ["CHANNEL", "AGE", "EXPIRES"]),
        ]
        for (listing, headings) in kept {
            let long = String(repeating: "x", count: 40)
            var row: [String: MessageValue] = [:]
            for column in listing.columns { row[column.field] = column.alignment == .left ? .string(long) : 123_456 }
            row["namespace"] = .string(Protocol.namespaceDefault)
            let answer: MessageValue = ["rows": [.map(row)], "total": 1]
            let surface = Surface(isStyled: false, isRedrawn: false, columns: 80, rows: nil)
            let lines = listing.page(answer, namespace: nil).text(on: surface).split(separator: "\n")
            let shown = lines[0].split(separator: " ").map(String.init)
            #expect(Set(headings).isSubset(of: shown), "\(shown)")
            #expect(lines.last?.contains("left out, see --columns") == true)
            // Who chooses columns gets them.
            let chosen = listing.page(answer, namespace: nil, chosen: listing.usual).text(on: surface)
            #expect(!chosen.contains("left out"))
        }
    }

    @Test func `a tone colours its cell and not the blanks beside it, and nothing without colours`() {
        var table = Table([("NAME", .left), ("DROPS", .right), ("LAG", .right)])
        table.append([Cell("a"), Cell("7", .bad), Cell("120ms", .warning)])
        var page = Page()
        page.append(table)
        let styled = page.text(on: Surface(isStyled: true, isRedrawn: true, columns: nil, rows: nil))
        #expect(styled.hasSuffix("a         \u{1b}[31m7\u{1b}[0m  \u{1b}[33m120ms\u{1b}[0m\n"))
        #expect(!page.text(on: Surface(isStyled: false, isRedrawn: true, columns: 80, rows: 24)).contains("\u{1b}"))
        // Cut within a coloured piece, the colour still ends.
        let narrow = page.text(on: Surface(isStyled: true, isRedrawn: true, columns: 16, rows: nil))
        #expect(narrow.hasSuffix("\u{1b}[33m12…\u{1b}[0m\n"))
    }

    @Test func `a page that must fit keeps its last line and cuts long ones`() {
        let small = Surface(isStyled: false, isRedrawn: true, columns: 5, rows: 4)
        #expect(page(10).text(on: small, fits: true) == "line…\nline…\nline…\n")
        let low = Surface(isStyled: false, isRedrawn: true, columns: 80, rows: 4)
        #expect(page(10).text(on: low, fits: true) == "line 1\nline 2\nline 10\n")
        #expect(page(3).text(on: low, fits: true) == "line 1\nline 2\nline 3\n")
        #expect(
            page(2).text(on: Surface(isStyled: false, isRedrawn: true, columns: 80, rows: 1), fits: true) == "line 2\n"
        )
        #expect(page(10).text(on: low).split(separator: "\n").count == 10)
    }

    @Test func `facts stand under their heading, blocks are apart, empty blocks are left out`() {
        var page = Page()
        page.append(heading: "ONE", facts: [("a", "1"), ("longer", "2"), ("bare", "")])
        page.append(heading: "NONE", facts: [])
        page.append(heading: "TWO", facts: [("b", "3")])
        #expect(page.text(on: .plain) == "ONE\n  a       1\n  longer  2\n  bare\n\nTWO\n  b  3\n")
    }

    @Test func `what another program named itself cannot steer the terminal`() {
        var table = Table([("NAME", .left)])
        table.append(["a\u{1b}[2J\r\nb\u{9b}c\u{202e}d\u{7f}"])
        var page = Page()
        page.append(table)
        page.append(heading: "x\u{1b}", facts: [("k\u{7}", "v\n")])
        let text = page.text(on: .plain)
        #expect(text.contains("a\u{fffd}[2J\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}"))
        #expect(!text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" || (0x7f..<0xa0).contains($0.value) })
    }

    @Test(
        "widths are those of terminals",
        arguments: [
            ("", 0), ("abc", 3), ("é", 1), ("e\u{301}", 1), ("日本", 4), ("한", 2), ("👋", 2), ("👩‍👩‍👧", 2), ("🇩🇪", 2), ("ａ", 2),
            ("…", 1), ("\u{200b}", 0),
        ]
    )
    func widths(text: String, columns: Int) {
        #expect(DisplayText.width(text) == columns)
    }

    @Test func `cutting never takes more room than there is`() {
        #expect(DisplayText.cut("abcdef", to: 6) == "abcdef")
        #expect(DisplayText.cut("abcdefg", to: 6) == "abcde…")
        #expect(DisplayText.cut("日本語", to: 4) == "日…")
        #expect(DisplayText.cut("abc", to: 1) == "…")
        #expect(DisplayText.cut("abc", to: 0) == "")
    }
}
