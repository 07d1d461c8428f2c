"""Planned restarts of the broker: the next start goes on where this one stopped, or begins anew and says why."""
import os
import stat
import threading
import time
import urllib.error
import urllib.request

import msgpack
import pytest

import wire
from programs import HOST, eventually, free_port


@pytest.fixture
def state(house):
    return house.folder / "broker.state"


def start(house, state, name="broker", *arguments):
    return house.broker("--state", str(state), *arguments, name=name)


def body(message):
    return msgpack.packb(message)


def test_the_next_start_goes_on_with_queues_memberships_and_sessions(house, state):
    first = start(house, state)
    with (
        wire.Resumable(house.socket, name="owner", role="worker", node="owner") as owner,
        wire.Resumable(house.socket, name="away", role="worker", node="away") as away,
        wire.Wire(house.socket, name="plain", role="worker", node="plain") as plain,
    ):
        owner.ask(wire.GROUP_ADD, "room", ["owner!1"])
        plain.ask(wire.GROUP_ADD, "room", ["plain!1"])
        owner.write(wire.RECEIVE, 1_000, "jobs")
        owner.ask(wire.PING)
        away.link.close()
        eventually(lambda: house.json("status")["detached"] == 1, "the broker sees that a link is gone")
        house.cli("send", "away!1", '{"n": 1}')
        house.cli("send", "work", '{"n": 2}')
        assert first.terminate() == 0
        assert stat.S_IMODE(state.stat().st_mode) == 0o600

        second = start(house, state, "second")
        assert not state.exists() and "state taken up" in second.text()
        status = house.json("status")
        assert (status["queued_messages"], status["memberships"], status["detached"]) == (1, 1, 2)
        assert status["epoch"] == owner.welcome["epoch"]
        assert owner.resume(house.socket) and away.resume(house.socket)
        assert away.next_push(wire.DELIVER)[1:3] == ["away!1", body({"n": 1})]
        house.cli("send", "jobs", '{"n": 3}')
        assert owner.next_push(wire.HAND_OUT)[1:3] == [1_000, body({"n": 3})]
        house.cli("group-send", "room", '{"n": 4}')
        assert owner.next_push(wire.GROUP_DELIVER)[1:3] == ["room", body({"n": 4})]
        assert owner.receive("work") == {"n": 2}
        assert house.json("status")["epoch"] == owner.welcome["epoch"]


def test_requests_under_way_are_carried_out_once(house, state):
    first = start(house, state, "broker", "--capacity", "100000")
    count = 30_000
    with wire.Resumable(house.socket, name="sender", role="worker") as sender:
        def flood():
            for number in range(count):
                sender.write(wire.SEND, None, "flood", body(number))

        flooding = threading.Thread(target=flood)
        flooding.start()
        eventually(lambda: house.json("status")["sends"] > 100, "the flood has begun")
        assert first.terminate() == 0
        flooding.join()
        start(house, state, "second", "--capacity", "100000")
        assert sender.resume(house.socket)
        sender.ask(wire.PING)
        assert house.rows("channels", "flood")[0]["depth"] == count
        assert [sender.receive("flood") for _ in range(200)] == list(range(200))


def restarted_anew(house, state, owner, reason, *arguments):
    second = start(house, state, "second", *arguments)
    assert "state refused" in second.text() and reason in second.text(), second.text()
    assert not state.exists()
    status = house.json("status")
    assert status["epoch"] != owner.welcome["epoch"] and status["memberships"] == 0
    assert not owner.resume(house.socket)
    owner.ask(wire.GROUP_ADD, "room", ["owner!1"])


def flip(state):
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)


def truncate(state):
    os.truncate(state, state.stat().st_size - 1)


def empty(state):
    os.truncate(state, 0)


def turn_into_another_version(state):
    content = bytearray(state.read_bytes())
    content[11] += 1
    state.write_bytes(content)


def open_to_others(state):
    state.chmod(0o644)


@pytest.mark.parametrize(
    "harm, reason",
    [(flip, "digest"), (truncate, "digest"), (empty, "damaged"), (turn_into_another_version, "version"),
     (open_to_others, "mode")],
)
def test_a_state_that_cannot_be_trusted_is_refused(house, state, harm, reason):
    first = start(house, state)
    with wire.Resumable(house.socket, name="owner", role="worker", node="owner") as owner:
        owner.ask(wire.GROUP_ADD, "room", ["owner!1"])
        assert first.terminate() == 0
        harm(state)
        restarted_anew(house, state, owner, reason)


def test_a_state_older_than_the_grace_is_refused(house, state):
    grace = ("--limit", "resume_grace_seconds=1")
    first = start(house, state, "broker", *grace)
    with wire.Resumable(house.socket, name="owner", role="worker", node="owner") as owner:
        owner.ask(wire.GROUP_ADD, "room", ["owner!1"])
        assert first.terminate() == 0
        time.sleep(1.1)
        restarted_anew(house, state, owner, "old", *grace)


def test_a_state_that_is_too_large_is_lost_and_the_stop_is_orderly(house, state):
    first = start(house, state, "broker", "--limit", "state_bytes=4096")
    with wire.Resumable(house.socket, name="owner", role="worker", node="owner") as owner:
        owner.ask(wire.GROUP_ADD, "room", [f"owner!{number}" for number in range(1_000)])
        assert first.terminate() == 0
        assert "state lost" in first.text() and "state_bytes" in first.text()
        assert list(house.folder.glob("broker.state*")) == []
        start(house, state, "second")
        assert not owner.resume(house.socket)


def test_a_second_signal_stops_at_once_and_leaves_no_state(house, state):
    port = free_port()
    broker = start(house, state, "broker", "--ops", f"{HOST}:{port}", "--drain-seconds", "60")

    def readiness():
        try:
            return urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code

    assert readiness() == 200
    with wire.Wire(house.socket, name="stalled", role="worker", node="stalled") as stalled:
        # More than the kernel takes waits for a peer that does not read: the broker gives it its time.
        for _ in range(10):
            stalled.write(wire.SEND, None, "stalled!1", bytes(1_000_000))
        stalled.link.settimeout(60)
        eventually(lambda: house.json("status")["delivers"] == 10, "everything was pushed")
        broker.process.terminate()
        eventually(lambda: readiness() == 503, "the broker is not ready any more")
        assert broker.is_running()
        broker.process.terminate()
        assert broker.process.wait(30) == 128 + 15
    assert not state.exists()
    start(house, state, "second")


def test_the_next_start_waits_for_the_state(house, state):
    """While the state is not written nobody else can listen, so no start can miss it."""
    broker = start(house, state, "broker", "--drain-seconds", "60")
    with wire.Wire(house.socket, name="stalled", role="worker", node="stalled") as stalled:
        for _ in range(10):
            stalled.write(wire.SEND, None, "stalled!1", bytes(1_000_000))
        eventually(lambda: house.json("status")["delivers"] == 10, "everything was pushed")
        broker.process.terminate()
        eventually(lambda: "stopping" in broker.text(), "the broker stops")
        early = house.run("fanfare-broker", "--listen", house.endpoint, "--state", state, code=78)
        assert "listening" in early.stderr
    assert broker.process.wait(30) == 0
    assert state.exists()
    start(house, state, "second")
    assert not state.exists()


def test_the_state_file_is_checked_before_anything_else(house, state):
    house.run("fanfare-broker", "--check-config", "--state", state)
    missing = house.folder / "missing" / "broker.state"
    for arguments in (["--check-config"], ["--listen", house.endpoint]):
        done = house.run("fanfare-broker", *arguments, "--state", missing, code=78)
        assert str(missing) in done.stderr
    done = house.run("fanfare-broker", "--check-config", "--state", house.folder, code=78)
    assert "no file" in done.stderr
