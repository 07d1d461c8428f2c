import FanfareModel

/// A column of a listing: where its values come from and how people read them.
struct Column: Sendable {
    enum Format: Sendable {
        case text
        case count
        case rate
        case age
        case bytes
        /// The rest of a membership's life; nil when it lives with its owner.
        case expiry
        /// One of the row's attributes.
        case attribute(String)
    }

    let heading: String
    /// The name of the column on the wire.
    let field: String
    let format: Format
    /// What the column's sum is called in the line of totals; `nil` for no sum.
    var sum: String?

    var alignment: Table.Alignment {
        switch format {
        case .text, .attribute: .left
        case .count, .rate, .age, .bytes, .expiry: .right
        }
    }

    /// The cell of this column in `row`; `-` for what the broker did not say.
    func cell(_ row: MessageValue) -> String {
        let value = row[field] ?? .null
        switch format {
        case .text, .count: return CellText.plain(value)
        case .rate: return value.double.map { HumanNumbers.fixed($0, digits: 1) } ?? CellText.absent
        case .age: return value.int.map(HumanNumbers.age) ?? CellText.absent
        case .bytes: return value.int.map(HumanNumbers.bytes) ?? CellText.absent
        case .expiry: return value.int.map(HumanNumbers.age) ?? "with owner"
        case .attribute(let name): return CellText.plain(value[name] ?? .null)
        }
    }
}

/// Values of unknown shape as one line for people.
enum CellText {
    static let absent = "-"

    static func plain(_ value: MessageValue) -> String {
        switch value {
        case .null: absent
        case .string(let text): text.isEmpty ? absent : text
        case .int(let number): "\(number)"
        case .double(let number): "\(number)"
        case .bool(let bool): bool ? "yes" : "no"
        case .binary(let bytes): "\(bytes.count) bytes"
        case .array(let list): list.isEmpty ? absent : list.map(plain).joined(separator: " ")
        case .map(let map):
            map.isEmpty
                ? absent : map.sorted { $0.key < $1.key }.map { "\($0.key)=\(plain($0.value))" }.joined(separator: " ")
        }
    }
}

/// One listing of the broker and the table it is shown as.
struct Listing: Sendable {
    let subject: InspectionQuery.Subject
    /// What a row is, one and many.
    let noun: (one: String, many: String)
    let columns: [Column]
    /// What `--top` orders by unless `--sort` says otherwise.
    let topField: String

    /// The wire name of the column a user means: a wire name (`age_milliseconds`) or a heading (`AGE`, `rate/s`).
    /// Anything else is passed on as it is: the broker knows its columns and says so.
    func field(named text: String) -> String {
        let folded = text.lowercased()
        return columns.first { $0.heading.lowercased() == folded }?.field
            ?? columns.first { $0.field == folded.replacing("-", with: "_") }?.field
            ?? text
    }

    /// The table of an answer and the line of totals under it.
    ///
    /// Rows of several namespaces, or of another than the usual one, get a first column that says which, unless the
    /// question named one.
    func page(_ answer: MessageValue, namespace: String?) -> Page {
        let rows = answer["rows"]?.array ?? []
        let namespaceColumn = Column(heading: "NAMESPACE", field: "namespace", format: .text)
        let isForeign = { (row: MessageValue) in
            row["namespace"].map { $0 != .string(Protocol.namespaceDefault) } ?? false
        }
        let hasOwn = columns.contains { $0.field == namespaceColumn.field }
        let shown =
            !hasOwn && namespace == nil && rows.contains(where: isForeign) ? [namespaceColumn] + columns : columns

        var table = Table(shown.map { ($0.heading, $0.alignment) })
        for row in rows { table.append(shown.map { $0.cell(row) }) }
        var page = Page()
        page.append(table)
        page.append("")
        page.append(totals(rows, answer))
        return page
    }

    private func totals(_ rows: [MessageValue], _ answer: MessageValue) -> String {
        let total = answer["total"]?.int ?? Int64(rows.count)
        var line = "\(total) \(total == 1 ? noun.one : noun.many)"
        if rows.count < total { line = "\(rows.count) of \(line)" }
        let sums = columns.compactMap { column in column.sum.map { "\(sum(of: column, rows)) \($0)" } }
        if !sums.isEmpty { line += ": " + sums.joined(separator: ", ") }
        if let cursor = answer["cursor"]?.string { line += "; more with --cursor \(cursor) or --all" }
        if answer["partial"]?.bool == true { line += "; partial: the broker stopped at its scan bound" }
        return line
    }

    private func sum(of column: Column, _ rows: [MessageValue]) -> String {
        switch column.format {
        case .rate:
            return HumanNumbers.fixed(rows.reduce(0) { $0 + ($1[column.field]?.double ?? 0) }, digits: 1)
        default:
            let sum = rows.reduce(Int64(0)) { sum, row in
                let (value, overflows) = sum.addingReportingOverflow(row[column.field]?.int ?? 0)
                return overflows ? .max : value
            }
            return if case .bytes = column.format { HumanNumbers.bytes(sum) } else { "\(sum)" }
        }
    }
}
