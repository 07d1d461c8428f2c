import ArgumentParser
import FanfareClient
import FanfareModel

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "What the broker holds, has done and has dropped."
    )

    @OptionGroup var global: GlobalOptions
    @OptionGroup var watch: WatchOptions

    func run() async throws {
        try await Display(global, watch).run(
            global,
            ask: { try await $0.inspect(InspectionQuery(.status)) },
            page: StatusPage.page
        )
    }
}

struct GroupsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "groups",
        abstract: "The groups: members, the processes that own them, messages and their rate."
    )

    @Argument(help: "Only groups whose name matches, such as 'chat.*'.") var glob: String?
    @OptionGroup var listing: ListingOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let query = listing.query(.groups, glob: glob, namespace: global.namespace)
        try await Display(global, watch).run(.groups, try pages.walk(query, listing), global)
    }
}

struct GroupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "group",
        abstract: "The members of one group: their process, its socket's remote address, their age."
    )

    @Argument(help: "The group.") var name: String
    @OptionGroup var listing: ListingOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let query = listing.query(.group, name: name, namespace: global.namespace)
        try await Display(global, watch).run(.group, try pages.walk(query, listing), global)
    }
}

struct ChannelsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "channels",
        abstract: "The channels: unread messages, the age of the oldest, capacity, readers, drops."
    )

    @Argument(help: "Only channels whose name matches, such as 'specific.*'.") var glob: String?
    @OptionGroup var listing: ListingOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let query = listing.query(.channels, glob: glob, namespace: global.namespace)
        try await Display(global, watch).run(.channels, try pages.walk(query, listing), global)
    }
}

struct ChannelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "channel",
        abstract: "Everything known of one channel, with its groups."
    )

    @Argument(help: "The channel.") var name: String
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    var query: InspectionQuery {
        var query = InspectionQuery(.channel)
        query.name = name
        query.namespace = global.namespace
        return query
    }

    func run() async throws {
        let query = query
        try await Display(global, watch).run(global, ask: { try await $0.inspect(query) }, page: StatusPage.channelPage)
    }
}

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
    var walk: (query: InspectionQuery, extent: Walk.Extent) {
        let query = listing.query(.sessions, glob: glob, namespace: global.namespace)
        return (query, isAll ? .page : .owners(limit: query.limit))
    }

    func run() async throws {
        try await Display(global, watch).run(isAll ? .sessions : .workers, walk, global)
    }
}

struct DropsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drops",
        abstract: "Messages that did not arrive: where, how many, why."
    )

    @Argument(help: "Only channels and groups whose name matches.") var glob: String?
    @OptionGroup var listing: ListingOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let query = listing.query(.drops, glob: glob, namespace: global.namespace)
        try await Display(global, watch).run(.drops, try pages.walk(query, listing), global)
    }
}

extension Display {
    /// Walks a listing and shows it.
    fileprivate func run(
        _ listing: Listing,
        _ walk: (query: InspectionQuery, extent: Walk.Extent),
        _ options: GlobalOptions
    ) async throws {
        let namespace = options.namespace
        try await run(
            options,
            ask: { layer in
                var pages = Walk(walk.query, walk.extent)
                var next: InspectionQuery? = pages.first
                while let query = next { next = pages.take(try await layer.inspect(query)) }
                return pages.answer
            },
            page: { listing.page($0, namespace: namespace) }
        )
    }
}
