import FanfareModel
import FanfareOps
import Testing

@testable import FanfareWorker
@testable import fanfare_worker

@Suite struct WorkerOpsTests {
    @Test func `a worker without a broker says so and why, and still counts`() {
        var health = WorkerHealth()
        health.lastFailure = "connection refused"
        health.sockets = 3
        health.counters.closes = [1_013: 2]
        let facts = WorkerOps.facts(health, [.unix(path: "/x")])
        #expect(facts["status"] == "no broker")
        #expect(
            facts["broker"] == [
                "connected": false, "endpoints": ["unix:/x"], "last_failure": "connection refused",
            ]
        )
        #expect(facts["sockets"] == 3)
        #expect(facts["closes"] == ["1013": 2])
        let text = WorkerOps.metrics(health).text
        #expect(text.contains("\nfanfare_worker_broker_connected 0\n"))
        #expect(text.contains("\nfanfare_worker_sockets 3\n"))
        #expect(text.contains("\nfanfare_worker_closes_total{code=\"1013\"} 2\n"))
    }

    @Test func `every metric of a worker appears once`() {
        let names = WorkerOps.metrics(WorkerHealth()).text.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }
        #expect(names.count > 10)
        #expect(Set(names).count == names.count)
    }
}
