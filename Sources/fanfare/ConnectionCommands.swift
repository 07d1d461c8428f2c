import ArgumentParser
import FanfareClient
import FanfareModel

struct WorkersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "workers",
        abstract: "The processes that hold channels: workers and applications."
    )

    @Argument(help: "Only processes whose name matches.") var glob: String?
    @Flag(name: .customLong("all"), help: "Every connection, also those that hold no channels.") var isAll = false
    @OptionGroup var listing: ListingOptions
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    /// The broker cannot tell the two apart in a query, so all sessions pass here; there are thousands at most.
    func walk() throws -> Walk {
        let query = try listing.query(isAll ? .sessions : .workers, glob: glob, namespace: global.namespace)
        let rows = try listing.rows(isAll: false, isStream: global.wantsJSONLines)
        return Walk(.sessions, query, rows: rows, keeping: isAll ? .all : .owners)
    }

    func run() async throws {
        let subject = isAll ? Listing.sessions : .workers
        try await Display(global, watch).run(subject, try walk(), try listing.chosen(subject), global)
    }
}

struct SessionsCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "sessions",
        abstract: "Every connection: what passes on it, how long a round trip takes, what it lost.",
        discussion: "LAG is the last round trip through the connection's queue, or how long one has been unanswered."
    )

    @Argument(help: "Only processes whose name matches.") var glob: String?
    @OptionGroup var listing: ListingOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        try await show(.sessions, try listing.query(.sessions, glob: glob, namespace: global.namespace))
    }
}

struct ClosedCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "closed",
        abstract: "The last 10000 connections that ended: when, whose, why, after how long.",
        discussion: """
            Reasons: goodbye, connection_lost (and its program did not come back in time), process_ended, kicked, \
            silence, link_overflow, drained, stopping; else the error it was refused or closed with, such as \
            unauthorized or malformed_frame.
            """
    )

    @Argument(help: "Only processes whose name matches.") var glob: String?
    @Option(help: ArgumentHelp("Only those that ended for this reason.", valueName: "reason")) var reason: ClosedReason?
    @OptionGroup var listing: ListingOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    func walk() throws -> Walk {
        var query = try listing.query(.closed, glob: glob, namespace: global.namespace)
        query.reason = reason?.name
        return try pages.walk(.closed, query, listing, isStream: global.wantsJSONLines)
    }

    func run() async throws {
        try await Display(global, watch).run(.closed, try walk(), try listing.chosen(.closed), global)
    }
}
