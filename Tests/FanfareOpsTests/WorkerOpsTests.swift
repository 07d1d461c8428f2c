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
        health.counters.refusals = ["origin": 5]
        health.counters.invalidMessages = 6
        health.counters.handlerFailures = 7
        health.counters.handlersFull = 8
        let facts = WorkerOps.facts(health, [.unix(path: "/x")])
        #expect(facts["status"] == "no broker")
        #expect(
            facts["broker"] == [
                "connected": false, "endpoints": ["unix:/x"], "last_failure": "connection refused",
            ]
        )
        #expect(facts["sockets"] == 3)
        #expect(facts["closes"] == ["1013": 2])
        #expect(facts["refusals"] == ["origin": 5])
        #expect(["invalid_messages", "handler_failures", "handlers_full"].map { facts[$0] } == [6, 7, 8])
        let text = WorkerOps.metrics(health).text
        #expect(text.contains("\nfanfare_worker_broker_connected 0\n"))
        #expect(text.contains("\nfanfare_worker_sockets 3\n"))
        #expect(text.contains("\nfanfare_worker_refusals_total{reason=\"origin\"} 5\n"))
        #expect(text.contains("\nfanfare_worker_handler_failures_total 7\n"))
        #expect(text.contains("\nfanfare_worker_closes_total{code=\"1013\"} 2\n"))
    }

    @Test func `every metric of a worker appears once`() {
        let names = WorkerOps.metrics(WorkerHealth()).text.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }
        #expect(names.count > 10)
        #expect(Set(names).count == names.count)
    }
}
