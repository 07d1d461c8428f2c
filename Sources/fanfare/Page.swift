/// How a text stands out where that can be seen.
enum Tone: Equatable {
    case plain
    case heading
    case faint
    /// Something to look at.
    case warning
    /// Something was lost.
    case bad

    /// What makes a terminal show it (ECMA-48, section 8.3.117).
    fileprivate var sequence: String? {
        switch self {
        case .plain: nil
        case .heading: "\u{1b}[1m"
        case .faint: "\u{1b}[2m"
        case .warning: "\u{1b}[33m"
        case .bad: "\u{1b}[31m"
        }
    }
}

/// What a command shows at once: tables, lines, facts under headings.
struct Page: Equatable {
    /// A line in pieces of one tone each.
    struct Line: Equatable {
        private(set) var spans: [Cell] = []

        init() {}

        init(_ text: String, _ tone: Tone = .plain) {
            append(DisplayText.sanitized(text), tone)
        }

        /// Adds a piece; pieces of one tone become one. The caller has sanitized it.
        mutating func append(_ text: String, _ tone: Tone) {
            guard !text.isEmpty else { return }
            if let last = spans.last, last.tone == tone {
                spans[spans.count - 1] = Cell(last.text + text, tone)
            } else {
                spans.append(Cell(text, tone))
            }
        }

        /// The longest start of the line that takes at most `columns`, with `…` at its end when something was cut.
        func cut(to columns: Int) -> Line {
            guard spans.reduce(0, { $0 + DisplayText.width($1.text) }) > columns else { return self }
            var cut = Line()
            var room = columns
            for span in spans {
                let width = DisplayText.width(span.text)
                // A piece that fills the room would leave none for the mark.
                guard width < room else {
                    cut.append(DisplayText.cut(span.text + " ", to: room), span.tone)
                    break
                }
                cut.append(span.text, span.tone)
                room -= width
            }
            return cut
        }

        func text(isStyled: Bool) -> String {
            spans.reduce(into: "") { text, span in
                guard isStyled, let sequence = span.tone.sequence else { return text += span.text }
                text += sequence + span.text + "\u{1b}[0m"
            }
        }
    }

    private enum Block: Equatable {
        case table(Table)
        case line(Line)
        /// The line under tables; what follows it when columns were left out of them.
        case totals(String, hint: String)
    }

    private var blocks: [Block] = []

    mutating func append(_ table: Table) {
        blocks.append(.table(table))
    }

    /// Adds a line of text.
    mutating func append(_ text: String, _ tone: Tone = .plain) {
        blocks.append(.line(Line(text, tone)))
    }

    /// Adds the line that sums up the tables before it. It says how many of their columns had no room, and then `hint`.
    mutating func append(totals: String, hint: String) {
        blocks.append(.totals(totals, hint: hint))
    }

    mutating func append(_ line: Line) {
        blocks.append(.line(line))
    }

    /// Adds all of another page.
    mutating func append(_ page: Page) {
        blocks += page.blocks
    }

    /// Adds labels and values under a heading; nothing when there are none.
    mutating func append(heading: String, facts: [(label: String, value: String)]) {
        guard !facts.isEmpty else { return }
        if !blocks.isEmpty { append("") }
        append(heading, .heading)
        let width = facts.reduce(0) { max($0, DisplayText.width($1.label)) }
        for (label, value) in facts {
            let padding = String(repeating: " ", count: width - DisplayText.width(label))
            append(value.isEmpty ? "  " + label : "  " + label + padding + "  " + value)
        }
    }

    /// The page as text, every line ended.
    ///
    /// - Parameters:
    ///   - surface: What it is shown on. Tables do without columns and are cut to its width; tones show where they can
    ///     be seen.
    ///   - fits: Whether all that has no room is cut: the ends of lines, and lines before the last, the totals. A page
    ///     that is redrawn has to fit.
    func text(on surface: Surface, fits: Bool = false) -> String {
        let lines = fits ? linesFitting(surface) : lines(columns: surface.columns)
        return lines.reduce(into: "") { $0 += $1.text(isStyled: surface.isStyled) + "\n" }
    }

    private func lines(columns: Int?) -> [Line] {
        var leftOut = 0
        return blocks.flatMap { block in
            switch block {
            case .table(let table):
                let fitting = columns.map(table.fitting) ?? table
                leftOut += table.headings.count - fitting.headings.count
                return fitting.lines(columns: columns)
            case .line(let line): return [line]
            case .totals(let text, _) where leftOut == 0: return [Line(text)]
            case .totals(let text, let hint):
                return [Line("\(text); \(leftOut) \(leftOut == 1 ? "column" : "columns") left out\(hint)")]
            }
        }
    }

    private func linesFitting(_ surface: Surface) -> [Line] {
        var lines = lines(columns: surface.columns)
        // The cursor stands on a line of its own under the page.
        if let rows = surface.rows.map({ max($0 - 1, 1) }), lines.count > rows {
            lines = lines.prefix(rows - 1) + lines.suffix(1)
        }
        return surface.columns.map { columns in lines.map { $0.cut(to: columns) } } ?? lines
    }
}

/// What text is shown on.
struct Surface: Equatable {
    /// Whether colours are seen and wanted.
    var isStyled: Bool
    /// Whether a page can take the place of the one before.
    var isRedrawn: Bool
    /// Its size, if it has one.
    var columns: Int?
    var rows: Int?

    /// A file or a pipe.
    static let plain = Surface(isStyled: false, isRedrawn: false, columns: nil, rows: nil)
}
