import FanfareBroker
import FanfareModel
import FanfareOps
import Glibc

/// What the broker's operations port answers.
enum BrokerOps {
    /// The routes of the port.
    static func routes(_ stage: RunStage<BrokerServer>, refusals: OpsRefusals) -> [String: OpsServer.Route] {
        let routes: [String: OpsServer.Route] = [
            "/healthz": { _ in
                .json(200, ["status": "ok", "version": .string(Version.current), "pid": .count(getpid())])
            },
            "/readyz": { _ in await readiness(stage) },
            "/metrics": { _ in
                guard let status = try? await stage.server?.status() else {
                    return .json(503, ["error": "the broker does not run"])
                }
                var metrics = BrokerMetrics.metrics(status)
                refusals.add(to: &metrics, "fanfare_broker_ops_refused_total")
                return .metrics(metrics)
            },
        ]
        return routes.merging(DashboardOps(stage, refusals: refusals).routes) { $1 }
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
}
