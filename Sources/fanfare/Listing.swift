import FanfareModel

/// A column of a listing: where its values come from and how people read them.
struct Column: Sendable {
    enum Format: Sendable {
        case text
        case count
        case rate
        case age
        /// A duration of a few milliseconds, with its fraction.
        case lag
        case bytes
        /// The rest of a membership's life; nil when it lives with its owner.
        case expiry
        /// `up`, or the milliseconds since the connection broke.
        case link
        /// One of the row's attributes.
        case attribute(String)
    }

    /// When a value stands out.
    enum Alarm: Sendable {
        case never
        /// Something was lost.
        case aboveZero
        /// Later than this many milliseconds.
        case above(milliseconds: Double)
        /// As much as another column says there may be.
        case fills(String)
        /// Any other text than these.
        case otherThan([String])
    }

    let heading: String
    /// The name of the column on the wire.
    let field: String
    let format: Format
    /// What the column's sum is called in the line of totals, things that are counted first; `nil` for no sum.
    var sum: String?
    var alarm = Alarm.never
    /// Whether it is shown without being asked for.
    var isUsual = true
    /// How soon it is left out where there is no room, the highest first; 0 for never.
    var expendable = 0

    init(
        _ heading: String,
        _ field: String,
        _ format: Format,
        sum: String? = nil,
        alarm: Alarm = .never,
        isUsual: Bool = true,
        expendable: Int = 0
    ) {
        (self.heading, self.field, self.format) = (heading, field, format)
        (self.sum, self.alarm, self.isUsual, self.expendable) = (sum, alarm, isUsual, expendable)
    }

    var alignment: Table.Alignment {
        switch format {
        case .text, .attribute: .left
        case .count, .rate, .age, .lag, .bytes, .expiry, .link: .right
        }
    }

    /// Whether the broker can order by it.
    var ordersRows: Bool { field != "attributes" }

    /// The name of the column where it was chosen by `--columns` and is shown as JSON.
    var key: String {
        if case .attribute(let name) = format { name } else { field }
    }

    /// The value of this column in `row`, null for what the broker did not say.
    func value(_ row: MessageValue) -> MessageValue {
        let value = row[field] ?? .null
        if case .attribute(let name) = format { return value[name] ?? .null }
        return value
    }

    /// The cell of this column in `row`; `-` for what the broker did not say.
    func cell(_ row: MessageValue) -> Cell {
        let value = value(row)
        return Cell(value == .null && !isExpiry ? CellText.absent : text(value), tone(value, row))
    }

    /// `value` for people.
    func text(_ value: MessageValue) -> String {
        switch format {
        case .text, .count, .attribute: CellText.plain(value)
        case .rate: value.double.map { HumanNumbers.fixed($0, digits: 1) } ?? CellText.absent
        case .age: value.int.map(HumanNumbers.age) ?? CellText.absent
        case .lag: value.double.map(HumanNumbers.lag) ?? CellText.absent
        case .bytes: value.int.map(HumanNumbers.bytes) ?? CellText.absent
        case .expiry: value.int.map(HumanNumbers.age) ?? "with owner"
        case .link: value.int.map { "gone " + HumanNumbers.age(milliseconds: $0) } ?? CellText.plain(value)
        }
    }

    private var isExpiry: Bool {
        if case .expiry = format { true } else { false }
    }

    private func tone(_ value: MessageValue, _ row: MessageValue) -> Tone {
        switch alarm {
        case .never: return .plain
        case .aboveZero: return (value.double ?? 0) > 0 ? .bad : .plain
        case .above(let milliseconds): return (value.double ?? 0) > milliseconds ? .warning : .plain
        case .fills(let field):
            guard let value = value.double, let whole = row[field]?.double, whole > 0 else { return .plain }
            return value >= whole ? .bad : value >= 0.8 * whole ? .warning : .plain
        case .otherThan(let texts):
            return value == .null || value.string.map(texts.contains) ?? false ? .plain : .warning
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
    /// All there are, in the order people read.
    let columns: [Column]
    /// What `--top` orders by unless `--sort` says otherwise.
    let topField: String
    /// The text whose sums stand under the table, each value's own, and what is summed up.
    var breakdown: (by: String, sum: String)?

    /// The columns that are shown unless others are chosen.
    var usual: [Column] {
        columns.filter(\.isUsual)
    }

    /// The column a user means: a wire name (`age_milliseconds`) or a heading (`AGE`, `rate/s`).
    func column(named text: String) -> Column? {
        let folded = text.lowercased()
        let named = folded.replacing("-", with: "_")
        return columns.first { $0.heading.lowercased() == folded }
            ?? columns.first { $0.key == named }
            ?? columns.first { $0.heading.lowercased() == named.replacing("_", with: "-") }
    }

    /// The wire name of the column to order rows by.
    ///
    /// - Throws: ``ProgramFailure`` with exit `usage` that names those there are.
    func order(named name: String) throws -> String {
        if let column = column(named: name), column.ordersRows { return column.field }
        let known = columns.filter(\.ordersRows).map { $0.heading.lowercased() }.joined(separator: ",")
        throw ProgramFailure(.usage, "--sort names \"\(name)\"; \(noun.many) are ordered by one of: \(known)")
    }

    /// The columns of a list such as `group,members`, in its order.
    ///
    /// - Throws: ``ProgramFailure`` with exit `usage` that names those there are.
    func columns(named list: String) throws -> [Column] {
        try list.split(separator: ",", omittingEmptySubsequences: false).map { name in
            if let column = column(named: String(name)) { return column }
            let known = columns.map { $0.heading.lowercased() }.joined(separator: ",")
            throw ProgramFailure(.usage, "--columns names \"\(name)\"; \(noun.many) have: \(known)")
        }
    }

    /// The table of an answer and the line of totals under it.
    ///
    /// Rows of several namespaces, or of another than the usual one, get a first column that says which, unless the
    /// question named one.
    ///
    /// - Parameters:
    ///   - chosen: The columns to show instead of the usual ones; none of them is left out.
    ///   - hasOptions: Whether the command has those the last line hints at: `--columns`, `--cursor` and `--all`.
    func page(
        _ answer: MessageValue,
        namespace: String?,
        chosen: [Column]? = nil,
        hasOptions: Bool = true
    ) -> Page {
        let rows = answer["rows"]?.array ?? []
        let shown = chosen ?? usualColumns(rows, namespace)
        var table = Table(shown.map { ($0.heading, $0.alignment, chosen == nil ? $0.expendable : 0) })
        for row in rows { table.append(shown.map { $0.cell(row) }) }
        var page = Page()
        page.append(table)
        page.append("")
        page.append(totals: totals(rows.count, answer, hasOptions), hint: hasOptions ? ", see --columns" : "")
        return page
    }

    /// The usual columns, and the namespace where it tells rows apart.
    private func usualColumns(_ rows: [MessageValue], _ namespace: String?) -> [Column] {
        let usual = usual
        let isForeign = { (row: MessageValue) in
            row["namespace"].map { $0 != .string(Protocol.namespaceDefault) } ?? false
        }
        guard namespace == nil, !usual.contains(where: { $0.field == "namespace" }), rows.contains(where: isForeign)
        else { return usual }
        return [Column("NAMESPACE", "namespace", .text)] + usual
    }

    /// What one of the things a sum counts is called: `message in` for `messages in`. Others have no plural.
    private static func singular(_ name: String) -> String {
        let words = name.split(separator: " ", maxSplits: 1)
        guard let first = words.first, first.last == "s" else { return name }
        return ([first.dropLast()] + words.dropFirst()).joined(separator: " ")
    }

    /// How many rows matched and what they sum up to, as the broker says it: not only those that are shown.
    private func totals(_ shown: Int, _ answer: MessageValue, _ hasOptions: Bool) -> String {
        let total = answer["total"]?.int ?? Int64(shown)
        var line = "\(total) \(total == 1 ? noun.one : noun.many)"
        let sums = columns.compactMap { column -> String? in
            guard let name = column.sum, let sum = answer["totals"]?[column.field], sum.double != nil else {
                return nil
            }
            return "\(column.text(sum)) \(sum == 1 ? Self.singular(name) : name)"
        }
        if !sums.isEmpty { line += ": " + sums.joined(separator: ", ") }
        if let breakdown, let sums = answer[breakdown.sum + "_by_" + breakdown.by]?.map, !sums.isEmpty {
            let parts = sums.sorted { $0.key < $1.key }.map { "\(CellText.plain($0.value)) \($0.key)" }
            line += " (" + parts.joined(separator: ", ") + ")"
        }
        if shown < total { line += "; \(shown) shown" }
        if hasOptions, let cursor = answer["cursor"]?.string {
            line += (shown < total ? "," : ";") + " more with --cursor '\(cursor)' or --all"
        }
        if answer["partial"]?.bool == true { line += "; partial" }
        return line
    }
}
