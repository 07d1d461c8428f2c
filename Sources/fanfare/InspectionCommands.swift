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

struct GroupsCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "groups",
        abstract: "The groups: members, the processes that own them, messages and their rate."
    )

    @Argument(help: "Only groups whose name matches, such as 'chat.*'.", completion: .groups) var glob: String?
    @OptionGroup var listing: ListingOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        try await show(.groups, try listing.query(.groups, glob: glob, namespace: global.namespace))
    }
}

struct GroupCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "group",
        abstract: "The members of one group: their process, its socket's remote address, their age."
    )

    @Argument(help: "The group.", completion: .groups) var name: String
    @OptionGroup var listing: ListingOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        try await show(.group, try listing.query(.group, name: name, namespace: global.namespace))
    }
}

struct ChannelsCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "channels",
        abstract: "The channels: unread messages, the age of the oldest, capacity, readers, drops."
    )

    @Argument(help: "Only channels whose name matches, such as 'specific.*'.", completion: .channels) var glob: String?
    @OptionGroup var listing: ListingOptions
    @OptionGroup var pages: PageOptions
    @OptionGroup var watch: WatchOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        try await show(.channels, try listing.query(.channels, glob: glob, namespace: global.namespace))
    }
}

struct ChannelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "channel",
        abstract: "Everything known of one channel, with its groups."
    )

    @Argument(help: "The channel.", completion: .channels) var name: String
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
