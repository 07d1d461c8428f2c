import FanfareModel

/// Which channels are in which groups: `channels` channels, spread over the links, each in as many groups as it takes.
struct BrokerMemberships {
    /// Memberships in all.
    let count: Int
    /// Channels in all; their owner is the link that their number gives, in turn.
    let channels: Int
    let groups: Int
    private let nodes: [String]
    /// From one group of a channel to its next.
    private let stride: Int

    init(_ command: BrokerCommand, links: [BrokerLink]) {
        count = command.memberships
        channels = min(command.links * command.channelsPerLink, command.memberships)
        groups = command.groups
        nodes = links.map(\.node)
        let rounds = (count + channels - 1) / channels
        stride = max(1, groups / rounds)
    }

    func link(ofChannel number: Int) -> Int {
        number % nodes.count
    }

    func channel(_ number: Int) -> String {
        BrokerFanfareDialect.channel(number, node: nodes[number % nodes.count])
    }

    /// The channel and the group of the membership `index`: first every channel's first group, then every second one.
    func membership(_ index: Int) -> (channel: Int, group: Int) {
        let channel = index % channels
        return (channel, (channel + index / channels * stride) % groups)
    }

    static func group(_ number: Int) -> String {
        "room_\(number)"
    }

    /// Bytes of all names among the first `count` memberships, each name once.
    func nameBytes(ofFirst count: Int) -> Int {
        let channelBytes = (0..<min(count, channels)).reduce(0) { $0 + channel($1).utf8.count }
        return channelBytes + (0..<min(count, groups)).reduce(0) { $0 + Self.group($1).utf8.count }
    }
}
