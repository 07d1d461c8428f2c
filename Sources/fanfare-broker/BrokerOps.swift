import FanfareBroker
import FanfareModel
import FanfareOps
import Glibc

/// What the broker's operations port answers.
enum BrokerOps {
    /// The routes of the port.
    static func routes(_ stage: RunStage<BrokerServer>) -> [String: OpsServer.Route] {
        [
            "/healthz": { .json(200, ["status": "ok", "version": .string(Version.current), "pid": .count(getpid())]) },
            "/readyz": { await readiness(stage) },
            "/metrics": {
                guard let status = try? await stage.server?.status() else {
                    return .json(503, ["error": "the broker does not run"])
                }
                return .metrics(BrokerMetrics.metrics(status))
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
}
