import ArgumentParser
import FanfareModel

/// What a listing shows and in which order; the broker chooses the rows.
struct ListingOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Only names that match, as the argument.", valueName: "glob"))
    var match: String?

    @Option(
        help: ArgumentHelp(
            "Show these, in this order: headings of the table or keys of the JSON, between commas.",
            valueName: "columns"
        ),
        completion: .columns
    )
    var columns: String?

    @Option(
        help: ArgumentHelp(
            "Order by this column, a heading of the table or a key of the JSON; not by pid and attributes.",
            valueName: "column"
        ),
        completion: .orders
    )
    var sort: String?

    @Flag(help: "The largest first.")
    var descending = false

    @Option(
        help: ArgumentHelp(
            "The N largest: --descending --limit N, by --sort or the listing's main number.",
            valueName: "n"
        )
    )
    var top: Int?

    @Option(
        help: ArgumentHelp(
            "Rows at most, 1 to \(Walk.rowsMaximum); \(Self.rowsStandard) unless --jsonl shows all.",
            valueName: "n"
        )
    )
    var limit: Int?

    @Option(
        name: .customLong("budget"),
        help: ArgumentHelp(
            "How long the broker may look before it answers with what it has seen, 1 to 10000.",
            valueName: "milliseconds"
        )
    )
    var budgetMilliseconds: UInt64?

    /// Rows of a listing when nobody says how many.
    private static let rowsStandard = 100
    private static let budgetAllowed: ClosedRange<UInt64> = 1...10_000

    func validate() throws {
        guard top == nil || limit == nil else {
            throw ValidationError("--top N is a limit too; leave one of --top and --limit out")
        }
        for (name, rows) in [("--top", top), ("--limit", limit)] {
            guard let rows, !(1...Walk.rowsMaximum).contains(rows) else { continue }
            throw ValidationError("\(name) is \(rows); it must be 1 to \(Walk.rowsMaximum)")
        }
        if let budgetMilliseconds, !Self.budgetAllowed.contains(budgetMilliseconds) {
            throw ValidationError("--budget is \(budgetMilliseconds); it must be 1 to 10000 milliseconds")
        }
    }

    /// The question these options ask of `listing`.
    ///
    /// - Throws: A usage error when there are two patterns.
    func query(
        _ listing: Listing,
        name: String? = nil,
        glob: String? = nil,
        namespace: String?
    ) throws -> InspectionQuery {
        guard glob == nil || match == nil else {
            throw ValidationError("--match says what the argument says, too; leave one of them out")
        }
        var query = InspectionQuery(listing.subject)
        query.name = name
        query.namespace = namespace
        query.match = (glob ?? match).map { Glob($0) }
        query.sort = try sort.map(listing.order)
        query.descending = descending || top != nil
        if top != nil, sort == nil { query.sort = listing.topField }
        if let budgetMilliseconds { query.budget = Milliseconds(budgetMilliseconds) }
        return query
    }

    /// The columns that were chosen; `nil` for the usual ones.
    func chosen(_ listing: Listing) throws -> [Column]? {
        try columns.map(listing.columns(named:))
    }

    /// How many rows are wanted; `nil` for every one.
    ///
    /// - Parameters:
    ///   - isAll: Whether the user wants all of them.
    ///   - isStream: Whether rows are written as they come, so that none is too many.
    func rows(isAll: Bool, isStream: Bool) throws -> Int? {
        guard let rows = top ?? limit else {
            return isStream ? nil : isAll ? Walk.rowsMaximum : Self.rowsStandard
        }
        guard !isAll else { throw ValidationError("--all shows every row; leave --top and --limit out") }
        return rows
    }
}

/// Where a listing begins and whether it goes on to its end.
struct PageOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Go on where an earlier listing ended; its last line says the cursor.", valueName: "cursor")
    )
    var cursor: String?

    @Flag(name: .customLong("all"), help: "Every row, page after page, up to \(Walk.rowsMaximum).")
    var isAll = false

    /// The walk these options ask for.
    ///
    /// - Throws: A usage error when `options` already say how many.
    func walk(_ listing: Listing, _ query: InspectionQuery, _ options: ListingOptions, isStream: Bool) throws -> Walk {
        var query = query
        query.cursor = cursor
        return Walk(listing, query, rows: try options.rows(isAll: isAll, isStream: isStream))
    }
}

/// A command that shows a listing page by page, as its options say.
protocol ListingCommand: AsyncParsableCommand {
    var listing: ListingOptions { get }
    var pages: PageOptions { get }
    var watch: WatchOptions { get }
    var global: GlobalOptions { get }
}

extension ListingCommand {
    /// Asks for the rows of `query` and shows them.
    ///
    /// - Throws: A usage error when the options do not go together, and what the broker answers.
    func show(_ subject: Listing, _ query: InspectionQuery) async throws {
        let walk = try pages.walk(subject, query, listing, isStream: global.wantsJSONLines)
        try await Display(global, watch).run(subject, walk, try listing.chosen(subject), global)
    }
}

/// Showing the same again and again.
struct WatchOptions: ParsableArguments {
    /// Between two answers, where `--watch` stands alone.
    static let secondsDefault = 2.0
    private static let secondsAllowed = 0.1...3_600.0

    @Option(
        help: ArgumentHelp(
            "Show it again every so many seconds (\(Int(secondsDefault)) when left out) until Ctrl-C.",
            valueName: "seconds"
        )
    )
    var watch: Double?

    func validate() throws {
        guard let watch, !Self.secondsAllowed.contains(watch) else { return }
        throw ValidationError("--watch is \(watch); it must be 0.1 to 3600 seconds")
    }

    /// `arguments` with its number after every `--watch` that has none: `groups --watch 'chat.*'` means the pattern.
    static func spelledOut(_ arguments: [String]) -> [String] {
        let options = arguments.prefix { $0 != "--" }
        return arguments.enumerated().map { index, argument in
            guard argument == "--watch", index < options.count else { return argument }
            let next = index + 1 < options.count ? arguments[index + 1] : ""
            return Double(next) == nil ? "--watch=\(Int(secondsDefault))" : argument
        }
    }
}
