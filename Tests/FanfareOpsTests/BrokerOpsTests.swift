import FanfareModel
import FanfareOps
import Testing

@testable import fanfare_broker

@Suite struct BrokerOpsTests {
    @Test func `the broker's status becomes metrics, and what it lacks is left out`() {
        var histogram = Histogram(bounds: [1, 2])
        histogram.record(2)
        let text = BrokerMetrics.metrics([
            "broker": "fanfare-broker/0.1.0", "sessions": 2, "group_deliver_frames": 7, "uptime_milliseconds": 1_500,
            "drops_by_class": ["group": ["full": 3], "normal": ["expired": 2]], "refused": ["bad_name": 1],
            "reloads": ["tls_ok": 2], "tls_failures": 4, "connections_by_role": ["worker": 2], "closed": ["silence": 1],
            "oldest_milliseconds": 1_250, "messages_high": 8, "sends": 5, "group_sends": 6,
            "fan_out_members": histogram.value, "round_trip_seconds": "none",
        ]).text
        #expect(text.contains("\nfanfare_broker_sessions 2\n"))
        #expect(text.contains("\nfanfare_broker_group_deliver_frames_total 7\n"))
        #expect(text.contains("\nfanfare_broker_uptime_seconds 1.5\n"))
        #expect(text.contains("\nfanfare_broker_drops_total{class=\"group\",reason=\"full\"} 3\n"))
        #expect(text.contains("\nfanfare_broker_refused_total{error=\"bad_name\"} 1\n"))
        #expect(text.contains("\nfanfare_broker_reloads_total{result=\"tls_ok\"} 2\n"))
        #expect(text.contains("\nfanfare_broker_tls_failures_total 4\n"))
        #expect(text.contains("\nfanfare_broker_connections{role=\"worker\"} 2\n"))
        #expect(text.contains("\nfanfare_broker_closed_total{reason=\"silence\"} 1\n"))
        #expect(text.contains("\nfanfare_broker_oldest_seconds 1.25\n"))
        #expect(text.contains("\nfanfare_broker_queued_messages_high 8\n"))
        #expect(text.contains("\nfanfare_broker_messages_in_total 11\n"))
        #expect(text.contains("\nfanfare_broker_fan_out_members_bucket{le=\"2\"} 1\n"))
        for lacking in ["channels", "messages_out_total", "round_trip_seconds", "queued_bytes_high"] {
            #expect(!text.contains("fanfare_broker_\(lacking)"))
        }
    }

    @Test func `no message waits: the oldest is 0 seconds old`() {
        let text = BrokerMetrics.metrics(["oldest_milliseconds": nil]).text
        #expect(text.contains("\nfanfare_broker_oldest_seconds 0\n"))
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
