"""Under a service manager: readiness, reloads, the watchdog, sockets that are handed over, and the units' own lines."""
import asyncio
import pathlib
import re
import signal
import socket
import stat
import time

import pytest

import chat
import wire
from manager import Manager
from programs import HOST, START_SECONDS, eventually, free_port

PACKAGING = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "packaging"


@pytest.fixture(params=["abstract", "path"])
def manager(house, request):
    return Manager(house, request.param == "abstract")


def broker_of(manager, *arguments, sockets=(), **environment):
    house = manager.house
    return manager.start("broker", [house.binaries / "fanfare-broker", *arguments], sockets, **environment)


def test_a_broker_tells_when_it_serves_reloads_and_stops(house, manager):
    broker = broker_of(manager)
    ready = manager.hear()
    assert ready["READY"] == "1" and str(house.socket) in ready["STATUS"]
    with wire.Wire(house.socket) as link:
        assert link.status()["pid"] == broker.pid
    broker.process.send_signal(signal.SIGHUP)
    reloading = manager.hear()
    assert reloading["RELOADING"] == "1" and int(reloading["MONOTONIC_USEC"]) > 0
    assert manager.hear()["READY"] == "1"
    assert broker.terminate() == 0
    assert manager.hear()["STOPPING"] == "1"


def test_a_broker_that_is_told_to_reload_while_it_starts_does_so_afterwards(house):
    """The state file is gone by then: a start that ended here would lose it."""
    manager, state = Manager(house), house.folder / "broker.state"
    first = house.broker("--state", state, name="first")
    with wire.Resumable(house.socket, name="owner", role="worker", node="owner") as owner:
        for number in range(60):
            owner.ask(wire.GROUP_ADD, f"g{number}", [f"owner!{member}" for member in range(3_000)])
        assert first.terminate() == 0
        broker = broker_of(manager, "--state", state)
        deadline = time.monotonic() + START_SECONDS
        while state.exists():
            assert time.monotonic() < deadline, "the state is not taken up"
        broker.process.send_signal(signal.SIGHUP)
        for name in ("READY", "RELOADING", "READY"):
            assert name in manager.hear()
        assert owner.resume(house.socket)
        assert house.json("status")["memberships"] == 180_000


def test_a_broker_that_is_drained_says_that_it_stops(house):
    manager = Manager(house)
    broker = broker_of(manager)
    manager.hear_until("READY")
    house.cli("drain", "broker")
    assert "STOPPING" in manager.hear()
    assert broker.process.wait(30) == 0


def test_a_worker_tells_when_it_serves_and_stops(house, broker, manager):
    port = free_port()
    worker = manager.start("worker", [house.binaries / "fanfare-worker", "--listen", f"{HOST}:{port}"])
    ready = manager.hear()
    assert ready["READY"] == "1" and f"http://{HOST}:{port}" in ready["STATUS"]
    assert worker.terminate() == 0
    assert manager.hear()["STOPPING"] == "1"


@pytest.mark.parametrize("program", ["fanfare-broker", "fanfare-worker"])
def test_the_watchdog_hears_of_a_program_that_works(house, program):
    manager = Manager(house)
    arguments = ["--listen", f"{HOST}:{free_port()}"] if program == "fanfare-worker" else []
    started = manager.start("watched", [house.binaries / program, *arguments], WATCHDOG_USEC="200000")
    manager.hear_until("READY")
    for _ in range(3):
        assert manager.hear() == {"WATCHDOG": "1"}
    assert started.terminate() == 0
    assert manager.hear_until("STOPPING")


def test_what_the_manager_says_wrongly_is_named(house):
    manager = Manager(house)
    for variable, value in (("WATCHDOG_USEC", "soon"), ("LISTEN_FDNAMES", "one:two")):
        broker = broker_of(manager, **{variable: value})
        assert broker.process.wait(30) == 78
        assert f'${variable} "{value}"' in broker.text()


def listening_on(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    pathlib.Path(path).chmod(0o660)
    listener.listen()
    return listener


def test_a_broker_serves_sockets_it_was_given_and_leaves_them(house):
    manager = Manager(house)
    given = house.folder / "given.sock"
    with listening_on(given) as unix, socket.create_server((HOST, 0)) as tcp:
        host, port = tcp.getsockname()
        for _ in range(2):
            # Between the starts the kernel keeps who connects.
            early = wire.dial(given)
            broker = broker_of(manager, sockets=[unix, tcp])
            status = manager.hear_until("READY")[-1]["STATUS"]
            assert f"unix:{given}" in status and f"tcp://{host}:{port}" in status
            with wire.Wire(early) as link:
                link.send("news", 1)
                house.environment["FANFARE_BROKER"] = f"tcp://{host}:{port}"
                assert house.rows("channels", "news")[0]["depth"] == 1
            assert not house.socket.exists(), "what was given comes in the place of the standard endpoint"
            assert broker.terminate() == 0
            assert stat.S_ISSOCK(given.stat().st_mode), "the socket's file is the manager's"


def test_a_broker_serves_what_its_settings_name_as_well(house):
    manager = Manager(house)
    given = house.folder / "given.sock"
    with listening_on(given) as unix:
        arguments = ["--listen", f"unix:{given}", "--listen", house.endpoint]
        broker_of(manager, *arguments, sockets=[unix])
        manager.hear_until("READY")
        for path in (given, house.socket):
            with wire.Wire(path) as link:
                assert len(link.status()["endpoints"]) == 2


def test_a_socket_for_everybody_is_refused_without_credentials(house):
    manager = Manager(house)
    given = house.folder / "given.sock"
    with listening_on(given) as unix:
        given.chmod(0o666)
        broker = broker_of(manager, sockets=[unix])
        assert broker.process.wait(30) == 78 and "SocketMode=0660" in broker.text()


def test_a_socket_other_machines_reach_is_refused_as_any(house):
    manager = Manager(house)
    with socket.create_server(("0.0.0.0", 0)) as tcp:
        broker = broker_of(manager, sockets=[tcp])
        assert broker.process.wait(30) == 78 and "--allow-remote-tcp" in broker.text()


def test_what_is_no_stream_socket_is_refused(house):
    manager = Manager(house)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        for program in ("fanfare-broker", "fanfare-worker"):
            started = manager.start(program, [house.binaries / program], [datagrams])
            assert started.process.wait(30) == 78 and "stream socket" in started.text()


def test_a_worker_that_restarts_leaves_who_waits_to_the_next(house, broker):
    manager = Manager(house)
    command = [house.binaries / "fanfare-worker", "--drain-seconds", "0"]
    with socket.create_server((HOST, 0)) as tcp:
        port = tcp.getsockname()[1]

        async def run():
            first = manager.start("first", command, [tcp])
            assert str(port) in (await asyncio.to_thread(manager.hear_until, "READY"))[-1]["STATUS"]
            visitor = await chat.Visitor.enter(port, "lobby")
            assert visitor.pid == first.pid
            assert await asyncio.to_thread(first.terminate) == 0
            # Nobody serves the port now, and nobody is refused.
            waiting = asyncio.create_task(chat.Visitor.enter(port, "lobby"))
            await asyncio.to_thread(manager.hear_until, "STOPPING")
            second = manager.start("second", command, [tcp])
            assert (await waiting).pid == second.pid
            await (await waiting).close()

        asyncio.run(run())


def test_a_worker_takes_one_socket_only(house):
    manager = Manager(house)
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as two:
        worker = manager.start("worker", [house.binaries / "fanfare-worker"], [one, two])
        assert worker.process.wait(30) == 78 and "one socket" in worker.text()


class Unit:
    """The lines of a unit file, with its specifiers and paths put in place."""

    def __init__(self, name, house, instance=""):
        self.house = house
        text = (PACKAGING / name).read_text()
        for specifier, value in (("%i", instance), ("%H", "host"), ("/usr/bin", str(house.binaries)),
                                 ("/run/fanfare", str(house.folder)), ("/var/lib/fanfare", str(house.folder)),
                                 ("/etc/fanfare", str(house.folder))):
            text = text.replace(specifier, value)
        self.lines = [line.split("=", 1) for line in text.splitlines() if re.match(r"^[A-Z]\w+=", line)]
        self.environment = dict(value.split("=", 1) for value in self.values("Environment"))

    def values(self, name):
        return [value for key, value in self.lines if key == name]

    def command(self, name):
        (line,) = self.values(name)
        return [re.sub(r"\$\{(\w+)\}", lambda found: self.environment[found[1]], word) for word in line.split()]

    def start(self, manager, name, sockets=()):
        self.house.environment.update(self.environment)
        program, *arguments = self.command("ExecStartPre")
        self.house.run(pathlib.Path(program).name, *arguments)
        started = manager.start(name, self.command("ExecStart"), sockets)
        assert "READY" in manager.hear_until("READY")[-1]
        return started


def test_the_units_start_what_serves_the_chat(house):
    """With their own command lines; what only systemd can do is scripts/package-test's to try."""
    manager = Manager(house)
    for program in ("broker", "worker"):
        shown = house.run(f"fanfare-{program}", "--print-config").stdout
        (house.folder / f"{program}.yaml").write_text(re.sub(r"(?m)^ *(?=[^ #\n])", "# ", shown))
    broker = Unit("fanfare-broker.service", house).start(manager, "broker")
    port = free_port()
    Unit("fanfare-worker@.service", house, str(port)).start(manager, "worker")
    eventually(lambda: [row["name"] for row in house.rows("workers")] == [f"host-{port}"], "the worker is known")

    async def run():
        one, two = await chat.Visitor.enter(port, "lobby"), await chat.Visitor.enter(port, "lobby")
        await one.say("before")
        assert [await one.hear(), await two.hear()] == ["before"] * 2
        assert await asyncio.to_thread(broker.terminate) == 0
        assert (house.folder / "broker.state").exists(), "the unit lets it keep its state"
        await one.say("meanwhile")
        await asyncio.to_thread(Unit("fanfare-broker.service", house).start, manager, "second")
        assert [await one.hear(), await two.hear()] == ["meanwhile"] * 2
        await chat.leave(one, two)

    asyncio.run(run())
    for unit in ("fanfare-broker.service", "fanfare-worker@.service"):
        assert Unit(unit, house).values("Type") == ["notify"] and Unit(unit, house).values("WatchdogSec")


def test_the_socket_units_say_where_the_services_would_listen(house):
    broker, worker = Unit("fanfare-broker.service", house), Unit("fanfare-worker@.service", house, "80")
    assert broker.environment["FANFARE_BROKER"] == "unix:" + Unit("fanfare-broker.socket", house).values("ListenStream")[0]
    (listen,) = Unit("fanfare-worker@.socket", house, "80").values("ListenStream")
    assert listen in worker.command("ExecStart")
