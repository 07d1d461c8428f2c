"""A broker that loses messages on purpose: only when asked by name, and loudly."""
import pytest

import wire
from programs import eventually
from test_start import CONFIGURATION, complaint


def test_faults_are_refused_unless_the_mode_is_named(house):
    done = house.run(
        "fanfare-broker", "--listen", house.endpoint, "--resilience", "drops_per_million=1", code=CONFIGURATION
    )
    assert "--resilience-testing" in complaint(done)
    assert not house.socket.exists()


@pytest.mark.parametrize("fault", ["drops_per_million=2000000", "drops_per_million=-1", "losses=1", "seed"])
def test_a_fault_that_cannot_be_is_refused(house, fault):
    done = house.run(
        "fanfare-broker", "--listen", house.endpoint, "--resilience-testing", "--resilience", fault, code=CONFIGURATION
    )
    assert fault.partition("=")[0] in complaint(done)


def test_the_mode_shouts_and_counts_what_it_drops(house):
    broker = house.broker("--resilience-testing", "--resilience", "drops_per_million=1000000", "--resilience", "seed=7")
    eventually(lambda: "RESILIENCE TESTING" in broker.text(), "the log says what this broker does")
    assert house.json("status")["resilience_testing"]["drops_per_million"] == 1_000_000
    assert house.json("status")["resilience_testing"]["seed"] == 7
    assert "resilience" in house.cli("status").stdout.lower()
    with wire.Wire(house.socket) as client:
        client.ask(wire.GROUP_ADD, "news", ["a", "b"])
        for _ in range(5):
            client.send("jobs", {})
        client.ask(wire.GROUP_SEND, "news", b"\x80", {})
    dropped = {(row["kind"], row["name"]): (row["reason"], row["count"]) for row in house.rows("drops")}
    assert dropped == {("channel", "jobs"): ("injected", 5), ("group", "news"): ("injected", 2)}
    status = house.json("status")
    assert status["drops"]["injected"] == 7 and status["queued_messages"] == 0


def test_the_same_seed_loses_the_same_messages(house):
    def lost(number):
        broker = house.broker(
            "--resilience-testing", "--resilience", "drops_per_million=300000", "--resilience", "seed=11",
            name=f"broker-{number}",
        )
        with wire.Wire(house.socket) as client:
            for message in range(80):
                client.send("jobs", {"number": message})
            depth = house.rows("channels", "jobs")[0]["depth"]
            kept = [client.receive("jobs")["number"] for _ in range(depth)]
        assert house.json("status")["drops"]["injected"] == 80 - depth
        assert broker.terminate() == 0
        return kept

    first = lost(1)
    assert 0 < len(first) < 80
    assert lost(2) == first


def test_without_the_mode_status_and_log_say_nothing_of_it(house, broker):
    assert "resilience_testing" not in house.json("status")
    assert "RESILIENCE" not in broker.text()
