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
        health.counters.reloads = ["tls_failed": 10]
        health.counters.invalidMessages = 6
        health.counters.handlerFailures = 7
        health.counters.handlersFull = 8
        health.counters.outgoingFull = 9
        health.socketsByRoute = ["/ws/<slug:room>/": 3]
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
        #expect(facts["outgoing_full"] == 9)
        #expect(["invalid_messages", "handler_failures", "handlers_full"].map { facts[$0] } == [6, 7, 8])
        let text = WorkerMetrics.metrics(health).text
        #expect(text.contains("\nfanfare_worker_broker_connected 0\n"))
        #expect(text.contains("\nfanfare_worker_sockets 3\n"))
        #expect(text.contains("\nfanfare_worker_refusals_total{reason=\"origin\"} 5\n"))
        #expect(text.contains("\nfanfare_worker_handler_failures_total 7\n"))
        #expect(text.contains("\nfanfare_worker_drops_total{reason=\"outgoing_full\"} 9\n"))
        #expect(text.contains("\nfanfare_worker_reloads_total{result=\"tls_failed\"} 10\n"))
        #expect(text.contains("\nfanfare_worker_reloads_total{result=\"tls_ok\"} 0\n"))
        #expect(text.contains("\nfanfare_worker_route_sockets{route=\"/ws/<slug:room>/\"} 3\n"))
        #expect(text.contains("\nfanfare_worker_closes_total{by=\"client\",code=\"1xxx\"} 2\n"))
    }

    @Test func `every metric of a worker appears once`() {
        let names = WorkerMetrics.metrics(WorkerHealth()).text.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }
        #expect(names.count > 10)
        #expect(Set(names).count == names.count)
    }

    @Test func `whatever code clients choose, few series come of it`() {
        var counters = WorkerCounters()
        for code in UInt16(1_000)...4_999 { counters.closes[code] = 1 }
        counters.closesFromHere = [1_000: 1, 1_013: 1, 4_001: 1]
        #expect(
            WorkerMetrics.closes(counters) == [
                "worker": ["1000": 1, "1013": 1, "4001": 1], "connection": ["1006": 1],
                "client": ["1001": 1, "1005": 1, "1xxx": 995, "2xxx": 1_000, "3xxx": 1_000, "4xxx": 999],
            ]
        )
    }

    @Test func `what a consumer never did is resumed, resynchronised or lost less than never`() {
        var health = WorkerHealth()
        health.counters.sessions = 1
        let text = WorkerMetrics.metrics(health).text
        #expect(text.contains("\nfanfare_worker_resumes_total 0\n"))
        #expect(text.contains("\nfanfare_worker_resyncs_total 0\n"))
    }
}
