import FanfareCore
import FanfareModel

/// An inspection that goes on in slices while history does.
struct Look {
    typealias Row = [String: MessageValue]

    /// What passes by itself is no part of what rows are compared by.
    static let timely: Set = ["age_milliseconds", "rate", "oldest_milliseconds", "expires_milliseconds"]

    var inspection: Inspection
    /// Rows that have been as they are since it began.
    private var steady: Set<Row>
    /// Rows that were so at one time or another since.
    private var seen: Set<Row>

    init(_ inspection: Inspection, _ rows: [Row]) {
        self.inspection = inspection
        steady = Set(rows.map(Self.timeless))
        seen = steady
    }

    private static func timeless(_ row: Row) -> Row { row.filter { !timely.contains($0.key) } }

    /// Takes note of the rows there are now.
    mutating func see(_ rows: [Row]) {
        keep(rows)
        seen.formUnion(rows.map(Self.timeless))
    }

    /// Takes note of the rows there were for a moment that no slice can show: all others have not stayed.
    mutating func keep(_ rows: [Row]) { steady.formIntersection(rows.map(Self.timeless)) }

    /// What is wrong with the answer; `nil` when it is right.
    func complaint(about answer: MessageValue) -> String? {
        let rows = (answer["rows"]?.array ?? []).compactMap(\.map)
        let query = inspection.query
        let shown = Set(rows.map(Self.timeless))
        let names = rows.map { row in ["namespace", "channel", "group", "session"].map { row[$0] } }
        if query.subject != .drops, query.subject != .closed, Set(names).count != rows.count {
            return "a row came twice: \(names)"
        }
        if rows.count > query.limit { return "\(rows.count) rows, \(query.limit) were asked for" }
        if !shown.isSubset(of: seen) { return "rows that never were: \(shown.subtracting(seen))" }
        guard let total = answer["total"]?.int, total >= steady.count else {
            return "total \(String(describing: answer["total"])), \(steady.count) rows were there all the time"
        }
        // Of rows that fit the page none that stayed may be missing.
        if total <= query.limit, !steady.isSubset(of: shown) {
            return "rows that stayed are missing: \(steady.subtracting(shown))"
        }
        if (answer["cursor"] != nil) != (total > query.limit) { return "a cursor for \(total) rows by \(query.limit)" }
        if steady == seen, let complaint = wrongTotals(answer) { return complaint }
        return order(of: rows)
    }

    /// Of a table that did not change.
    private func wrongTotals(_ answer: MessageValue) -> String? {
        for (column, total) in answer["totals"]?.map ?? [:] where !Self.timely.contains(column) {
            let sum = steady.reduce(0.0) { $0 + ($1[column]?.double ?? 0) }
            // Counts of the wire end at the largest Int64.
            if total.double != min(sum, Double(Int64.max)) { return "\(column) adds up to \(total), it is \(sum)" }
        }
        return nil
    }

    private func order(of rows: [Row]) -> String? {
        guard let column = inspection.query.sort else { return nil }
        let isInOrder = zip(rows, rows.dropFirst()).allSatisfy { left, right in
            let (first, second) = inspection.query.descending ? (right, left) : (left, right)
            if let lower = first[column]?.string, let upper = second[column]?.string { return lower <= upper }
            return first[column]?.double ?? -1 <= second[column]?.double ?? -1
        }
        return isInOrder ? nil : "not in order of \(column): \(rows.map { $0[column] ?? .null })"
    }
}

extension Simulation {
    /// Lets the looks under way see what goes because time has passed. The event of the same step may bring it back, as
    /// it was but in another place: such rows may be missed.
    mutating func lookAtExpiry() throws(Difference) {
        guard !looks.isEmpty, let due = core.nextDeadline, due <= coreNow else { return }
        var (later, unheard) = (core, Effects())
        later.advance(to: coreNow, into: &unheard)
        for index in looks.indices { looks[index].keep(try rows(for: looks[index].inspection.query, in: later)) }
    }

    /// Goes on with the looks that are under way, and now and then begins one.
    mutating func lookOn(_ event: Event) throws(Difference) {
        // The process that answers is another one.
        if case .restart = event { looks.removeAll() }
        for index in looks.indices.reversed() {
            looks[index].see(try rows(for: looks[index].inspection.query, in: core))
            let steps = 1 + looker.below(24)
            let answer = core.proceed(&looks[index].inspection, steps: steps, now: coreNow, NothingObserved())
            guard let answer else { continue }
            if let complaint = looks[index].complaint(about: answer) {
                throw difference("inspection \(looks[index].inspection.query), in slices: \(complaint)", event)
            }
            looks.remove(at: index)
        }
        guard looker.below(100) == 0, looks.count < 2 else { return }
        let query = nextQuery()
        guard let inspection = try? core.beginInspection(query) else { return }
        looks.append(Look(inspection, try rows(for: query, in: core)))
    }

    private mutating func nextQuery() -> InspectionQuery {
        var query = InspectionQuery(looker.pick([.groups, .group, .channels, .sessions, .drops, .closed]))
        let columns: [InspectionQuery.Subject: [String]] = [
            .groups: ["group", "members", "drops"], .group: ["channel", "worker"],
            .channels: ["depth", "channel", "session"], .sessions: ["session", "memberships"],
            .drops: ["count", "name"], .closed: ["session", "drops"],
        ]
        query.name = query.subject == .group ? oracle.memberships.first?.group.name : nil
        query.sort = looker.pick(columns[query.subject] ?? [])
        query.descending = looker.chance(50)
        query.limit = looker.chance(30) ? 1 + looker.below(3) : 1_000
        return query
    }

    private func rows(for query: InspectionQuery, in core: Core) throws(Difference) -> [Look.Row] {
        var whole = query
        whole.limit = 1_000
        do throws(Failure) {
            return try core.inspect(whole, now: coreNow)["rows"]?.array?.compactMap(\.map) ?? []
        } catch {
            guard error.code == .notFound else { throw difference("inspection refused: \(error)", .pass) }
            return []
        }
    }
}
