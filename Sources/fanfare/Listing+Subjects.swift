import FanfareModel

// The tables of the listings: protocol section 5.13, in the order people read.
extension Listing {
    static let groups = Listing(
        subject: .groups,
        noun: ("group", "groups"),
        columns: [
            Column("NAMESPACE", "namespace", .text),
            Column("GROUP", "group", .text),
            Column("MEMBERS", "members", .count, sum: "members"),
            Column("OWNERS", "owners", .count, expendable: 3),
            Column("MESSAGES", "messages", .count, sum: "messages", expendable: 1),
            Column("RATE/s", "rate", .rate, sum: "a second"),
            Column("DROPS", "drops", .count, sum: "drops", alarm: .aboveZero),
            Column("AGE", "age_milliseconds", .age, expendable: 2),
        ],
        topField: "members"
    )

    /// The members of one group.
    static let group = Listing(
        subject: .group,
        noun: ("member", "members"),
        columns: [
            Column("CHANNEL", "channel", .text),
            Column("WORKER", "worker", .text, expendable: 1),
            Column("SESSION", "session", .count, expendable: 2),
            Column("REMOTE", "remote", .text),
            Column("AGE", "age_milliseconds", .age),
            Column("EXPIRES", "expires_milliseconds", .expiry),
            Column("NAMESPACE", "namespace", .text, isUsual: false),
            Column("GROUP", "group", .text, isUsual: false),
        ],
        topField: "age_milliseconds"
    )

    static let channels = Listing(
        subject: .channels,
        noun: ("channel", "channels"),
        columns: [
            Column("CHANNEL", "channel", .text),
            Column("DEPTH", "depth", .count, sum: "unread", alarm: .fills("capacity")),
            Column("HIGH", "depth_high", .count, alarm: .fills("capacity"), expendable: 5),
            Column("CAPACITY", "capacity", .count, expendable: 3),
            Column("BYTES", "bytes", .bytes, sum: "waiting", expendable: 2),
            Column("OLDEST", "oldest_milliseconds", .age),
            Column("READERS", "readers", .count, expendable: 4),
            Column("GROUPS", "groups", .count, expendable: 6),
            Column("WORKER", "worker", .text, expendable: 7),
            Column("MESSAGES", "messages", .count, sum: "messages", expendable: 1),
            Column("RATE/s", "rate", .rate, sum: "a second"),
            Column("DROPS", "drops", .count, sum: "drops", alarm: .aboveZero),
            Column("NAMESPACE", "namespace", .text, isUsual: false),
            Column("SESSION", "session", .count, isUsual: false),
            Column("REMOTE", "remote", .text, isUsual: false),
        ],
        topField: "depth"
    )

    /// Every session.
    static let sessions = Listing(
        subject: .sessions,
        noun: ("session", "sessions"),
        columns: sessionColumns,
        topField: "memberships"
    )

    /// The sessions that own a node.
    static let workers = Listing(
        subject: .sessions,
        noun: ("worker", "workers"),
        columns: sessionColumns,
        topField: "memberships"
    )

    private static let sessionColumns =
        [
            Column("NAME", "name", .text),
            Column("CLIENT", "client", .text, expendable: 10),
            Column("ROLE", "role", .text, expendable: 6),
            Column("SESSION", "session", .count, expendable: 9),
            Column("NODE", "node", .text, expendable: 11),
            Column("REMOTE", "remote", .text, expendable: 8),
            Column("CHANNELS", "channels", .count, sum: "channels", expendable: 5),
            Column("MEMBERSHIPS", "memberships", .count, sum: "memberships", expendable: 4),
            Column("IN/s", "rate_in", .rate, sum: "in a second"),
            Column("OUT/s", "rate_out", .rate, sum: "out a second"),
            Column("LAG", "lag_milliseconds", .lag, alarm: .above(milliseconds: 100)),
            Column("DROPS", "drops", .count, sum: "drops", alarm: .aboveZero),
            Column("LINK", "link", .link, alarm: .otherThan(["up"]), expendable: 2),
            Column("WAITING", "link_bytes", .bytes, sum: "waiting", expendable: 3),
            Column("AGE", "age_milliseconds", .age, expendable: 1),
            Column("PID", "attributes", .attribute("pid"), expendable: 7),
            Column("NAMESPACE", "namespace", .text, isUsual: false),
            Column("RECEIVES", "receives", .count, isUsual: false),
            Column("ATTRIBUTES", "attributes", .text, isUsual: false),
        ] + traffic

    /// What passed on a connection, for those who ask.
    private static let traffic = [
        Column("MESSAGES-IN", "messages_in", .count, isUsual: false),
        Column("MESSAGES-OUT", "messages_out", .count, isUsual: false),
        Column("FRAMES-IN", "frames_in", .count, isUsual: false),
        Column("FRAMES-OUT", "frames_out", .count, isUsual: false),
        Column("BYTES-IN", "bytes_in", .bytes, isUsual: false),
        Column("BYTES-OUT", "bytes_out", .bytes, isUsual: false),
    ]

    /// Connections that ended, the newest first unless another order is asked for.
    static let closed = Listing(
        subject: .closed,
        noun: ("closed connection", "closed connections"),
        columns: [
            Column("AGE", "age_milliseconds", .age),
            Column("NAME", "name", .text),
            Column("ROLE", "role", .text, expendable: 5),
            Column("SESSION", "session", .count, expendable: 6),
            Column("REMOTE", "remote", .text, expendable: 4),
            Column("REASON", "reason", .text, alarm: .otherThan(["goodbye", "drained", "stopping"])),
            Column("LIVED", "lived_milliseconds", .age, expendable: 2),
            Column("MESSAGES-IN", "messages_in", .count, sum: "messages in", expendable: 3),
            Column("MESSAGES-OUT", "messages_out", .count, sum: "messages out", expendable: 1),
            Column("DROPS", "drops", .count, sum: "drops", alarm: .aboveZero),
            Column("DETAIL", "detail", .text),
            Column("CLIENT", "client", .text, isUsual: false),
            Column("NAMESPACE", "namespace", .text, isUsual: false),
            Column("NODE", "node", .text, isUsual: false),
        ] + traffic.filter { !$0.heading.hasPrefix("MESSAGES") },
        topField: "lived_milliseconds"
    )

    /// What was dropped; the broker gives the newest first unless another order is asked for.
    static let drops = Listing(
        subject: .drops,
        noun: ("line", "lines"),
        columns: [
            Column("AGE", "age_milliseconds", .age),
            Column("NAMESPACE", "namespace", .text),
            Column("KIND", "kind", .text, expendable: 1),
            Column("NAME", "name", .text),
            Column("WORKER", "worker", .text, expendable: 2),
            Column("REASON", "reason", .text),
            Column("COUNT", "count", .count, sum: "messages dropped", alarm: .aboveZero),
        ],
        topField: "count",
        breakdown: (by: "reason", sum: "count")
    )
}
