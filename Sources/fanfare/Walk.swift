import FanfareModel

/// Pages of a listing put together: what has come so far and what to ask next. Without I/O.
struct Walk {
    /// How far a walk goes.
    enum Extent: Sendable, Equatable {
        /// One answer, as it is.
        case page
        /// Until the broker has no more.
        case all
        /// Until the broker has no more, keeping rows with a node: `total` is then theirs, and `rows` at most `limit`.
        case owners(limit: Int)
    }

    /// Rows kept at most. A longer listing ends with the cursor to go on from.
    static let rowsMaximum = 200_000
    /// The largest page a broker gives.
    static let pageRows = Limits().rowsReturned

    private let extent: Extent
    private let query: InspectionQuery
    private var rows: [MessageValue] = []
    private var last: MessageValue = .null
    private var isPartial = false

    init(_ query: InspectionQuery, _ extent: Extent) {
        self.extent = extent
        self.query = query
    }

    /// The question to begin with.
    var first: InspectionQuery {
        var first = query
        if extent != .page { first.limit = Self.pageRows }
        return first
    }

    /// Takes one answer.
    ///
    /// - Returns: What to ask next; `nil` when the walk is over.
    mutating func take(_ answer: MessageValue) -> InspectionQuery? {
        last = answer
        isPartial = isPartial || answer["partial"]?.bool == true
        let page = answer["rows"]?.array ?? []
        switch extent {
        case .page: return nil
        case .all: rows += page
        case .owners: rows += page.filter { $0["node"]?.string != nil }
        }
        guard let cursor = answer["cursor"]?.string, rows.count < Self.rowsMaximum else { return nil }
        var next = first
        next.cursor = cursor
        return next
    }

    /// One answer for the whole walk, of the shape of a broker's.
    var answer: MessageValue {
        guard extent != .page, case .map(var whole) = last else { return last }
        whole["rows"] = .array(rows)
        if isPartial { whole["partial"] = .bool(true) }
        if case .owners(let limit) = extent {
            whole["total"] = .count(rows.count)
            whole["rows"] = .array(Array(rows.prefix(limit)))
            whole["cursor"] = nil
        }
        return .map(whole)
    }
}
