"""`fanfare check` against a living broker and against none: states, formats, exit codes."""
import json
import signal
import subprocess

import pytest

import wire
from programs import eventually

OK, WARNING, CRITICAL, UNKNOWN, USAGE = 0, 1, 2, 3, 64
NODE = "endtoend"
CHANNEL = f"specific.{NODE}!1"


@pytest.fixture
def owner(house, broker):
    """A process that owns a channel."""
    with wire.Wire(house.socket, name="newsroom", role="worker", node=NODE) as owner:
        owner.ask(wire.OPEN_CHANNELS, [[CHANNEL, {}]])
        yield owner


def check(house, *arguments, code=OK):
    """The results by check, as JSON."""
    answer = json.loads(house.cli("check", *arguments, "--json", code=code).stdout)
    return {result["check"]: result for result in answer["checks"]}


def test_a_broker_at_rest_is_well(house, owner):
    found = check(house, "broker", "queues", "drops", "workers", "memory", "--interval", "0.1")
    assert {name: result["state"] for name, result in found.items()} == dict.fromkeys(found, "ok")
    assert found["workers"]["value"] == 1 and found["drops"]["value"] == 0 and 0 < found["memory"]["value"] < 80
    text = house.cli("check", "broker", "workers").stdout.splitlines()
    assert [line.split()[:2] for line in text] == [["OK", "broker"], ["OK", "workers"]]


def test_all_checks_at_once_report_each(house, owner):
    done = subprocess.run([house.binaries / "fanfare", "check", "--interval", "0.1", "--json"], env=house.environment,
                          capture_output=True, text=True, timeout=60)
    answer = json.loads(done.stdout)
    assert [r["check"] for r in answer["checks"]] == ["broker", "queues", "oldest", "drops", "workers", "lag", "memory"]
    states = {r["check"]: r["state"] for r in answer["checks"]}
    # The owner of this test answers no PING while it waits for the command: its lag is what it is.
    assert states.pop("lag") != "unknown" and set(states.values()) == {"ok"}, states
    assert done.returncode == ["ok", "warning", "critical", "unknown"].index(answer["state"])


def test_no_workers_is_critical_and_thresholds_say_how_many(house, broker):
    assert check(house, "workers", code=CRITICAL)["workers"]["value"] == 0
    assert check(house, "workers", "--warning", "0:", "--critical", "0:")["workers"]["state"] == "ok"
    assert check(house, "workers", "--critical", "0:", code=WARNING)["workers"]["state"] == "warning"
    with wire.Wire(house.socket, name="web-1", role="worker", node=NODE):
        check(house, "workers", "--match", "web-*")
        check(house, "workers", "--match", "other-*", code=CRITICAL)


def test_a_full_queue_and_what_it_loses_are_seen(house, owner):
    for _ in range(85):
        owner.send("jobs", {})
    found = check(house, "queues", code=WARNING)["queues"]
    assert found["value"] == 85 and "jobs holds 85 of 100" in found["text"]
    check(house, "queues", "--match", "other*")
    for _ in range(15):
        owner.send("jobs", {})
    check(house, "queues", code=CRITICAL)
    for _ in range(3):
        with pytest.raises(wire.Refused):
            owner.send("jobs", {})
    lost = check(house, "drops", "--since-start", "--critical", "100", code=WARNING)["drops"]
    assert lost["value"] == 3 and "3 full" in lost["text"]
    # Nothing more is lost: as a rate all is well.
    assert check(house, "drops", "--interval", "0.1")["drops"]["value"] == 0


def test_what_waits_too_long_is_seen(house, owner):
    assert "nothing is unread" in check(house, "oldest")["oldest"]["text"]
    owner.send("jobs", {})
    old = eventually(lambda: house.rows("channels", "jobs")[0]["oldest_milliseconds"] > 100, "the message ages")
    assert old and check(house, "oldest", "--warning", "0.1", code=WARNING)["oldest"]["value"] > 0.1
    found = check(house, "oldest", "--match", "jobs", "--critical", "0.1", code=CRITICAL)["oldest"]
    assert "in channel jobs" in found["text"]
    check(house, "oldest", "--match", "other*", "--critical", "0.1")


def test_a_process_that_does_not_answer_is_seen(house):
    house.broker("--limit", "round_trip_every_seconds=1")
    with wire.Wire(house.socket, name="deaf", role="worker", node=NODE):
        eventually(lambda: (check_lag(house) or 0) > 50, "the broker waits for the answer")
        found = check(house, "lag", "--match", "deaf", "--critical", "50", code=CRITICAL)["lag"]
        assert found["value"] > 50 and found["text"].startswith("deaf answers after")
        check(house, "lag", "--match", "other*", "--critical", "50")


def check_lag(house):
    return next(row["lag_milliseconds"] for row in house.rows("sessions") if row["name"] == "deaf")


def test_drops_are_a_rate_over_the_interval(house, owner):
    for _ in range(100):
        owner.send("jobs", {})
    command = [house.binaries / "fanfare", "check", "drops", "--interval", "2", "--json"]
    with subprocess.Popen(command, env=house.environment, stdout=subprocess.PIPE, text=True) as checking:
        while checking.poll() is None:
            with pytest.raises(wire.Refused):
                owner.send("jobs", {})
        answer = json.loads(checking.communicate(timeout=30)[0])
    assert answer["checks"][0]["value"] > 0 and checking.returncode in (WARNING, CRITICAL)


@pytest.mark.parametrize("format, first", [
    ("text", "OK       broker"), ("nagios", "FANFARE OK - broker: "), ("json", '{"checks":[{"check":"broker"'),
    ("prometheus", "# HELP fanfare_check_state"),
])
def test_formats(house, broker, format, first):
    done = house.cli("check", "broker", "workers", "--format", format, code=CRITICAL) if format == "nagios" else None
    if done:
        line = done.stdout.splitlines()[0]
        assert line.startswith("FANFARE CRITICAL - workers: ") and "| broker=" in line and "workers=0.000;1:;1:;0" in line
    assert house.cli("check", "broker", "--format", format).stdout.startswith(first)


def test_prometheus_takes_the_file(house, broker):
    for line in house.cli("check", "broker", "drops", "--interval", "0.1", "--format", "prometheus").stdout.splitlines():
        name, value = line.rsplit(" ", 1)
        assert line.startswith("# ") or (name.startswith("fanfare_check_") and float(value) >= 0), line


def test_without_a_broker_it_is_critical_and_the_rest_unknown(house):
    states = check(house, "broker", "queues", code=CRITICAL)
    assert (states["broker"]["state"], states["queues"]["state"]) == ("critical", "unknown")
    assert str(house.socket) in states["broker"]["text"]
    check(house, "queues", code=UNKNOWN)


def test_a_broker_that_hangs_is_told_in_time(house, broker):
    broker.process.send_signal(signal.SIGSTOP)
    try:
        check(house, "broker", "--timeout", "0.5", code=CRITICAL)
    finally:
        broker.process.send_signal(signal.SIGCONT)


def test_wrong_words_are_usage_errors(house, broker):
    for wrong in (["bogus"], ["--warning", "5"], ["queues", "--warning", "x"], ["queues", "--critical", "lag=5"]):
        assert len(house.cli("check", *wrong, code=USAGE).stderr.splitlines()) == 1
