import FanfareModel

/// One inspected thing before its row is built: enough to order it and to find it again.
struct Candidate<Reference> {
    var reference: Reference
    /// Namespace and name, or what else tells this row from all others.
    var identity: String
    var key: SortKey
}

/// A value rows are ordered by.
enum SortKey: Comparable {
    case number(Double)
    case text(String)
}

/// A column rows may be ordered by, and how to read it.
struct Column<Reference> {
    let name: String
    let key: (Reference) -> SortKey
}

/// Orders, pages and bounds the rows of one inspection.
///
/// Only the rows of the page are built. The cursor holds the last row's key and identity, so a page is right
/// whatever came and went in between, and the broker remembers nothing.
struct Page<Reference> {
    private let query: InspectionQuery
    private let column: Column<Reference>
    private let limits: Limits
    private var candidates: [Candidate<Reference>] = []
    private var scanned = 0
    private var isPartial = false

    init(_ query: InspectionQuery, columns: [Column<Reference>], limits: Limits) throws(Failure) {
        self.query = query
        self.limits = limits
        guard (1...1_000).contains(query.limit) else {
            throw Failure(.badRequest, "INSPECT: limit is \(query.limit), it must be 1 to 1000")
        }
        guard let column = query.sort.map({ sort in columns.first { $0.name == sort } }) ?? columns[0] else {
            let known = columns.map(\.name).joined(separator: ", ")
            throw Failure(.badRequest, "INSPECT: no order by \"\(query.sort ?? "")\"; one of: \(known)")
        }
        self.column = column
    }

    /// Takes up a row that matches. Returns false when the scan bound is reached and the caller should stop.
    mutating func consider(_ reference: Reference, identity: @autoclosure () -> String, matches: Bool) -> Bool {
        scanned += 1
        guard scanned <= limits.rowsScanned else {
            isPartial = true
            return false
        }
        if matches {
            candidates.append(Candidate(reference: reference, identity: identity(), key: column.key(reference)))
        }
        return true
    }

    /// The answer: rows of this page in order, how many matched, and where the next page starts.
    func answer(_ row: (Reference) -> [String: MessageValue]) throws(Failure) -> MessageValue {
        let last = try query.cursor.map { text throws(Failure) in try Self.position(text) }
        let remaining = candidates.filter { candidate in
            last.map { isBefore($0, (candidate.key, candidate.identity)) } ?? true
        }
        let ordered = remaining.sorted { isBefore(($0.key, $0.identity), ($1.key, $1.identity)) }
        let page = ordered.prefix(min(query.limit, limits.rowsReturned))
        var answer: [String: MessageValue] = [
            "rows": .array(page.map { .map(row($0.reference)) }), "total": .count(candidates.count),
        ]
        if page.count < ordered.count, let end = page.last { answer["cursor"] = .string(Self.cursor(end)) }
        if isPartial { answer["partial"] = true }
        return .map(answer)
    }

    private func isBefore(_ left: (SortKey, String), _ right: (SortKey, String)) -> Bool {
        if left.0 != right.0 { return (left.0 < right.0) != query.descending }
        return left.1 < right.1
    }

    private static func cursor(_ candidate: Candidate<Reference>) -> String {
        switch candidate.key {
        case .number(let number): "n\(String(number.bitPattern, radix: 16)) \(candidate.identity)"
        case .text(let text): "t\(text) \(candidate.identity)"
        }
    }

    private static func position(_ cursor: String) throws(Failure) -> (SortKey, String) {
        let parts = cursor.dropFirst().split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
        if parts.count == 2 {
            if cursor.first == "t" { return (.text(String(parts[0])), String(parts[1])) }
            if cursor.first == "n", let bits = UInt64(parts[0], radix: 16) {
                return (.number(Double(bitPattern: bits)), String(parts[1]))
            }
        }
        throw Failure(.badRequest, "INSPECT: the cursor is none that this broker gave")
    }
}
