import FanfareModel

/// Pages of a listing put together: what to ask next, what is kept, what it sums up to. Without I/O.
///
/// A listing the broker can filter is walked until enough rows have come. One it cannot is walked to its end, so that
/// its count and its sums are true.
struct Walk: Sendable {
    /// Rows to keep; those of other kinds the broker cannot tell apart.
    enum Kept: Sendable, Equatable {
        case all
        /// Sessions that hold channels.
        case owners
        /// What happened within this time.
        case within(Milliseconds)

        func keeps(_ row: MessageValue) -> Bool {
            switch self {
            case .all: true
            case .owners: row["node"]?.string != nil
            case .within(let age): (row["age_milliseconds"]?.double ?? .infinity) <= Double(age.value)
            }
        }
    }

    /// Rows kept at most where they are collected. A longer listing ends with the cursor to go on from.
    static let rowsMaximum = 200_000
    /// The largest page a broker gives.
    static let pageRows = Limits().rowsReturned

    private let query: InspectionQuery
    private let kept: Kept
    /// Rows wanted; `nil` for every one.
    private let wanted: Int?
    private let listing: Listing
    private var taken = 0
    private var counted: Int64 = 0
    private var sums: [String: MessageValue] = [:]
    private var parts: [String: MessageValue] = [:]
    private var last: MessageValue = .null
    private var isPartial = false

    init(_ listing: Listing, _ query: InspectionQuery, rows wanted: Int?, keeping kept: Kept = .all) {
        (self.listing, self.query, self.wanted, self.kept) = (listing, query, wanted, kept)
    }

    /// Whether every row has to be seen to tell what they sum up to.
    private var isExhaustive: Bool { kept != .all || listing.breakdown != nil }

    /// The question to begin with.
    var first: InspectionQuery {
        var first = query
        first.limit = isExhaustive ? Self.pageRows : min(rowsLeft, Self.pageRows)
        return first
    }

    private var rowsLeft: Int { (wanted ?? .max) - taken }

    /// Takes one answer.
    ///
    /// - Returns: The rows of it that belong to the walk, and what to ask next; `nil` when the walk is over.
    mutating func take(_ answer: MessageValue) -> (rows: [MessageValue], next: InspectionQuery?) {
        last = answer
        isPartial = isPartial || answer["partial"]?.bool == true
        let page = answer["rows"]?.array ?? []
        let rows = page.filter(kept.keeps)
        if isExhaustive { rows.forEach { count($0) } }
        let shown = Array(rows.prefix(rowsLeft))
        taken += shown.count
        // A broker without time gives no rows, and would give none again.
        guard let cursor = answer["cursor"]?.string, !page.isEmpty, isExhaustive || rowsLeft > 0 else {
            return (shown, nil)
        }
        var next = first
        next.cursor = cursor
        return (shown, next)
    }

    private mutating func count(_ row: MessageValue) {
        counted += 1
        for column in listing.columns where column.sum != nil {
            sums[column.field] = Self.sum(sums[column.field], row[column.field])
        }
        guard let breakdown = listing.breakdown, let part = row[breakdown.by]?.string else { return }
        parts[part] = Self.sum(parts[part], row[breakdown.sum])
    }

    /// Integers stay integers, and end at the largest.
    private static func sum(_ left: MessageValue?, _ right: MessageValue?) -> MessageValue? {
        guard let left, let right, let rightNumber = right.double else { return left ?? right.flatMap(number) }
        guard let leftInteger = left.int, let rightInteger = right.int else {
            return .double((left.double ?? 0) + rightNumber)
        }
        let (sum, overflows) = leftInteger.addingReportingOverflow(rightInteger)
        return .int(overflows ? .max : sum)
    }

    private static func number(_ value: MessageValue) -> MessageValue? {
        // No conditional expression: nil is a message value too.
        guard value.double != nil else { return nil }
        return value
    }

    /// One answer for the whole walk, of the shape of a broker's, with these rows.
    func answer(_ rows: [MessageValue]) -> MessageValue {
        guard case .map(var whole) = last else { return last }
        whole["rows"] = .array(rows)
        if isPartial { whole["partial"] = .bool(true) }
        if isExhaustive {
            whole["total"] = .int(counted)
            whole["totals"] = .map(sums)
            whole["cursor"] = nil
            if let breakdown = listing.breakdown {
                whole[breakdown.sum + "_by_" + breakdown.by] = .map(parts)
            }
        }
        return .map(whole)
    }

    /// What there is to say of an answer that does not say all.
    var notice: String? {
        guard isPartial else { return nil }
        return "fanfare: partial: the broker stopped looking after \(query.budget.value) ms or at its bound of rows; "
            + "--budget gives it more time. Rows, count and sums are of what it had seen."
    }
}
