import ArgumentParser
import FanfareModel

/// Order and size of a listing; the broker does both.
struct ListingOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Order by this column, a heading of the table or a key of the JSON.", valueName: "column")
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

    @Option(help: ArgumentHelp("Rows at most, 1 to \(Walk.pageRows).", valueName: "n"))
    var limit: Int?

    func validate() throws {
        guard top == nil || limit == nil else {
            throw ValidationError("--top N is a limit too; leave one of --top and --limit out")
        }
        for (name, rows) in [("--top", top), ("--limit", limit)] {
            guard let rows, !(1...Walk.pageRows).contains(rows) else { continue }
            throw ValidationError("\(name) is \(rows); it must be 1 to \(Walk.pageRows)")
        }
    }

    /// The question these options ask of `listing`.
    func query(_ listing: Listing, name: String? = nil, glob: String? = nil, namespace: String?) -> InspectionQuery {
        var query = InspectionQuery(listing.subject)
        query.name = name
        query.namespace = namespace
        query.match = glob.map { Glob($0) }
        query.sort = sort.map(listing.field)
        query.descending = descending || top != nil
        if top != nil, sort == nil { query.sort = listing.topField }
        if let rows = top ?? limit { query.limit = rows }
        return query
    }
}

/// Where a listing begins and how far it goes.
struct PageOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Go on where an earlier listing ended; its last line says the cursor.", valueName: "cursor")
    )
    var cursor: String?

    @Flag(name: .customLong("all"), help: "Every row, page after page, up to \(Walk.rowsMaximum).")
    var isAll = false

    /// The walk these options ask for.
    ///
    /// - Throws: A usage error when `listing` already says how many.
    func walk(_ query: InspectionQuery, _ listing: ListingOptions) throws -> (
        query: InspectionQuery, extent: Walk.Extent
    ) {
        guard !isAll || (listing.top == nil && listing.limit == nil) else {
            throw ValidationError("--all shows every row; leave --top and --limit out")
        }
        var query = query
        query.cursor = cursor
        return (query, isAll ? .all : .page)
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
