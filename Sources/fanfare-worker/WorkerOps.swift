import FanfareModel
import FanfareOps
import FanfareWorker
import Glibc

/// What the worker's operations port answers.
enum WorkerOps {
    /// A number of ``WorkerHealth``, for `/healthz` and `/metrics` alike.
    private struct Row: Sendable {
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

    private static let rows: [Row] = [
        .gauge("sockets", "Open WebSockets.") { $0.sockets },
        .gauge("handshakes", "Connections that are no WebSocket yet. Growing: slow or hostile peers.") {
            $0.handshakes
        },
        .gauge("draining", "1 while the worker takes its leave; its sockets go down to 0 then.") {
            $0.isDraining ? 1 : 0
        },
        .gauge("closing", "Sockets that are being closed: a close frame to be answered or a last handler to end.") {
            $0.closing
        },
        .gauge("groups", "Groups with a socket here.") { $0.groups },
        .counter("messages_in", "Messages read from sockets.") { $0.counters.messagesIn },
        .counter("messages_out", "Messages given to sockets.") { $0.messagesOut },
        .counter("messages_refused", "Messages of clients lost because there was no broker.") {
            $0.counters.messagesRefused
        },
        .counter("sends", "System calls that wrote to sockets; fewer than messages where bursts were merged.") {
            $0.sends
        },
        .counter("sockets_opened", "Handshakes that became WebSockets.") { $0.counters.socketsOpened },
        .counter("handshakes_dropped", "Connections closed before an answer: too many, too slow or not HTTP.") {
            $0.counters.handshakesDropped
        },
        .counter("accept_pauses", "Pauses of accepting because connections came faster than accepts_per_second.") {
            $0.counters.acceptPauses
        },
        .counter("drained", "Sockets closed with 1012 because the worker takes its leave.") { $0.counters.drained },
        .counter("drain_cut_off", "Connections still there when the time to take leave was over.") {
            $0.counters.drainCutOff
        },
        .counter("group_messages", "Messages from the broker for groups.") { $0.counters.groupMessages },
        .counter("direct_messages", "Messages from the broker for one socket.") { $0.counters.directMessages },
        .counter("expired", "Messages from the broker that came too late.") { $0.counters.expired },
        .counter("undecodable", "Messages from the broker that no consumer could read: a sender is wrong.") {
            $0.counters.undecodable
        },
        .counter("invalid_messages", "Messages of clients that were not what they should be, such as broken JSON.") {
            $0.counters.invalidMessages
        },
        .counter("handler_failures", "Handlers of consumers and pages that threw: the program has a fault.") {
            $0.counters.handlerFailures
        },
        .counter("handlers_full", "Messages dropped because too many waited for one socket's handlers.") {
            $0.counters.handlersFull
        },
        .gauge("slow_readers", "Sockets with something waiting because their peers do not read.") { $0.slowReaders },
        .counter("outgoing_full", "Messages dropped because too much waited for their socket.") {
            $0.counters.outgoingFull
        },
        .counter("outgoing_overflow", "Messages lost with sockets that were closed because their peers did not read.") {
            $0.counters.outgoingOverflow
        },
        .counter("slow_readers_closed", "Sockets closed because their peers read too slowly.") {
            $0.counters.slowReadersClosed
        },
        .counter("missed", "Messages the broker had to drop for this worker.") { $0.counters.missed },
        .counter("gap_notices", "Sockets' consumers told that they missed messages.") { $0.counters.gapNotices },
        .counter("links", "Links to a broker that were made. Growing: the link does not hold.") { $0.counters.links },
        .counter("sessions", "Links that did not go on with a session: the broker had forgotten the worker.") {
            $0.counters.sessions
        },
    ]

    /// The routes of the port.
    ///
    /// - Parameters:
    ///   - stage: The worker, while it runs.
    ///   - brokers: The endpoints it tries, for `/healthz`.
    static func routes(_ stage: RunStage<WorkerServer>, brokers: [Endpoint]) -> [String: OpsServer.Route] {
        [
            "/healthz": { .json(200, .map(await healthz(stage, brokers))) },
            "/readyz": { await readiness(stage) },
            "/metrics": {
                guard let health = try? await stage.server?.health() else {
                    return .json(503, ["error": "the worker does not run"])
                }
                return .metrics(metrics(health))
            },
        ]
    }

    /// The state in one look. Always answered with 200: a worker without a broker is alive and will recover.
    private static func healthz(_ stage: RunStage<WorkerServer>, _ brokers: [Endpoint]) async -> [String: MessageValue]
    {
        var facts: [String: MessageValue] = ["version": .string(Version.current), "pid": .count(getpid())]
        switch stage.current {
        case .starting: facts["status"] = "starting"
        case .stopping: facts["status"] = "stopping"
        case .running(let server):
            if let health = try? await server.health() {
                facts.merge(self.facts(health, brokers)) { $1 }
            } else {
                facts["status"] = "no answer"
            }
        }
        return facts
    }

    private static func readiness(_ stage: RunStage<WorkerServer>) async -> OpsResponse {
        switch stage.current {
        case .starting: return .json(503, ["ready": false, "reason": "the worker is starting"])
        case .stopping: return .json(503, ["ready": false, "reason": "the worker is stopping"])
        case .running(let server):
            guard let health = try? await server.health() else {
                return .json(503, ["ready": false, "reason": "the worker does not answer"])
            }
            guard !health.isDraining else {
                return .json(
                    503,
                    ["ready": false, "reason": "the worker drains", "sockets": .count(health.sockets)]
                )
            }
            guard !health.isConnected else { return .json(200, ["ready": true]) }
            return .json(
                503,
                ["ready": false, "reason": .string("no broker: \(health.lastFailure ?? "not tried yet")")]
            )
        }
    }

    /// What `/healthz` tells of a running worker.
    static func facts(_ health: WorkerHealth, _ brokers: [Endpoint]) -> [String: MessageValue] {
        var facts: [String: MessageValue] = [
            "status": health.isDraining ? "draining" : health.isConnected ? "ok" : "no broker",
            "broker": [
                "connected": .bool(health.isConnected),
                "endpoints": .array(brokers.map { .string($0.description) }),
                "last_failure": health.lastFailure.map { .string($0) } ?? .null,
            ],
            "name": .string(health.name),
            "node": .string(health.node),
            "closes": .map(byText(health.counters.closes).mapValues { .count($0) }),
            "responses": .map(byText(health.counters.responses).mapValues { .count($0) }),
            "refusals": .map(health.counters.refusals.mapValues { .count($0) }),
        ]
        for row in rows { facts[row.key] = .count(row.value(health)) }
        return facts
    }

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
            help: "1 while the link to the broker is up, 0 otherwise.",
            health.isConnected ? 1 : 0
        )
        for row in rows { metrics.add(row.metric, row.kind, help: row.help, Double(row.value(health))) }
        metrics.add(
            "fanfare_worker_closes_total",
            .counter,
            help: "Sockets closed, by the WebSocket code that began it.",
            by: "code",
            byText(health.counters.closes).mapValues { Double($0) }
        )
        metrics.add(
            "fanfare_worker_responses_total",
            .counter,
            help: "HTTP answers, by status.",
            by: "status",
            byText(health.counters.responses).mapValues { Double($0) }
        )
        metrics.add(
            "fanfare_worker_refusals_total",
            .counter,
            help: "Requests, connections and messages refused, by reason.",
            by: "reason",
            health.counters.refusals.mapValues { Double($0) }
        )
        return metrics
    }

    private static func byText(_ counts: [some BinaryInteger & Hashable: UInt64]) -> [String: UInt64] {
        Dictionary(uniqueKeysWithValues: counts.map { (String($0.key), $0.value) })
    }
}
