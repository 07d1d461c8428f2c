package import FanfareModel

/// One `INSPECT` under way: what it asks, how far it has come, the best rows so far and what all of them add up to.
///
/// It walks a table in slices, between which anything may come and go. It holds places of the table and no part of it; a
/// place is looked at again when its row is built, and a row that is no longer there is left out. A name can be in one
/// place only, so no row comes twice.
package struct Inspection {
    package let query: InspectionQuery
    /// The places to look at when they are not all of the table's.
    let places: [UInt32]?
    /// The groups whose members are asked for.
    let groups: [GroupSlot]
    private let rowsScanned: Int
    private let sort: Int
    private var next = 0
    private var scanned = 0
    private var matched = 0
    private var best: BestRows
    private var sums: [ColumnSum]
    private var isLookedThrough = false
    private(set) var isPartial = false
    private var chosen: [RowCandidate] = []
    private var built: [(position: RowPosition, row: [String: MessageValue])] = []
    private var builtCount = 0
    /// Of `status`: when the oldest waiting message seen so far was accepted.
    private(set) var oldest: Instant?

    /// What building a row costs, in rows looked at.
    private static let buildingSteps = 16

    /// - Parameters:
    ///   - columns: The listing's columns.
    ///   - places: The places to look at; `nil`: all of the table's.
    /// - Throws: `bad_request` for a bad order, limit or cursor.
    init<Column: ListingColumn>(
        _ query: InspectionQuery,
        _ columns: Column.Type,
        places: [UInt32]? = nil,
        groups: [GroupSlot] = [],
        _ limits: Limits
    ) throws(Failure) {
        guard (1...1_000).contains(query.limit) else {
            throw Failure(.badRequest, "INSPECT: limit is \(query.limit), it must be 1 to 1000")
        }
        let all = Column.allCases
        let wanted = query.sort.map { sort in all.firstIndex { $0.rawValue == sort && $0.ordersRows } } ?? 0
        guard let sort = wanted else {
            let known = all.filter(\.ordersRows).map(\.rawValue).joined(separator: ", ")
            throw Failure(.badRequest, "INSPECT: no order by \"\(query.sort ?? "")\"; one of: \(known)")
        }
        self.query = query
        self.places = places
        self.groups = groups
        self.sort = sort
        rowsScanned = limits.rowsScanned
        let limit = min(query.limit, limits.rowsReturned)
        let after = try query.cursor.map { text throws(Failure) in try RowPosition(cursor: text) }
        best = BestRows(limit: limit, descending: query.descending, after: after)
        sums = all.filter(\.addsUp).map { _ in ColumnSum() }
    }

    /// Looks at no further rows: the answer is what was found so far. It still has to proceed to its end.
    package mutating func stop() {
        guard !isLookedThrough else { return }
        isPartial = true
        endLooking()
    }

    private mutating func endLooking() {
        isLookedThrough = true
        chosen = best.take()
    }

    /// Goes on for `steps` rows.
    ///
    /// - Returns: The answer when it is complete.
    mutating func proceed<Rows: Listing>(through rows: Rows, _ steps: Int) -> MessageValue? {
        var left = steps
        if !isLookedThrough { look(through: rows, &left) }
        while isLookedThrough, left > 0, builtCount < chosen.count {
            build(chosen[builtCount], of: rows)
            builtCount += 1
            left -= Self.buildingSteps
        }
        // No conditional expression: nil is a message value too.
        guard isLookedThrough, builtCount == chosen.count else { return nil }
        return answer(Rows.Column.self)
    }

    private mutating func look<Rows: Listing>(through rows: Rows, _ left: inout Int) {
        let order = Rows.Column.allCases[sort]
        let adding = Rows.Column.allCases.filter(\.addsUp)
        let end = rows.placeCount
        while next < end, left > 0 {
            left -= 1
            let place = next
            guard rows.hasRow(place) else {
                next += 1
                continue
            }
            guard scanned < rowsScanned else { return stop() }
            next += 1
            scanned += 1
            guard rows.isAsked(place) else { continue }
            matched += 1
            if !rows.addsNothing(place) {
                for index in adding.indices { sums[index].add(rows.value(adding[index], place)) }
            }
            best.consider(SortKey(rows.value(order, place)), place) { rows.identity(place) }
        }
        if next >= end { endLooking() }
    }

    private mutating func build<Rows: Listing>(_ candidate: RowCandidate, of rows: Rows) {
        let place = candidate.place
        guard place < rows.placeCount, rows.hasRow(place), rows.identity(place) == candidate.position.identity else {
            return
        }
        var row = rows.details(place)
        for column in Rows.Column.allCases { row[column.rawValue] = rows.value(column, place) }
        // What is shown is in order, also where it has changed since it was looked at.
        let key = SortKey(rows.value(Rows.Column.allCases[sort], place))
        built.append((RowPosition(key: key, identity: candidate.position.identity), row))
    }

    private mutating func answer<Column: ListingColumn>(_ columns: Column.Type) -> MessageValue {
        let rows = built.sorted { $0.position.isBefore($1.position, descending: query.descending) }
        let adding = columns.allCases.filter(\.addsUp)
        let totals = zip(adding, sums).map { ($0.rawValue, $1.value) }
        var answer: [String: MessageValue] = [
            "rows": .array(rows.map { .map($0.row) }), "total": .count(matched),
            "totals": .map(Dictionary(uniqueKeysWithValues: totals)),
        ]
        if chosen.count < best.count, let last = chosen.last { answer["cursor"] = .string(last.position.cursor) }
        if isPartial { answer["partial"] = true }
        return .map(answer)
    }

    /// Of `status`: looks at `steps` mailboxes for the oldest message that waits.
    ///
    /// - Returns: Whether that was all.
    mutating func proceed(through mailboxes: Slab<Mailbox>, _ steps: Int) -> Bool {
        let end = min(mailboxes.placeCount, steps < mailboxes.placeCount - next ? next + steps : Int.max)
        while !isLookedThrough, next < end {
            if let slot = mailboxes.slot(UInt32(next)), let first = mailboxes[slot].queue.first {
                oldest = min(oldest ?? first.acceptedAt, first.acceptedAt)
            }
            next += 1
        }
        return isLookedThrough || next >= mailboxes.placeCount
    }
}
