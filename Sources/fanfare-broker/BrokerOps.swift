import FanfareBroker
import FanfareModel
import FanfareOps
import Glibc

/// What the broker's operations port answers.
enum BrokerOps {
    /// A number of the broker's status (PROTOCOL.md section 9) as a metric.
    private struct Row {
        var key: String
        var name: String
        var kind: Metrics.Kind
        var help: String

        /// A number that goes up and down.
        static func gauge(_ key: String, _ help: String) -> Row {
            Row(key: key, name: "fanfare_broker_\(key)", kind: .gauge, help: help)
        }

        /// A number that only grows.
        static func counter(_ key: String, _ help: String) -> Row {
            Row(key: key, name: "fanfare_broker_\(key)_total", kind: .counter, help: help)
        }
    }

    private static let rows: [Row] = [
        .gauge("sessions", "Processes that are connected and welcomed."),
        .gauge(
            "strangers",
            "Connections that have not said hello. More than a few: somebody knocks at the wrong door."
        ),
        .gauge("detached", "Sessions whose connection broke and whose client may come back for them within the grace."),
        .counter("resumed", "Connections that went on with the session of a broken one."),
        .counter("resume_refused", "Sessions a client asked to go on with that had ended or could not go on."),
        .gauge("namespaces", "Namespaces with anything in them."),
        .gauge("channels", "Channels known. Follows the number of open sockets."),
        .gauge("groups", "Groups with at least one member."),
        .gauge("memberships", "Members of all groups together."),
        .gauge("queued_messages", "Messages waiting for a reader. Growing: readers are too slow or gone."),
        .gauge("queued_bytes", "Bytes of the messages waiting for a reader."),
        .gauge(
            "memory_bytes",
            "Bytes the memory budget counts: queues, links, what is kept for resuming, tables as an estimate."
        ),
        .counter("memory_refusals", "Requests and messages refused because the memory budget was used up."),
        .gauge("receives", "Readers waiting for a message."),
        .gauge("tails", "People watching messages pass. Each costs a copy of what matches."),
        .counter("frames_in", "Frames read."),
        .counter("frames_out", "Frames written."),
        .counter("bytes_in", "Bytes read."),
        .counter("bytes_out", "Bytes written."),
        .counter("sends", "Messages sent to channels."),
        .counter("group_sends", "Messages sent to groups."),
        .counter("group_deliver_frames", "Frames written for group sends: one per process with members."),
        .counter("delivers", "Messages passed to owners of process channels."),
        .counter("hand_outs", "Messages handed to waiting readers."),
        .counter("errors", "Requests answered with an error."),
        .counter("tls_failures", "Connections that ended in their TLS handshake."),
    ]

    /// The routes of the port.
    static func routes(_ stage: RunStage<BrokerServer>) -> [String: OpsServer.Route] {
        [
            "/healthz": { .json(200, ["status": "ok", "version": .string(Version.current), "pid": .count(getpid())]) },
            "/readyz": { await readiness(stage) },
            "/metrics": {
                guard let status = try? await stage.server?.status() else {
                    return .json(503, ["error": "the broker does not run"])
                }
                return .metrics(metrics(status))
            },
        ]
    }

    private static func readiness(_ stage: RunStage<BrokerServer>) async -> OpsResponse {
        switch stage.current {
        case .starting: return .json(503, ["ready": false, "reason": "the broker is starting"])
        case .stopping: return .json(503, ["ready": false, "reason": "the broker is stopping"])
        case .running(let server):
            do {
                // Answered by the loop that owns the core: proof that it turns.
                _ = try await server.status()
                return .json(200, ["ready": true])
            } catch {
                return .json(503, ["ready": false, "reason": .string("the broker does not answer: \(error)")])
            }
        }
    }

    /// The status as metrics. What a status does not have is left out.
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
                help: "Since the broker started.",
                milliseconds / 1_000
            )
        }
        for row in rows {
            if let number = status[row.key]?.double { metrics.add(row.name, row.kind, help: row.help, number) }
        }
        if let drops = status["drops"]?.map {
            metrics.add(
                "fanfare_broker_drops_total",
                .counter,
                help: "Messages that reached no reader, by reason. `fanfare channels` shows where.",
                by: "reason",
                drops.compactMapValues(\.double)
            )
        }
        if let refused = status["refused"]?.map {
            metrics.add(
                "fanfare_broker_refused_total",
                .counter,
                help: "Requests and connections refused, by error.",
                by: "error",
                refused.compactMapValues(\.double)
            )
        }
        if let reloads = status["reloads"]?.map {
            metrics.add(
                "fanfare_broker_reloads_total",
                .counter,
                help: "Files read again on SIGHUP, by what came of it. Failed: what was in force before still is.",
                by: "result",
                reloads.compactMapValues(\.double)
            )
        }
        return metrics
    }
}
