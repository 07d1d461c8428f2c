import FanfareModel
import FanfareOps

/// The broker's status (PROTOCOL.md, section 9) as metrics. docs/metrics.md is made of it by `scripts/document-metrics`.
enum BrokerMetrics {
    /// A number of the status.
    private struct Row {
        var key: String
        var name: String
        var kind: Metrics.Kind
        var help: String

        /// A number that goes up and down.
        static func gauge(_ key: String, as name: String? = nil, _ help: String) -> Row {
            Row(key: key, name: "fanfare_broker_\(name ?? key)", kind: .gauge, help: help)
        }

        /// A number that only grows.
        static func counter(_ key: String, _ help: String) -> Row {
            Row(key: key, name: "fanfare_broker_\(key)_total", kind: .counter, help: help)
        }
    }

    /// Numbers of the status by the value of one label, from a list the broker knows.
    private struct Table {
        var key: String
        var name: String
        var kind: Metrics.Kind
        var label: String
        var help: String
    }

    private struct Spread {
        var key: String
        var help: String
    }

    private static let clients: [Row] = [
        .gauge(
            "sessions",
            "Processes that are connected and welcomed. As many as run; falling: they die or cannot come."
        ),
        .gauge(
            "strangers",
            "Connections that have not said hello. Near 0; more than a few: somebody knocks at the wrong door."
        ),
        .gauge(
            "detached",
            "Sessions whose connection broke and whose client may come back for them within the grace. Near 0."
        ),
        .counter(
            "accept_pauses",
            "Pauses of accepting because connections came faster than accepts_per_second. Growing: everybody comes back."
        ),
        .counter("resumed", "Connections that went on with the session of a broken one. Growing: links do not hold."),
        .counter(
            "resume_refused",
            "Sessions a client asked to go on with that had ended or could not go on. Growing: breaks outlast the grace."
        ),
        .counter("errors", "Requests answered with an error. Growing: a client is wrong or over a limit."),
        .counter(
            "tls_failures",
            "Connections that ended in their TLS handshake. Growing: wrong certificates, or probes."
        ),
    ]

    private static let names: [Row] = [
        .gauge("namespaces", "Namespaces with anything in them."),
        .gauge(
            "channels",
            "Channels known. Follows the number of open sockets; growing alone: channels are not closed."
        ),
        .gauge("groups", "Groups with at least one member. Growing for ever: members never leave."),
        .gauge("memberships", "Members of all groups together. Follows sockets times groups of each."),
        .gauge("receives", "Readers waiting for a message. 0 while messages wait: nobody works."),
        .gauge("inspections", "Inspections under way. Near 0; growing: too many people and programs look at once."),
        .counter("inspections_refused", "Inspections refused because too many were under way. 0."),
        .gauge("tails", "People watching messages pass. Each costs a copy of what matches."),
    ]

    private static let waiting: [Row] = [
        .gauge("queued_messages", "Messages waiting for a reader. Near 0; growing: readers are too slow or gone."),
        .gauge("queued_bytes", "Bytes of the messages waiting for a reader. As queued_messages."),
        .gauge("messages_high", as: "queued_messages_high", "The most messages that waited since the start."),
        .gauge("bytes_high", as: "queued_bytes_high", "The most bytes that waited since the start."),
        .gauge(
            "depth_high",
            as: "channel_depth_high",
            "The most messages one channel held since the start. At the capacity: messages were dropped there."
        ),
        .gauge(
            "memory_bytes",
            "Bytes the memory budget counts: queues, links, what is kept for resuming, tables as an estimate."
        ),
        .counter(
            "memory_refusals",
            "Requests and messages refused because the memory budget was used up. 0; growing: raise it or read faster."
        ),
    ]

    private static let traffic: [Row] = [
        .counter("frames_in", "Frames read from all links."),
        .counter("frames_out", "Frames written to all links."),
        .counter("bytes_in", "Bytes read from all links."),
        .counter("bytes_out", "Bytes written to all links. Far more than bytes_in: groups span many processes."),
        .counter("sends", "Messages sent to channels."),
        .counter("group_sends", "Messages sent to groups."),
        .counter("group_deliver_frames", "Frames written for group sends: one for each process with members."),
        .counter("delivers", "Messages passed to owners of process channels."),
        .counter("hand_outs", "Messages handed to waiting readers."),
        .counter("gaps", "Notices to clients that messages for them were lost. Grows with drops of theirs."),
    ]

    private static let tables: [Table] = [
        Table(
            key: "connections_by_role",
            name: "fanfare_broker_connections",
            kind: .gauge,
            label: "role",
            help: "Connections with a session, by the role of the client. As many as processes run."
        ),
        Table(
            key: "closed",
            name: "fanfare_broker_closed_total",
            kind: .counter,
            label: "reason",
            help: "Connections that ended, by why. Anything but goodbye and drained growing: look at `fanfare closed`."
        ),
        Table(
            key: "refused",
            name: "fanfare_broker_refused_total",
            kind: .counter,
            label: "error",
            help: "Requests and connections refused, by error. Growing: a client is wrong, over a limit, or not let in."
        ),
        Table(
            key: "reloads",
            name: "fanfare_broker_reloads_total",
            kind: .counter,
            label: "result",
            help: "Files read again on SIGHUP, by what came of it. Failed: what was in force before still is."
        ),
    ]

    private static let spreads: [Spread] = [
        Spread(
            key: "fan_out_members",
            help: "Members a group send was for; 0 where there was no such group. Its shape is the application's."
        ),
        Spread(
            key: "fan_out_seconds",
            help: "Time a group send took in the broker, from the read that brought it until every process's link was "
                + "written it. Below a millisecond; growing: too many processes, or a busy machine."
        ),
        Spread(
            key: "loop_lag_seconds",
            help: "Time a turn of the event loop took: whatever comes meanwhile waits so long. Below a millisecond; "
                + "growing: the broker's processor is used up."
        ),
        Spread(
            key: "round_trip_seconds",
            help: "Time until a client answered a ping, through all that waits for its link. Growing: a client or its "
                + "network is slow; `fanfare workers --sort lag_milliseconds` shows which."
        ),
        Spread(
            key: "inspection_seconds",
            help:
                "Time an inspection took from question to answer, the pauses for other work included. Each of them was "
                + "asked for by the CLI or the dashboard."
        ),
    ]

    /// What a status does not have is left out.
    static func metrics(_ status: MessageValue) -> Metrics {
        var metrics = Metrics()
        metrics.add(
            "fanfare_broker_info",
            .gauge,
            help: "Always 1; the label is the version.",
            by: "version",
            [Version.current: 1]
        )
        if let milliseconds = status["uptime_milliseconds"]?.double {
            metrics.add(
                "fanfare_broker_uptime_seconds",
                .gauge,
                help: "Since the broker started. Falling to 0: it was started again.",
                milliseconds / 1_000
            )
        }
        addTables(status, to: &metrics)
        add(clients + names + waiting, status, to: &metrics)
        if let oldest = status["oldest_milliseconds"] {
            metrics.add(
                "fanfare_broker_oldest_seconds",
                .gauge,
                help: "Age of the message that has waited longest for a reader, 0 when none waits. Near 0; growing: a "
                    + "channel nobody reads.",
                (oldest.double ?? 0) / 1_000
            )
        }
        add(traffic, status, to: &metrics)
        addMessages(status, to: &metrics)
        for spread in spreads {
            guard let histogram = status[spread.key].flatMap(Histogram.init) else { continue }
            metrics.add("fanfare_broker_\(spread.key)", help: spread.help, histogram)
        }
        return metrics
    }

    private static func add(_ rows: [Row], _ status: MessageValue, to metrics: inout Metrics) {
        for row in rows {
            if let number = status[row.key]?.double { metrics.add(row.name, row.kind, help: row.help, number) }
        }
    }

    private static func addTables(_ status: MessageValue, to metrics: inout Metrics) {
        for table in tables {
            guard let numbers = status[table.key]?.map?.compactMapValues(\.double) else { continue }
            metrics.add(table.name, table.kind, help: table.help, by: table.label, numbers)
        }
        guard let drops = status["drops_by_class"]?.map else { return }
        metrics.add(
            "fanfare_broker_drops_total",
            .counter,
            help: "Messages that reached no reader, by what they were sent to and why. 0 but for expired; growing: "
                + "`fanfare drops` shows whose.",
            by: ("class", "reason"),
            drops.compactMapValues { $0.map?.compactMapValues(\.double) }
        )
    }

    private static func addMessages(_ status: MessageValue, to metrics: inout Metrics) {
        func sum(_ keys: [String]) -> Double? {
            let numbers = keys.compactMap { status[$0]?.double }
            return numbers.count == keys.count ? numbers.reduce(0, +) : nil
        }
        if let number = sum(["sends", "group_sends"]) {
            metrics.add(
                "fanfare_broker_messages_in_total",
                .counter,
                help: "Messages clients sent, to channels and groups.",
                number
            )
        }
        if let number = sum(["delivers", "hand_outs", "group_deliver_frames"]) {
            metrics.add(
                "fanfare_broker_messages_out_total",
                .counter,
                help: "Messages passed to clients: to owners, to readers, and once to each process with members of a "
                    + "group.",
                number
            )
        }
    }
}
