import FanfareModel
import FanfareOps
import FanfareWorker
import Glibc

/// What the worker's operations port answers.
enum WorkerOps {
    /// The routes of the port.
    ///
    /// - Parameters:
    ///   - stage: The worker, while it runs.
    ///   - brokers: The endpoints it tries, for `/healthz`.
    static func routes(_ stage: RunStage<WorkerServer>, brokers: [Endpoint]) -> [String: OpsServer.Route] {
        [
            "/healthz": { _ in .json(200, .map(await healthz(stage, brokers))) },
            "/readyz": { _ in await readiness(stage) },
            "/metrics": { _ in
                guard let health = try? await stage.server?.health() else {
                    return .json(503, ["error": "the worker does not run"])
                }
                return .metrics(WorkerMetrics.metrics(health))
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
            "reloads": .map(WorkerMetrics.reloads(health.counters).mapValues { .count($0) }),
        ]
        for row in WorkerMetrics.rows + WorkerMetrics.drops { facts[row.key] = .count(row.value(health)) }
        return facts
    }

    private static func byText(_ counts: [some BinaryInteger & Hashable: UInt64]) -> [String: UInt64] {
        Dictionary(uniqueKeysWithValues: counts.map { (String($0.key), $0.value) })
    }
}
