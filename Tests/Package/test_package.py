"""The Debian package on a machine of its own: installed, started by systemd, upgraded under traffic, removed."""
import asyncio
import time

import websockets

import chat
from programs import eventually

PORTS = (8000, 8001)
BROKER = "fanfare-broker.service"
WORKERS = [f"fanfare-worker@{port}.service" for port in PORTS]
SOCKETS = 200
SENDS_PER_SECOND = 5

# Files a package may change or leave: the list of users, with the kept copy of the one before.
USER_FILES = {f"/etc/{name}{copy}" for name in ("passwd", "shadow", "group", "gshadow") for copy in ("", "-")}
USER_FILES |= {"/etc/.pwd.lock", "/etc/ld.so.cache"}


def start(machine):
    machine.systemctl("enable", "--now", BROKER, *WORKERS)
    for unit in (BROKER, *WORKERS):
        assert machine.property(unit, "ActiveState") == "active"
        assert machine.property(unit, "StatusText").startswith("serves on "), "systemd was told"


async def enter(port, room):
    """Comes again as often as it is told to: a worker that has just started may still look for its broker."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return await chat.Visitor.enter(port, room)
        except websockets.exceptions.ConnectionClosedError as error:
            assert error.rcvd.code == 1013 and time.monotonic() < deadline, error
            await asyncio.sleep(0.2)


async def talk(ports):
    """Two visitors of a room, one on each port, hear each other."""
    one, two = await asyncio.gather(*(enter(port, "lobby") for port in ports))
    await one.say("from one")
    assert [await one.hear(), await two.hear()] == ["from one"] * 2
    await two.say("from two")
    assert [await one.hear(), await two.hear()] == ["from two"] * 2
    return one, two


class Crowd:
    """Visitors of one room, spread over the workers, who hear all that two of them say all the time."""

    def __init__(self):
        self.said = {0: 0, 1: 0}
        self.is_over = False

    async def enter(self):
        self.visitors = []
        for first in range(0, SOCKETS, 20):
            ports = (PORTS[number % len(PORTS)] for number in range(first, first + 20))
            self.visitors += await asyncio.gather(*(enter(port, "crowd") for port in ports))
        self.tasks = [asyncio.create_task(self.talk(who)) for who in self.said]
        self.tasks += [asyncio.create_task(self.listen(visitor)) for visitor in self.visitors]

    async def talk(self, who):
        while not self.is_over:
            await self.visitors[who].say(f"{who} {self.said[who]}")
            self.said[who] += 1
            await asyncio.sleep(1 / SENDS_PER_SECOND)
        await self.visitors[who].say(f"{who} last")

    async def listen(self, visitor):
        """Everything once and in order, or this fails; a socket that closes raises."""
        expected = {who: 0 for who in self.said}
        ended = set()
        while len(ended) < len(expected):
            who, text = (await visitor.hear()).split()
            if text == "last":
                ended.add(int(who))
                assert expected[int(who)] == self.said[int(who)]
            else:
                assert int(text) == expected[int(who)], f"{who} said {expected[int(who)]}, not {text}"
                expected[int(who)] += 1
        assert visitor.missed == []

    async def end(self):
        """Waits until everybody has heard everything."""
        self.is_over = True
        await asyncio.gather(*self.tasks)
        assert all(await asyncio.gather(*(visitor.is_open() for visitor in self.visitors)))
        await chat.leave(*self.visitors)

    async def hear_more(self):
        """Returns when further messages were said and nothing has gone wrong."""
        target = self.said[0] + SENDS_PER_SECOND
        while self.said[0] < target:
            await asyncio.sleep(0.1)
            for task in self.tasks:
                if task.done():
                    await task


def check_confinement(machine):
    for unit in (BROKER, *WORKERS):
        status = machine.run("cat", f"/proc/{machine.main_pid(unit)}/status").stdout
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert facts["Uid"].split()[0] != "0" and facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2"
        assert int(facts["CapBnd"], 16) == 0
    socket = machine.path("/run/fanfare/broker.sock").stat()
    assert socket.st_mode & 0o777 == 0o660
    assert machine.run("cat", "/var/lib/fanfare/x", check=False, user="fanfare-worker").returncode != 0


def test_it_installs_serves_upgrades_and_removes(machine, packages):
    old, new = packages
    before = machine.files()
    machine.install(old)
    for unit in (BROKER, *WORKERS):
        assert machine.property(unit, "ActiveState") == "inactive", "nothing starts unasked"
    check_units(machine)
    start(machine)
    check_confinement(machine)
    assert old.name.split("_")[1] in machine.run("fanfare-broker", "--version").stdout
    machine.inside(talk(PORTS))
    pids = {unit: machine.main_pid(unit) for unit in (BROKER, *WORKERS)}
    said = machine.inside(upgrade(machine, new))
    assert machine.main_pid(BROKER) != pids[BROKER], "the broker is the new one"
    assert {unit: machine.main_pid(unit) for unit in WORKERS} == {unit: pids[unit] for unit in WORKERS}
    for unit in WORKERS:
        assert f"systemctl restart {unit}" in said
        machine.systemctl("restart", unit)
        assert machine.main_pid(unit) != pids[unit]
    machine.inside(talk(PORTS))
    machine.dpkg("--remove", "fanfare")
    for unit in (BROKER, *WORKERS):
        assert machine.property(unit, "ActiveState") in ("inactive", "failed")
    assert not machine.path("/run/fanfare").exists() and machine.path("/etc/fanfare/broker.yaml").exists()
    machine.dpkg("--purge", "fanfare")
    left = {line.split()[0] for line in machine.files() ^ before}
    assert left <= USER_FILES, left - USER_FILES


async def upgrade(machine, new):
    """Installs while everybody talks; what dpkg printed."""
    crowd = Crowd()
    await crowd.enter()
    await crowd.hear_more()
    done = await asyncio.to_thread(machine.install, new)
    await crowd.hear_more()
    await crowd.end()
    print(f"{len(crowd.visitors)} sockets heard {sum(crowd.said.values())} messages each over the upgrade")
    return done.stdout + done.stderr


def check_units(machine):
    units = ["fanfare-broker.service", "fanfare-broker.socket", "fanfare-worker@8000.service", "fanfare-worker@8000.socket"]
    checked = machine.run("systemd-analyze", "verify", "--man=no", *units, check=False)
    complaints = [line for line in (checked.stdout + checked.stderr).splitlines() if "fanfare" in line]
    assert checked.returncode == 0 and not complaints, complaints
    for unit in units[::2]:
        print(machine.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout.splitlines()[-1])


def test_an_upgrade_that_cannot_start_leaves_the_broker_as_it_is(machine, packages):
    old, new = packages
    machine.install(old)
    start(machine)
    pid = machine.main_pid(BROKER)
    with open(machine.path("/etc/fanfare/broker.yaml"), "a") as settings:
        settings.write("\nno_such_setting: 1\n")
    done = machine.install(new)
    assert "no_such_setting" in done.stderr and "goes on as it was" in done.stderr
    assert machine.main_pid(BROKER) == pid and machine.property(BROKER, "ActiveState") == "active"


def test_it_installs_where_no_systemd_runs(machine, packages):
    """As in a container: the users are made, nothing is started."""
    machine.run("mount", "-t", "tmpfs", "tmpfs", "/run/systemd")
    machine.install(packages[0])
    assert machine.run("id", "fanfare-worker").stdout.strip().endswith("(fanfare)")
    machine.dpkg("--purge", "fanfare")


def test_systemd_listens_for_them(machine, packages):
    machine.install(packages[0])
    # A port that only root may bind.
    machine.systemctl("enable", "--now", "fanfare-broker.socket", "fanfare-worker@80.socket")
    assert machine.property(BROKER, "ActiveState") == "inactive"
    one, two = machine.inside(talk((80, 80)))
    assert machine.property(BROKER, "ActiveState") == "active" and one.pid == two.pid
    assert "unix:/run/fanfare/broker.sock" in machine.property(BROKER, "StatusText")
    socket = machine.path("/run/fanfare/broker.sock").stat()
    for unit in (BROKER, "fanfare-worker@80.service"):
        machine.systemctl("restart", unit)
    machine.systemctl("reload", BROKER)
    machine.inside(talk((80, 80)))
    assert machine.path("/run/fanfare/broker.sock").stat().st_ino == socket.st_ino, "the socket is systemd's"


def test_a_broker_that_hangs_is_ended_and_starts_again(machine, packages):
    machine.install(packages[0])
    drop_in = machine.path(f"/etc/systemd/system/{BROKER}.d/watchdog.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nWatchdogSec=3\n")
    machine.systemctl("daemon-reload")
    start(machine)
    pid = machine.main_pid(BROKER)

    async def run():
        one, two = await talk(PORTS)
        machine.run("kill", "-STOP", pid)
        await asyncio.to_thread(
            eventually, lambda: machine.main_pid(BROKER) not in (0, pid), "systemd starts another broker", 60
        )
        assert "watchdog" in machine.journal()
        assert await one.is_open() and await two.is_open(), "no socket is the broker's"

    machine.inside(run())
    assert machine.property(BROKER, "NRestarts") == "1"
