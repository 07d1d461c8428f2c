/// One value of a table.
struct Cell: Equatable {
    let text: String
    let tone: Tone

    init(_ text: String, _ tone: Tone = .plain) {
        self.text = text
        self.tone = tone
    }
}

/// Rows under headings, columns two blanks apart, numbers to the right.
struct Table: Equatable {
    enum Alignment {
        case left
        case right
    }

    let headings: [String]
    let alignments: [Alignment]
    /// Which columns are left out where there is no room, the highest first; those of 0 never.
    let expendable: [Int]
    private(set) var rows: [[Cell]] = []
    /// Text is not cut shorter than this to make room.
    private static let textColumnsMinimum = 8
    /// Text is cut to this before a column is left out.
    private static let textColumnsComfortable = 20

    init(_ columns: [(heading: String, alignment: Alignment)]) {
        self.init(columns.map { ($0.heading, $0.alignment, 0) })
    }

    init(_ columns: [(heading: String, alignment: Alignment, expendable: Int)]) {
        headings = columns.map(\.heading)
        alignments = columns.map(\.alignment)
        expendable = columns.map(\.expendable)
    }

    /// Adds a row of as many cells as there are columns.
    mutating func append(_ cells: [Cell]) {
        precondition(cells.count == headings.count, "\(cells.count) cells for \(headings.count) columns")
        rows.append(cells.map { Cell(DisplayText.sanitized($0.text), $0.tone) })
    }

    mutating func append(_ cells: [String]) {
        append(cells.map { Cell($0) })
    }

    /// The table without the columns it can best do without, as many as there is no room for.
    func fitting(_ columns: Int) -> Table {
        let widths = naturalWidths.enumerated().map { column, width in
            alignments[column] == .left ? min(width, Self.textColumnsComfortable) : width
        }
        var kept = Array(headings.indices)
        while kept.reduce(-2, { $0 + widths[$1] + 2 }) > columns,
            let last = kept.filter({ expendable[$0] > 0 }).max(by: { expendable[$0] < expendable[$1] })
        {
            kept.removeAll { $0 == last }
        }
        guard kept.count < headings.count else { return self }
        var table = Table(kept.map { (headings[$0], alignments[$0], expendable[$0]) })
        table.rows = rows.map { row in kept.map { row[$0] } }
        return table
    }

    /// The heading and the rows, without blanks at their ends.
    ///
    /// - Parameter columns: How wide they may be: the widest texts are cut first, then the ends of lines; `nil` for as
    ///   wide as they are.
    func lines(columns: Int?) -> [Page.Line] {
        let widths = widths(columns)
        let lines =
            [aligned(headings.map { Cell($0, .heading) }, widths, .heading)] + rows.map { aligned($0, widths, .plain) }
        return columns.map { columns in lines.map { $0.cut(to: columns) } } ?? lines
    }

    private var naturalWidths: [Int] {
        headings.indices.map { column in
            rows.reduce(DisplayText.width(headings[column])) { max($0, DisplayText.width($1[column].text)) }
        }
    }

    private func widths(_ columns: Int?) -> [Int] {
        var widths = naturalWidths
        guard let columns else { return widths }
        var excess = widths.reduce(0, +) + 2 * (widths.count - 1) - columns
        while excess > 0 {
            let texts = widths.indices.filter { alignments[$0] == .left && widths[$0] > Self.textColumnsMinimum }
            guard let widest = texts.max(by: { widths[$0] < widths[$1] }) else { break }
            widths[widest] -= 1
            excess -= 1
        }
        return widths
    }

    /// - Parameter gap: The tone of the blanks: those of a heading belong to it.
    private func aligned(_ cells: [Cell], _ widths: [Int], _ gap: Tone) -> Page.Line {
        var line = Page.Line()
        var blanks = 0
        for (column, cell) in cells.enumerated() {
            let text = DisplayText.cut(cell.text, to: widths[column])
            let padding = widths[column] - DisplayText.width(text)
            blanks += (column > 0 ? 2 : 0) + (alignments[column] == .right ? padding : 0)
            if !text.isEmpty {
                line.append(String(repeating: " ", count: blanks), gap)
                line.append(text, cell.tone)
                blanks = 0
            }
            blanks += alignments[column] == .left ? padding : 0
        }
        return line
    }
}
