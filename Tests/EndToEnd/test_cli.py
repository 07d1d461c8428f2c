"""Every command of `fanfare` against a living broker, as tables and as JSON."""
import json
import signal
import subprocess

import msgpack
import pytest

import wire
from programs import eventually

USAGE, UNAVAILABLE = 64, 69
NODE = "endtoend"
CHANNEL = f"specific.{NODE}!1"
MESSAGE = {"type": "chat.message", "message": "Grüße", "n": 2**53 + 1, "list": [1.5, True, None]}


@pytest.fixture
def owner(house, broker):
    """A process that owns two channels in the group `news`."""
    with wire.Wire(house.socket, name="newsroom", role="worker", node=NODE, attributes={"pid": "4711"}) as owner:
        owner.ask(wire.OPEN_CHANNELS, [[CHANNEL, {"remote": "192.0.2.1:5555"}], [f"specific.{NODE}!2", {}]])
        owner.ask(wire.GROUP_ADD, "news", [CHANNEL, f"specific.{NODE}!2"])
        yield owner


def columns(done):
    """The heading of a table."""
    return done.stdout.splitlines()[0].split()


def test_status(house, broker, owner):
    status = house.json("status")
    assert (status["pid"], status["groups"], status["memberships"]) == (broker.pid, 1, 2)
    assert status["endpoints"] == [house.endpoint]
    for counter in ("frames_in", "frames_out", "bytes_in", "bytes_out", "sends", "group_sends", "group_deliver_frames"):
        assert isinstance(status[counter], int), counter
    assert "BROKER" in house.cli("status").stdout


def test_groups(house, owner):
    owner.ask(wire.GROUP_ADD, "weather", ["normal.channel"])
    answer = house.json("groups")
    assert answer["total"] == 2
    assert {row["group"]: (row["members"], row["owners"]) for row in answer["rows"]} == {"news": (2, 1), "weather": (1, 0)}
    assert [row["group"] for row in house.rows("groups", "wea*")] == ["weather"]
    assert [row["group"] for row in house.rows("groups", "--top", "1")] == ["news"]
    assert [row["group"] for row in house.rows("groups", "--sort", "members")] == ["weather", "news"]
    table = house.cli("groups")
    assert {"GROUP", "MEMBERS", "OWNERS", "RATE/s"} <= set(columns(table)) and "news" in table.stdout


def test_pages_go_on_where_they_ended(house, owner):
    for number in range(7):
        owner.ask(wire.GROUP_ADD, f"group-{number}", [CHANNEL])
    first = house.json("groups", "group-*", "--limit", "5")
    assert len(first["rows"]) == 5 and first["total"] == 7
    second = house.json("groups", "group-*", "--limit", "5", "--cursor", first["cursor"])
    assert "cursor" not in second
    names = [row["group"] for row in first["rows"] + second["rows"]]
    assert sorted(names) == [f"group-{number}" for number in range(7)]


def test_group(house, owner):
    [row] = [row for row in house.rows("group", "news") if row["channel"] == CHANNEL]
    assert (row["worker"], row["remote"]) == ("newsroom", "192.0.2.1:5555")
    assert row["session"] == owner.welcome["session"] and row["expires_milliseconds"] is None
    table = house.cli("group", "news")
    assert {"CHANNEL", "WORKER", "REMOTE", "AGE"} <= set(columns(table)) and "192.0.2.1:5555" in table.stdout
    assert "not_found" in house.cli("group", "nowhere", code=UNAVAILABLE).stderr


def test_channels_and_their_depth(house, owner):
    for _ in range(3):
        house.cli("send", "jobs", json.dumps(MESSAGE))
    [row] = house.rows("channels", "jobs")
    assert (row["depth"], row["capacity"], row["drops"]) == (3, 100, 0)
    assert {"CHANNEL", "DEPTH", "OLDEST", "CAPACITY"} <= set(columns(house.cli("channels")))
    one = house.json("channel", CHANNEL)["rows"][0]
    assert one["group_names"] == ["news"] and one["attributes"]["remote"] == "192.0.2.1:5555"
    assert "news" in house.cli("channel", CHANNEL).stdout
    house.cli("channel", "nowhere", code=UNAVAILABLE)


def test_workers(house, owner):
    [row] = house.rows("workers")
    assert (row["name"], row["node"], row["channels"], row["memberships"]) == ("newsroom", NODE, 2, 2)
    assert "newsroom" in house.cli("workers").stdout
    assert len(house.rows("workers", "--all")) == 2, "the listing itself is a connection, too"


def test_send_is_received_as_it_was_sent(house, owner):
    assert house.json("send", "jobs", json.dumps(MESSAGE))["channel"] == "jobs"
    assert owner.receive("jobs") == MESSAGE
    house.cli("send", CHANNEL, "-", text='{"from": "standard input", "raw": {"$bytes": "AP8="}}')
    pushed = owner.next_push(wire.DELIVER)
    assert pushed[1] == CHANNEL and msgpack.unpackb(pushed[2]) == {"from": "standard input", "raw": b"\x00\xff"}


def test_group_send_is_one_frame_with_its_outcome(house, owner):
    house.cli("group-send", "news", json.dumps(MESSAGE))
    pushed = owner.next_push(wire.GROUP_DELIVER)
    assert pushed[1] == "news" and msgpack.unpackb(pushed[2]) == MESSAGE
    owner.ask(wire.GROUP_ADD, "queue", ["normal.channel"])
    outcome = house.json("group-send", "queue", "{}", "--outcome")
    assert (outcome["members"], outcome["accepted"], outcome["dropped"]) == (1, 1, 0)


def test_a_full_channel_refuses_and_its_drops_are_shown(house, owner):
    for _ in range(100):
        owner.send("jobs", {})
    assert "channel_full" in house.cli("send", "jobs", "{}", code=UNAVAILABLE).stderr
    [row] = house.rows("drops", "jobs")
    assert (row["name"], row["reason"], row["count"]) == ("jobs", "full", 1)
    assert "full" in house.cli("drops").stdout


@pytest.mark.parametrize("as_json", [True, False])
def test_tail_shows_messages_as_they_pass(house, owner, as_json):
    command = [house.binaries / "fanfare", "tail", "group", "ne*", "--count", "1", *(["--json"] if as_json else [])]
    with subprocess.Popen(command, env=house.environment, stdout=subprocess.PIPE, text=True) as tail:
        eventually(lambda: house.json("status")["tails"] == 1, "the tail is open")
        house.cli("group-send", "news", json.dumps(MESSAGE))
        line, _ = tail.communicate(timeout=60)
    assert tail.returncode == 0
    if as_json:
        tailed = json.loads(line)
        assert (tailed["kind"], tailed["name"], tailed["message"]) == ("group", "news", MESSAGE)
    else:
        assert "news" in line and "Grüße" in line
    assert owner.next_push(wire.GROUP_DELIVER)[1] == "news", "a tail takes nothing away"


def test_ping(house, broker):
    assert house.json("ping", "--count", "5", "--interval", "0")["count"] == 5
    assert house.cli("ping", "--count", "5").stdout.strip()


def test_flush_forgets_the_namespace(house, broker):
    with wire.Wire(house.socket, role="worker") as client:
        client.send("jobs", {})
        client.ask(wire.GROUP_ADD, "queue", ["jobs"])
        house.cli("flush", "--namespace", "default", code=USAGE)
        assert house.rows("channels", "jobs")[0]["depth"] == 1
        house.cli("flush", "--namespace", "default", "--yes")
        status = house.json("status")
        assert (status["queued_messages"], status["memberships"]) == (0, 0)


def test_drain_asks_one_process_to_leave(house, owner):
    session = next(row["session"] for row in house.rows("workers") if row["name"] == "newsroom")
    answer = house.json("drain", "worker", "newsroom", "--within", "2.5")
    assert answer == {"session": session, "within_milliseconds": 2500}
    _, within, reason, options = owner.next_push(wire.GOAWAY)
    assert (within, options) == (2500, {"drain": True}) and reason
    assert f"session {session} " in house.cli("drain", "worker", session).stdout
    assert "no session is named" in house.cli("drain", "worker", "nobody", code=UNAVAILABLE).stderr
    assert "not_found" in house.cli("drain", "worker", 999_999, code=UNAVAILABLE).stderr


def test_kick_ends_a_session_and_says_why(house, owner):
    answer = house.json("kick", "newsroom", "--reason", "too loud")
    assert answer["name"] == "newsroom"
    error = owner.next_push(wire.ERROR)
    assert (error[2], error[3]) == (wire.KICKED, "too loud")
    assert house.json("status")["memberships"] == 0
    house.cli("kick", answer["session"], "--reason", "again", code=UNAVAILABLE)


def test_drain_broker_stops_it_in_good_order(house, broker):
    assert house.json("drain", "broker", "--within", "5") == {"within_milliseconds": 5000}
    assert broker.process.wait(30) == 0
    assert not house.socket.exists()


def test_namespaces_are_apart(house, broker):
    house.cli("send", "jobs", "{}", "--namespace", "blue")
    assert house.rows("channels", "--namespace", "default") == []
    assert [row["namespace"] for row in house.rows("channels")] == ["blue"]


def test_watch_goes_on_until_it_is_interrupted(house, broker):
    command = [house.binaries / "fanfare", "groups", "--watch", "0.1", "--json"]
    with subprocess.Popen(command, env=house.environment, stdout=subprocess.PIPE, text=True) as watch:
        for _ in range(3):
            assert json.loads(watch.stdout.readline())["rows"] == []
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=60)
    assert watch.returncode == 0


COMMANDS = [
    ["status"], ["groups"], ["group", "news"], ["channels"], ["channel", "jobs"], ["workers"], ["drops"], ["ping"],
    ["send", "jobs", "{}"], ["group-send", "news", "{}"], ["tail", "group", "*"], ["flush", "--namespace", "default", "--yes"],
    ["drain", "broker"], ["kick", "1", "--reason", "x"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_a_broker_every_command_says_so(house, command):
    done = house.cli(*command, code=UNAVAILABLE)
    assert done.stdout == "" and str(house.socket) in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command", [["group"], ["weather"], ["groups", "--limit", "0"], ["send", "jobs", "[1]"], ["send", "jobs", "{"],
                ["send", "two words", "{}"], ["groups", "--sort", "colour"]],
    ids=" ".join,
)
def test_a_wrong_command_line_is_a_usage_error(house, broker, command):
    assert len(house.cli(*command, code=USAGE).stderr.splitlines()) == 1
