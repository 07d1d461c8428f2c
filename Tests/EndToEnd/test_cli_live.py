"""`fanfare top` and `fanfare latency` against a living broker, and what needs a terminal under a real one."""
import json
import os
import signal
import subprocess
import threading

import pytest

import terminals
import wire
from programs import HOST, eventually

USAGE, UNAVAILABLE = 64, 69
NODE = "live"


@pytest.fixture
def traffic(house, broker):
    """Messages to two groups and into a channel that is full, until the test ends."""
    stop = threading.Event()
    channels = [f"specific.{NODE}!{number}" for number in range(3)]

    def send():
        with wire.Wire(house.socket, name="newsroom", role="worker", node=NODE) as owner:
            owner.ask(wire.GROUP_ADD, "busy", channels)
            owner.ask(wire.GROUP_ADD, "quiet", channels[:1])
            while not stop.is_set():
                for _ in range(5):
                    owner.ask(wire.GROUP_SEND, "busy", b"\x80")
                owner.ask(wire.GROUP_SEND, "quiet", b"\x80")
                owner.flood("jobs", ({} for _ in range(20)))
                owner.pushed.clear()
                stop.wait(0.02)

    sender = threading.Thread(target=send)
    sender.start()
    yield
    stop.set()
    sender.join()


@pytest.fixture
def terminal(house):
    """Starts `fanfare` on a terminal of its own."""
    started = []

    def start(*arguments, **size):
        command = [house.binaries / "fanfare", *arguments]
        started.append(terminals.Terminal(command, house.environment, **size))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_top_once_is_a_table_with_rates(house, traffic):
    eventually(lambda: house.json("status")["drops"]["full"], "the channel is full")
    done = house.cli("top", "--once", "--interval", "0.5")
    first, numbers, *rest = done.stdout.splitlines()
    assert first.startswith("fanfare top  fanfare-broker/") and "\x1b" not in done.stdout
    assert "messages/s " in numbers and "memory " in numbers
    assert any(line.split()[:2] == ["default", "busy"] for line in rest)


def test_top_hints_at_no_options_it_does_not_have(house, traffic):
    for number in range(3):
        house.cli("send", f"queue-{number}", "{}")
    last = house.cli("top", "channels", "--once", "--interval", "0.2", "--limit", "2").stdout.splitlines()[-1]
    assert "2 shown" in last and "--" not in last


def test_top_for_programs_is_an_object_an_interval(house, traffic):
    eventually(lambda: house.json("status")["drops"]["full"], "the channel is full")
    done = house.cli("top", "channels", "--sort", "drops", "--count", "3", "--interval", "0.5", "--jsonl", "--limit", "1")
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == 3
    for report in reports:
        assert (report["view"], report["sort"]) == ("channels", "drops")
        assert [row["channel"] for row in report["rows"]] == ["jobs"] and report["total"] >= 1
        assert report["connections"] >= 2 and report["memory_bytes"] > 0
    assert any(report["messages_per_second"] > 0 and report["drops_per_second"] > 0 for report in reports)
    assert any(report["deliveries_per_second"] > 0 for report in reports)


def test_top_obeys_keys_on_a_terminal(house, terminal, traffic):
    top = terminal("top", "--interval", "0.2")
    screen = top.shows("groups by RATE/s")
    assert top.output.startswith(terminals.ENTERED)
    assert "busy" in top.shows("busy") and len(screen.splitlines()) <= 24
    for key, text in [
        ("c", "channels by RATE/s"), ("d", "channels by DEPTH"), ("l", "channels by OLDEST"), ("x", "channels by DROPS"),
        ("i", "smallest first"), ("w", "workers by DROPS"), ("r", "workers by OUT/s"), ("\t", "groups by RATE/s"),
        ("?", "KEYS"), ("?", "busy"), ("p", "PAUSED"),
    ]:
        before = len(top.output)
        top.press(key)
        top.shows(text, after=before)
    before = len(top.output)
    top.press("p")
    assert "PAUSED" not in top.shows("busy", after=before)
    top.press("\x1b[A\x1b[Bq")
    assert top.wait() == 0 and top.is_restored()


def test_top_fits_the_terminal_and_follows_its_size(house, terminal, traffic):
    top = terminal("top", "channels", "--interval", "0.2", rows=30, columns=200)
    assert "MESSAGES" in top.shows("jobs")
    before = len(top.output)
    top.resize(8, 40)
    top.send(signal.SIGWINCH)
    small = top.wait_for(
        lambda output: next(
            (one for one in top.screens(output[before:]) if max(map(len, one.splitlines())) <= 40), None
        ),
        "a screen of the new size",
    )
    assert len(small.splitlines()) <= 8 and "…" in small
    top.press("q")
    assert top.wait() == 0 and top.is_restored()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda one: one.name)
def test_top_gives_the_terminal_back_when_a_signal_ends_it(house, broker, terminal, number):
    top = terminal("top", "--interval", "0.2")
    top.shows("groups by")
    top.send(number)
    assert top.wait() == 0 and top.is_restored()


def test_ctrl_c_ends_top(house, broker, terminal):
    top = terminal("top")
    top.shows("groups by")
    top.press("\x03")
    assert top.wait() == 0 and top.is_restored()


def test_a_stopped_top_gives_the_terminal_back_and_goes_on(house, broker, terminal):
    top = terminal("top", "--interval", "0.2")
    top.shows("groups by")
    top.send(signal.SIGTSTP)
    top.wait_until_stopped()
    top.pump(0.2)
    assert top.is_restored()
    before = len(top.output)
    top.send(signal.SIGCONT)
    top.shows("groups by", after=before)
    assert not top.is_restored()
    top.press("q")
    assert top.wait() == 0 and top.is_restored()


def test_a_broker_that_goes_gives_the_terminal_back(house, broker, terminal):
    top = terminal("top", "--interval", "0.2")
    top.shows("groups by")
    broker.kill()
    assert top.wait() == UNAVAILABLE and top.is_restored()
    assert top.output.rstrip().splitlines()[-1].rpartition(terminals.LEFT)[2].startswith(b"fanfare: ")


def test_a_broker_that_stands_still_holds_no_terminal(house, broker, terminal):
    top = terminal("top", "--interval", "0.1")
    top.shows("groups by")
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        before = len(top.output)
        top.press("?")
        top.shows("KEYS", after=before)
        top.press("q")
        assert top.wait() == 0 and top.is_restored()
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def test_colours_are_for_terminals_that_want_them(house, terminal, traffic):
    eventually(lambda: house.json("status")["drops"]["full"], "the channel is full")
    red = b"\x1b[31m"
    colored = terminal("drops")
    assert colored.wait() == 0 and red in colored.output
    plain = terminal("drops", "--no-color")
    assert plain.wait() == 0 and b"\x1b" not in plain.output
    house.environment["NO_COLOR"] = "1"
    silent = terminal("drops")
    assert silent.wait() == 0 and b"\x1b" not in silent.output
    document = terminal("drops", "--json", columns=20)
    assert document.wait() == 0 and json.loads(document.output)["total"] >= 1


def test_tables_fit_a_narrow_terminal(house, terminal, traffic):
    table = terminal("channels", "--no-color", columns=60)
    assert table.wait() == 0
    rows = table.plain(table.output).splitlines()
    assert max(map(len, rows[:3])) <= 60 and {"CHANNEL", "DEPTH", "DROPS"} <= set(rows[0].split())
    assert "columns left out, see --columns" in rows[-1]
    whole = terminal("channels", "--no-color", "--columns", "channel,worker,depth,bytes,messages,rate,drops", columns=30)
    assert whole.wait() == 0 and "left out" not in whole.plain(whole.output) and "…" in whole.plain(whole.output)


@pytest.mark.parametrize("answer, flushes", [("default", True), ("yes", False), ("", False)])
def test_flush_asks_for_the_name_on_a_terminal(house, broker, terminal, answer, flushes):
    with wire.Wire(house.socket, role="worker") as client:
        client.ask(wire.GROUP_ADD, "queue", ["jobs"])
        flush = terminal("flush", "--namespace", "default")
        flush.wait_for(lambda output: b"Type the namespace" in output, "it asks")
        assert b"1 group" in flush.output
        assert house.json("status")["memberships"] == 1
        flush.press(answer + "\n")
        assert flush.wait() == (0 if flushes else 1)
        assert house.json("status")["memberships"] == (0 if flushes else 1)
        assert (b"nothing was flushed" in flush.output) is not flushes


def percentiles(route):
    names = ["min", "p50", "p90", "p99", "p99_9", "max"]
    values = [route[f"{name}_microseconds"] for name in names]
    assert values == sorted(values) and values[0] > 0
    return values


def test_latency_through_the_broker(house, broker):
    report = house.json("latency", "--rate", "200", "--seconds", "1")
    [route] = report["routes"]
    assert (report["rate"], report["bytes"], route["route"]) == (200, 128, "broker")
    assert (route["sent"], route["received"], route["lost"], route["refused"]) == (200, 200, 0, 0)
    percentiles(route)
    assert house.json("status")["sends"] == 200
    table = house.cli("latency", "--rate", "50", "--seconds", "0.2")
    assert "P99.9 µs" in table.stdout and table.stdout.splitlines()[1].split()[:3] == ["broker", "10", "0"]


def test_latency_through_a_worker(house, workers, port):
    done = house.cli("latency", "--rate", "100", "--seconds", "1", "--worker", f"ws://{HOST}:{port}", "--jsonl")
    broker, worker = (json.loads(line) for line in done.stdout.splitlines())
    assert (broker["route"], worker["route"]) == ("broker", "worker")
    assert (worker["sent"], worker["received"], worker["lost"]) == (100, 100, 0)
    percentiles(worker)
    nowhere = house.cli("latency", "--seconds", "0.1", "--worker", f"ws://{HOST}:{port}/nowhere", "--group", "x", code=UNAVAILABLE)
    assert "opens no WebSocket" in nowhere.stderr
    house.cli("latency", "--worker", f"ws://{HOST}:{port}/relay/x", code=USAGE)


def test_a_stop_of_the_broker_counts_against_every_message_of_that_time(house, broker):
    command = [house.binaries / "fanfare", "latency", "--rate", "100", "--seconds", "8", "--json"]
    with (
        wire.Wire(house.socket, name="watcher") as watcher,
        subprocess.Popen(command, env=house.environment, stdout=subprocess.PIPE, text=True) as measuring,
    ):
        eventually(lambda: watcher.status()["sends"] >= 20, "messages pass")
        os.kill(broker.pid, signal.SIGSTOP)
        threading.Event().wait(1)
        os.kill(broker.pid, signal.SIGCONT)
        output, _ = measuring.communicate(timeout=60)
    [route] = json.loads(output)["routes"]
    assert (route["sent"], route["lost"], route["refused"]) == (800, 0, 0)
    # One message in eight was due while it stood still; of those before and after one would see nothing.
    assert route["p90_microseconds"] > 100_000 and route["max_microseconds"] >= 900_000


def test_an_interrupted_latency_tells_what_there_is(house, broker):
    command = [house.binaries / "fanfare", "latency", "--rate", "100", "--seconds", "600", "--json"]
    with subprocess.Popen(command, env=house.environment, stdout=subprocess.PIPE, text=True) as measuring:
        eventually(lambda: house.json("status")["sends"] >= 20, "messages pass")
        measuring.send_signal(signal.SIGINT)
        output, _ = measuring.communicate(timeout=60)
    assert measuring.returncode == 0
    assert json.loads(output)["routes"][0]["received"] >= 20


@pytest.mark.parametrize(
    "command", [["top", "--interval", "0"], ["top", "--sort", "lag"], ["latency", "--rate", "0"],
                ["latency", "--worker", "tcp://x"], ["latency", "--group", "x"]], ids=" ".join,
)
def test_a_wrong_command_line_is_a_usage_error(house, broker, command):
    assert len(house.cli(*command, code=USAGE).stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [["top"], ["top", "--json"], ["latency"], ["sessions"], ["closed"]], ids=" ".join)
def test_without_a_broker_every_command_says_so(house, command):
    done = house.cli(*command, code=UNAVAILABLE)
    assert done.stdout == "" and str(house.socket) in done.stderr and len(done.stderr.splitlines()) == 1
