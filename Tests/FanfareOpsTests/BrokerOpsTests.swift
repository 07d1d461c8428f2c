import FanfareModel
import FanfareOps
import Testing

@testable import fanfare_broker

@Suite struct BrokerOpsTests {
    @Test func `the broker's status becomes metrics, and what it lacks is left out`() {
        let text = BrokerOps.metrics([
            "broker": "fanfare-broker/0.1.0", "sessions": 2, "group_deliver_frames": 7, "uptime_milliseconds": 1_500,
            "drops": ["full": 3], "refused": ["bad_name": 1],
            "reloads": ["tls_ok": 2], "tls_failures": 4,
        ]).text
        #expect(text.contains("\nfanfare_broker_sessions 2\n"))
        #expect(text.contains("\nfanfare_broker_group_deliver_frames_total 7\n"))
        #expect(text.contains("\nfanfare_broker_uptime_seconds 1.5\n"))
        #expect(text.contains("\nfanfare_broker_drops_total{reason=\"full\"} 3\n"))
        #expect(text.contains("\nfanfare_broker_refused_total{error=\"bad_name\"} 1\n"))
        #expect(text.contains("\nfanfare_broker_reloads_total{result=\"tls_ok\"} 2\n"))
        #expect(text.contains("\nfanfare_broker_tls_failures_total 4\n"))
        #expect(!text.contains("fanfare_broker_channels"))
    }

    @Test(arguments: [
        "tcp://127.0.0.1:1", "tcp://127.8.9.10:1", "tcp://[::1]:1", "tcp://localhost:1", "tls://[::1]:1", "unix:/x",
    ])
    func `an endpoint of this machine alone is not remote`(text: String) throws {
        #expect(try !Endpoint(text).isRemote)
    }

    @Test(arguments: [
        "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://10.0.0.1:1", "tcp://127.example.com:1", "tcp://127.0.0.1.x:1",
        "tls://0.0.0.0:1", "tls://example.com:1",
    ])
    func `any other endpoint is remote`(text: String) throws {
        #expect(try Endpoint(text).isRemote)
    }
}
