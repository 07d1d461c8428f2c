import FanfareModel
import FanfareOps
import FanfareWorker

/// What a worker counts as metrics. docs/metrics.md is made of it by `scripts/document-metrics`.
enum WorkerMetrics {
    /// A number of ``WorkerHealth``, for `/healthz` and `/metrics` alike.
    struct Row: Sendable {
        /// The key in `/healthz`; the metric is `fanfare_worker_` and this, and `_total` for a counter.
        var key: String
        var kind: Metrics.Kind
        var help: String
        var value: @Sendable (WorkerHealth) -> UInt64

        var metric: String { "fanfare_worker_\(key)" + (kind == .counter ? "_total" : "") }

        /// A number that goes up and down.
        static func gauge(_ key: String, _ help: String, _ value: @escaping @Sendable (WorkerHealth) -> Int) -> Row {
            Row(key: key, kind: .gauge, help: help) { UInt64(clamping: value($0)) }
        }

        /// A number that only grows.
        static func counter(
            _ key: String,
            _ help: String,
            _ value: @escaping @Sendable (WorkerHealth) -> UInt64
        ) -> Row {
            Row(key: key, kind: .counter, help: help, value: value)
        }
    }

    /// Every number without labels.
    static let rows = sockets + traffic + link

    private static let sockets: [Row] = [
        .gauge("sockets", "Open WebSockets. Follows the visitors; falling at once: look at closes_total.") {
            $0.sockets
        },
        .gauge("handshakes", "Connections that are no WebSocket yet. Near 0; growing: slow or hostile peers.") {
            $0.handshakes
        },
        .gauge("draining", "1 while the worker takes its leave; its sockets go down to 0 then.") {
            $0.isDraining ? 1 : 0
        },
        .gauge(
            "closing",
            "Sockets that are being closed: a close frame to be answered or a last handler to end. Near 0."
        ) { $0.closing },
        .gauge("groups", "Groups with a socket here.") { $0.groups },
        .counter("sockets_opened", "Handshakes that became WebSockets. Growing faster than visitors: they reconnect.") {
            $0.counters.socketsOpened
        },
        .counter(
            "handshakes_dropped",
            "Connections closed before an answer: too many, too slow or not HTTP. Near 0; growing: probes or a flood."
        ) { $0.counters.handshakesDropped },
        .counter("accept_pauses", "Pauses of accepting because connections came faster than accepts_per_second.") {
            $0.counters.acceptPauses
        },
        .counter("drained", "Sockets closed with 1012 because the worker takes its leave.") { $0.counters.drained },
        .counter("drain_cut_off", "Connections still there when the time to take leave was over. 0.") {
            $0.counters.drainCutOff
        },
        .gauge(
            "slow_readers",
            "Sockets with something waiting because their peers do not read. Few; growing: a slow network."
        ) {
            $0.slowReaders
        },
        .gauge("outgoing_bytes", "Bytes waiting for sockets whose peers do not read. Near 0; growing: slow readers.") {
            $0.outgoingBytes
        },
        .gauge("outgoing_bytes_high", "The most bytes that waited since the start, as seen every second.") {
            $0.outgoingBytesHigh
        },
        .gauge(
            "outgoing_oldest_seconds",
            "Seconds the oldest of these bytes has waited. At outgoing_age the socket goes."
        ) {
            $0.outgoingOldestSeconds
        },
        .counter("slow_readers_closed", "Sockets closed with 1013 because their peers read too slowly.") {
            $0.counters.slowReadersClosed
        },
    ]

    private static let traffic: [Row] = [
        .counter("messages_in", "Messages read from sockets.") { $0.counters.messagesIn },
        .counter("bytes_in", "Bytes read from sockets, as WebSocket frames.") { $0.counters.bytesIn },
        .counter("messages_out", "Messages given to sockets: those of the broker and those of consumers.") {
            $0.messagesOut
        },
        .counter("bytes_out", "Bytes given to sockets, as WebSocket frames without close frames.") { $0.bytesOut },
        .counter("sends", "System calls that wrote group messages to sockets; fewer where bursts were merged.") {
            $0.sends
        },
        .counter("deliveries", "Messages of the broker given to sockets or their consumers: one for each socket.") {
            $0.counters.deliveries
        },
        .counter("group_messages", "Messages from the broker for groups.") { $0.counters.groupMessages },
        .counter("direct_messages", "Messages from the broker for one socket.") { $0.counters.directMessages },
        .counter(
            "messages_refused",
            "Messages of clients lost because there was no broker. 0; growing: start the broker."
        ) { $0.counters.messagesRefused },
        .counter(
            "invalid_messages",
            "Messages of clients that were not what they should be, such as broken JSON. Growing: a wrong client."
        ) { $0.counters.invalidMessages },
        .counter("handler_failures", "Handlers of consumers and pages that threw. 0; growing: the program has a fault.")
        {
            $0.counters.handlerFailures
        },
    ]

    private static let link: [Row] = [
        .counter("missed", "Messages the broker had to drop for this worker. 0; growing: the worker does not keep up.")
        {
            $0.counters.missed
        },
        .counter("gap_notices", "Sockets' consumers told that they missed messages. Grows with drops and resyncs.") {
            $0.counters.gapNotices
        },
        .counter("links", "Links to a broker that were made. 1; growing: the link does not hold.") {
            $0.counters.links
        },
        .counter("sessions", "Links that began a session. 1; growing: the broker had forgotten the worker.") {
            $0.counters.sessions
        },
        .counter("resumes", "Links that went on with the session of a broken one: nothing was lost.") {
            $0.counters.links - min($0.counters.links, $0.counters.sessions)
        },
        .counter("resyncs", "Times all channels and memberships were declared again, after the first: a hole for all.")
        {
            $0.counters.sessions - min($0.counters.sessions, 1)
        },
        .counter("requests_repeated", "Requests written again over another link of the same session.") {
            $0.counters.requestsRepeated
        },
        .counter(
            "requests_unknown",
            "Requests whose session ended before the answer: whether they were carried out nobody knows."
        ) { $0.counters.requestsUnknown },
        .counter("sends_waited", "Messages of clients that waited for a broker and went out.") {
            $0.counters.sendsWaited
        },
        .counter("requests_unsent", "Requests that were not sent: no broker, no room to wait, or waited too long.") {
            $0.counters.requestsUnsent
        },
    ]

    /// Messages that did not reach a socket, one for each socket; the key in `/metrics` is a label.
    static let drops: [Row] = [
        .counter("expired", "Came too late.") { $0.counters.expired },
        .counter("undecodable", "No consumer could read it.") { $0.counters.undecodable },
        .counter("handlers_full", "Too many waited for the socket's handlers.") { $0.counters.handlersFull },
        .counter("outgoing_full", "Too much waited for the socket.") { $0.counters.outgoingFull },
        .counter("outgoing_overflow", "Waited for a socket that was closed because its peer did not read.") {
            $0.counters.outgoingOverflow
        },
        .counter("owner_gone", "Waited for the handlers of a socket that ended.") { $0.counters.ownerGone },
    ]

    /// The numbers of a running worker.
    static func metrics(_ health: WorkerHealth) -> Metrics {
        var metrics = Metrics()
        metrics.add(
            "fanfare_worker_info",
            .gauge,
            help: "Always 1; the label is the version.",
            by: "version",
            [Version.current: 1]
        )
        metrics.add(
            "fanfare_worker_broker_connected",
            .gauge,
            help: "1 while the link to the broker is up; 0: new sockets are turned away.",
            health.isConnected ? 1 : 0
        )
        metrics.add(
            "fanfare_worker_route_sockets",
            .gauge,
            help: "Open WebSockets, by the pattern of their route.",
            by: "route",
            health.socketsByRoute.mapValues { Double($0) }
        )
        for row in rows { metrics.add(row.metric, row.kind, help: row.help, Double(row.value(health))) }
        addCounts(health, to: &metrics)
        addSpreads(health, to: &metrics)
        return metrics
    }

    private static func addCounts(_ health: WorkerHealth, to metrics: inout Metrics) {
        metrics.add(
            "fanfare_worker_drops_total",
            .counter,
            help: "Messages that did not reach a socket, one for each socket, by why. 0 but for expired; growing: slow "
                + "readers, slow handlers, or a sender nobody understands.",
            by: "reason",
            Dictionary(uniqueKeysWithValues: drops.map { ($0.key, Double($0.value(health))) })
        )
        metrics.add(
            "fanfare_worker_closes_total",
            .counter,
            help: "Sockets closed, by who began it and the WebSocket code; of a client's codes only everyday ones by "
                + "themselves. 1006: the connection ended or the peer was silent. 1013: slow readers, or no broker.",
            by: ("by", "code"),
            closes(health.counters)
        )
        metrics.add(
            "fanfare_worker_responses_total",
            .counter,
            help: "HTTP answers, by status. 101 are WebSockets; 5xx growing: the program has a fault, or no broker.",
            by: "status",
            Dictionary(uniqueKeysWithValues: health.counters.responses.map { (String($0.key), Double($0.value)) })
        )
        metrics.add(
            "fanfare_worker_refusals_total",
            .counter,
            help:
                "Requests, connections and messages refused, by reason. Growing: a wrong client, a limit, or an attack.",
            by: "reason",
            health.counters.refusals.mapValues { Double($0) }
        )
        metrics.add(
            "fanfare_worker_reloads_total",
            .counter,
            help: "Files read again on SIGHUP, by what came of it. Failed: what was in force before still is.",
            by: "result",
            reloads(health.counters).mapValues { Double($0) }
        )
    }

    /// What came of reading files again, with what has not come up yet: a rate needs a start.
    static func reloads(_ counters: WorkerCounters) -> [String: UInt64] {
        Dictionary(uniqueKeysWithValues: Reload.allCases.map { ($0.rawValue, counters.reloads[$0.rawValue] ?? 0) })
    }

    /// Closed sockets by who began it and the code: a peer chooses among thousands, so of its own only those that
    /// browsers send stand by themselves.
    static func closes(_ counters: WorkerCounters) -> [String: [String: Double]] {
        var closes: [String: [String: Double]] = ["worker": [:], "client": [:], "connection": [:]]
        for (code, count) in counters.closes {
            let here = min(counters.closesFromHere[code] ?? 0, count)
            if here > 0 { closes["worker"]?[String(code)] = Double(here) }
            guard count > here else { continue }
            let (by, name) = code == 1_006 ? ("connection", "1006") : ("client", name(ofClients: code))
            closes[by]?[name, default: 0] += Double(count - here)
        }
        return closes
    }

    private static func name(ofClients code: UInt16) -> String {
        [1_000, 1_001, 1_005].contains(code) ? String(code) : "\(code / 1_000)xxx"
    }

    private static func addSpreads(_ health: WorkerHealth, to metrics: inout Metrics) {
        metrics.add(
            "fanfare_worker_fan_out_sockets",
            help: "Sockets here a group message of the broker was for. Its shape is the application's; many 0: groups "
                + "are left late.",
            health.fanOutSockets
        )
        metrics.add(
            "fanfare_worker_broker_lag_seconds",
            help: "Time on the way from broker to worker, beyond the fastest seen on the link; measured at most every "
                + "50 ms. A few milliseconds; growing: the worker does not keep up, or the network.",
            health.brokerLagSeconds
        )
        metrics.add(
            "fanfare_worker_loop_lag_seconds",
            help:
                "Time a turn of the event loop took: whatever comes meanwhile waits so long. Below some milliseconds; "
                + "growing: the processor is used up, or a render function blocks.",
            health.loopSeconds
        )
        metrics.add(
            "fanfare_worker_handler_seconds",
            help: "Time a handler of a consumer took, including what it waited for. Growing: the application, or what "
                + "it calls.",
            health.handlerSeconds
        )
    }
}
