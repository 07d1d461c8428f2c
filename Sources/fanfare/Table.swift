/// Rows under headings, columns two blanks apart, numbers to the right.
struct Table: Equatable {
    enum Alignment {
        case left
        case right
    }

    let headings: [String]
    let alignments: [Alignment]
    private(set) var rows: [[String]] = []

    init(_ columns: [(heading: String, alignment: Alignment)]) {
        headings = columns.map(\.heading)
        alignments = columns.map(\.alignment)
    }

    /// Adds a row of as many cells as there are columns.
    mutating func append(_ cells: [String]) {
        precondition(cells.count == headings.count, "\(cells.count) cells for \(headings.count) columns")
        rows.append(cells.map(DisplayText.sanitized))
    }

    /// The heading and the rows, without blanks at their ends.
    var lines: [Page.Line] {
        let widths = headings.indices.map { column in
            rows.reduce(DisplayText.width(headings[column])) { max($0, DisplayText.width($1[column])) }
        }
        return [Page.Line(text: aligned(headings, widths), isHeading: true)]
            + rows.map { Page.Line(text: aligned($0, widths), isHeading: false) }
    }

    private func aligned(_ cells: [String], _ widths: [Int]) -> String {
        var line = ""
        for (column, cell) in cells.enumerated() {
            let padding = String(repeating: " ", count: widths[column] - DisplayText.width(cell))
            line += (column > 0 ? "  " : "") + (alignments[column] == .left ? cell + padding : padding + cell)
        }
        let end = line.lastIndex { $0 != " " }
        return end.map { String(line[...$0]) } ?? ""
    }
}

/// What a command shows at once: lines, some of them headings.
struct Page: Equatable {
    struct Line: Equatable {
        var text: String
        var isHeading: Bool
    }

    private(set) var lines: [Line] = []

    mutating func append(_ table: Table) {
        lines += table.lines
    }

    /// Adds a line of plain text.
    mutating func append(_ text: String) {
        lines.append(Line(text: DisplayText.sanitized(text), isHeading: false))
    }

    /// Adds labels and values under a heading; nothing when there are none.
    mutating func append(heading: String, facts: [(label: String, value: String)]) {
        guard !facts.isEmpty else { return }
        if !lines.isEmpty { append("") }
        lines.append(Line(text: DisplayText.sanitized(heading), isHeading: true))
        let width = facts.reduce(0) { max($0, DisplayText.width($1.label)) }
        for (label, value) in facts {
            let padding = String(repeating: " ", count: width - DisplayText.width(label))
            append(value.isEmpty ? "  " + label : "  " + label + padding + "  " + value)
        }
    }

    /// The page as text, every line ended.
    ///
    /// - Parameters:
    ///   - surface: What it is shown on; headings are bold where that can be seen.
    ///   - fits: Whether what has no room is cut: the ends of lines, and lines before the last, the totals. A page
    ///     that is redrawn has to fit.
    func text(on surface: Surface, fits: Bool = false) -> String {
        let columns = fits ? surface.columns : nil
        return (fits ? linesFitting(surface) : lines).reduce(into: "") { text, line in
            let shown = columns.map { DisplayText.cut(line.text, to: $0) } ?? line.text
            text += line.isHeading && surface.isStyled ? "\u{1b}[1m\(shown)\u{1b}[0m\n" : "\(shown)\n"
        }
    }

    private func linesFitting(_ surface: Surface) -> [Line] {
        // The cursor stands on a line of its own under the page.
        guard let rows = surface.rows.map({ max($0 - 1, 1) }), lines.count > rows else { return lines }
        return lines.prefix(rows - 1) + lines.suffix(1)
    }
}

/// What text is shown on.
struct Surface: Equatable {
    /// Whether escape sequences are understood and wanted.
    var isStyled: Bool
    /// Its size, if it has one.
    var columns: Int?
    var rows: Int?

    /// A file or a pipe.
    static let plain = Surface(isStyled: false, columns: nil, rows: nil)
}
