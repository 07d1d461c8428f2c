import FanfareModel

// The tables of the listings: protocol section 5.13, in the order people read.
extension Listing {
    static let groups = Listing(
        subject: .groups,
        noun: ("group", "groups"),
        columns: [
            Column(heading: "NAMESPACE", field: "namespace", format: .text),
            Column(heading: "GROUP", field: "group", format: .text),
            Column(heading: "MEMBERS", field: "members", format: .count, sum: "members"),
            Column(heading: "OWNERS", field: "owners", format: .count),
            Column(heading: "MESSAGES", field: "messages", format: .count, sum: "messages"),
            Column(heading: "RATE/s", field: "rate", format: .rate, sum: "a second"),
            Column(heading: "AGE", field: "age_milliseconds", format: .age),
        ],
        topField: "members"
    )

    /// The members of one group.
    static let group = Listing(
        subject: .group,
        noun: ("member", "members"),
        columns: [
            Column(heading: "CHANNEL", field: "channel", format: .text),
            Column(heading: "WORKER", field: "worker", format: .text),
            Column(heading: "SESSION", field: "session", format: .count),
            Column(heading: "REMOTE", field: "remote", format: .text),
            Column(heading: "AGE", field: "age_milliseconds", format: .age),
            Column(heading: "EXPIRES", field: "expires_milliseconds", format: .expiry),
        ],
        topField: "age_milliseconds"
    )

    static let channels = Listing(
        subject: .channels,
        noun: ("channel", "channels"),
        columns: [
            Column(heading: "CHANNEL", field: "channel", format: .text),
            Column(heading: "DEPTH", field: "depth", format: .count, sum: "unread"),
            Column(heading: "BYTES", field: "bytes", format: .bytes, sum: "waiting"),
            Column(heading: "OLDEST", field: "oldest_milliseconds", format: .age),
            Column(heading: "CAPACITY", field: "capacity", format: .count),
            Column(heading: "READERS", field: "readers", format: .count),
            Column(heading: "GROUPS", field: "groups", format: .count),
            Column(heading: "WORKER", field: "worker", format: .text),
            Column(heading: "MESSAGES", field: "messages", format: .count, sum: "messages"),
            Column(heading: "DROPS", field: "drops", format: .count, sum: "drops"),
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

    private static let sessionColumns = [
        Column(heading: "NAME", field: "name", format: .text),
        Column(heading: "CLIENT", field: "client", format: .text),
        Column(heading: "ROLE", field: "role", format: .text),
        Column(heading: "SESSION", field: "session", format: .count),
        Column(heading: "NODE", field: "node", format: .text),
        Column(heading: "CHANNELS", field: "channels", format: .count, sum: "channels"),
        Column(heading: "MEMBERSHIPS", field: "memberships", format: .count, sum: "memberships"),
        Column(heading: "FRAMES-IN", field: "frames_in", format: .count),
        Column(heading: "FRAMES-OUT", field: "frames_out", format: .count),
        Column(heading: "BYTES-IN", field: "bytes_in", format: .bytes),
        Column(heading: "BYTES-OUT", field: "bytes_out", format: .bytes),
        Column(heading: "AGE", field: "age_milliseconds", format: .age),
        Column(heading: "PID", field: "attributes", format: .attribute("pid")),
    ]

    /// What was dropped; the broker gives the newest first unless another order is asked for.
    static let drops = Listing(
        subject: .drops,
        noun: ("line", "lines"),
        columns: [
            Column(heading: "AGE", field: "age_milliseconds", format: .age),
            Column(heading: "NAMESPACE", field: "namespace", format: .text),
            Column(heading: "KIND", field: "kind", format: .text),
            Column(heading: "NAME", field: "name", format: .text),
            Column(heading: "WORKER", field: "worker", format: .text),
            Column(heading: "REASON", field: "reason", format: .text),
            Column(heading: "COUNT", field: "count", format: .count, sum: "messages dropped"),
        ],
        topField: "count"
    )
}
