"""One broker, its workers and a crowd: what a scenario breaks, and what must hold afterwards."""
import asyncio
import collections
import json
import random
import re
import signal
import time
import urllib.request

import programs
import wire
from chaos import watch
from chaos.crowd import Crowd
from chaos.ledger import Ledger

BACK_SECONDS = 60
# Descriptors that come and go by themselves: an operations request, the log.
SPARE_DESCRIPTORS = 4


class Stage:
    """Starts and breaks programs of a house; `worker_arguments` and `broker_arguments` may be set before start()."""

    def __init__(self, house, chance):
        self.house, self.random = house, chance
        self.ledger = Ledger()
        self.broker, self.workers = None, {}
        self.broker_arguments, self.worker_arguments = [], []
        # In front of a program's command line, by its name; must exec it, for the process id is the program's.
        self.prefix, self.environment = {}, dict(house.environment)
        self.ports = {}
        self.crowd = None
        self.lost_drops = collections.Counter()     # Counted by processes that were killed since.
        self.baseline, self.facts = {}, {}
        self.expected_ends = set()
        self.keeps_state = False

    # Starting and ending.

    def help(self, program):
        return self.house.run(program, "--help").stdout

    def has(self, program, flag):
        return flag in self.help(program)

    def use_state(self, file=None):
        """Has the broker hand its state to its next start, where it can; says whether it can."""
        self.keeps_state = self.has("fanfare-broker", "--state")
        if self.keeps_state:
            self.broker_arguments = [*self.broker_arguments, "--state", file or self.house.folder / "broker.state"]
        return self.keeps_state

    def resumes(self):
        """Whether the broker goes on with the session of a link that broke."""
        with wire.Wire(self.house.socket, name="soak") as session:
            return "resume" in session.welcome["capabilities"]

    async def start(self, workers=2):
        await self.start_broker()
        for number in range(1, workers + 1):
            await self.start_worker(f"worker-{number}")
        self.ledger.tells = "gap_notices" in await asyncio.to_thread(self.health, self.workers["worker-1"])
        # A chance of its own: when members come back must not change what the scenario chooses.
        chance = random.Random(self.random.random())
        self.crowd = Crowd(self.ledger, chance, self.ports.values(), self.house.socket)
        self.baseline = {program.name: watch.use(program.pid) for program in self.running()}

    async def start_broker(self):
        house = self.house
        command = [house.binaries / "fanfare-broker", "--listen", house.endpoint, *self.broker_arguments]
        self.broker = self.launch("broker", [*self.prefix.get("broker", []), *command])
        await asyncio.to_thread(
            programs.eventually, lambda: house.is_answering(self.broker), "the broker answers", programs.START_SECONDS
        )

    async def start_worker(self, name, endpoint=None, listen=None):
        """On its own port, which it keeps over restarts; or on a Unix socket, and then without an operations port."""
        if listen is not None:
            return await self._start_remote_worker(name, endpoint, listen)
        port = self.ports.setdefault(name, programs.free_port())
        ops_port = programs.free_port()
        worker = self.launch(name, [
            *self.prefix.get(name, []), self.house.binaries / "fanfare-worker", "--name", name,
            "--broker", endpoint or self.house.endpoint, "--listen", f"{programs.HOST}:{port}",
            "--ops", f"{programs.HOST}:{ops_port}", *self.worker_arguments,
        ])
        worker.ops_port, self.workers[name] = ops_port, worker
        await asyncio.to_thread(
            programs.eventually, lambda: self.house.readiness(worker)[0] == 200, f"{name} is ready",
            programs.START_SECONDS,
        )

    async def _start_remote_worker(self, name, endpoint, listen):
        worker = self.launch(name, [
            *self.prefix.get(name, []), self.house.binaries / "fanfare-worker", "--name", name, "--broker", endpoint,
            "--listen", listen, *self.worker_arguments,
        ])
        worker.ops_port, self.workers[name] = None, worker
        await self.eventually(lambda: "connected to the broker" in worker.text(), f"{name} is connected")

    def launch(self, name, command):
        program = programs.Program(name, command, self.house.folder / f"{name}.log", self.environment)
        self.house.programs.append(program)
        return program

    def running(self):
        return [each for each in [self.broker, *self.workers.values()] if each.is_running()]

    async def end(self, program, number=signal.SIGTERM):
        """Sends a signal that ends the program and waits for its end; SIGTERM must give exit code 0."""
        if number == signal.SIGKILL:
            await self.keep_drops(program)
        self.expected_ends.add(program.pid)
        program.process.send_signal(number)
        code = await asyncio.to_thread(program.process.wait, programs.STOP_SECONDS * 2)
        wanted = -signal.SIGKILL if number == signal.SIGKILL else 0
        if code != wanted:
            self.ledger.violate(f"{program.name} ended with {code}, not {wanted}; see {program.log}")

    async def keep_drops(self, program):
        """What a program counted is gone with it."""
        if program is self.broker:
            self.lost_drops += await asyncio.to_thread(self.broker_drops)

    # Looking.

    async def status(self):
        return await asyncio.to_thread(self.status_now)

    def status_now(self):
        with wire.Wire(self.house.socket, name="soak") as session:
            return session.status()

    def broker_drops(self):
        try:
            return collections.Counter(self.status_now()["drops"])
        except OSError:
            return collections.Counter()

    def health(self, worker):
        with urllib.request.urlopen(f"http://{programs.HOST}:{worker.ops_port}/healthz", timeout=20) as answer:
            return json.load(answer)

    async def eventually(self, check, what, seconds=BACK_SECONDS):
        """Waits until `check`, which may be a coroutine function, gives something true; else a violation."""
        deadline, last = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            try:
                last = await check() if asyncio.iscoroutinefunction(check) else await asyncio.to_thread(check)
            except (OSError, wire.Refused) as failure:
                last = failure
            if last and not isinstance(last, Exception):
                return last
            await asyncio.sleep(0.02)
        self.ledger.violate(f"not within {seconds} s: {what}; last: {last!r}")
        return None

    async def memberships_back(self):
        """Waits until the broker knows a membership of everybody who is in."""
        async def are_back():
            return (await self.status())["memberships"] == len(self.crowd.here)
        await self.eventually(are_back, f"{len(self.crowd.here)} memberships are back")

    # What must hold.

    async def check(self, drops="covered"):
        """Settles, closes the books, and checks what must be true of a system at rest. `drops`: "covered", every
        missing delivery is a drop that was counted; "exact", and the reverse; "none", nobody misses anything."""
        await self.crowd.settle()
        await self.eventually(self._is_at_rest, "the broker is at rest")
        await self.eventually(lambda: not self._restless_workers(), "the workers are at rest")
        if (restless := await asyncio.to_thread(self._restless_workers)):
            self.ledger.violate(f"workers not at rest: {restless}")
        self.ledger.reconcile()
        counted = self.lost_drops + await asyncio.to_thread(self.broker_drops)
        if any(counted.values()):
            self.facts["drops"] = {reason: count for reason, count in counted.items() if count}
        self._check_books(sum(counted.values()), drops)
        self.check_alive()

    async def check_drained(self):
        """For loads without a crowd: nobody is left, and nothing waits."""
        await self.eventually(self._is_at_rest, "the broker is at rest")
        drops = await asyncio.to_thread(self.broker_drops)
        self.facts["drops"] = {reason: count for reason, count in drops.items() if count}
        self.check_alive()

    def _check_books(self, counted, drops):
        holes = self.ledger.counts["holes"]
        if holes > (0 if drops == "none" else counted):
            self.ledger.violate(
                f"{holes} deliveries are missing without a gap, {counted} drops were counted: {self.ledger.example}"
            )
        elif drops == "exact" and counted != holes:
            self.ledger.violate(f"{counted} drops were counted, but {holes} deliveries are missing")

    async def _is_at_rest(self):
        status = await self.status()
        here, links = len(self.crowd.here), len(self.crowd.links)
        self.last_status = status
        # The session that asks is one, too.
        wanted = {
            "memberships": here, "sessions": len(self.workers) + links + 1, "queued_messages": 0, "queued_bytes": 0,
            "strangers": 0,
        }
        wrong = {name: (status[name], value) for name, value in wanted.items() if status[name] != value}
        if wrong:
            raise OSError(f"(is, should be): {wrong}")
        return True

    def _restless_workers(self):
        wrong = {}
        for name, worker in self.workers.items():
            if worker.ops_port is None:
                continue
            health = self.health(worker)
            sockets = sum(member.seat.worker == name for member in self.crowd.here)
            found = (health["sockets"], health["handshakes"], health["slow_readers"])
            if found != (sockets, 0, 0):
                wrong[name] = f"sockets, handshakes, slow readers {found}, should be {(sockets, 0, 0)}"
        return wrong

    def check_alive(self):
        for program in [self.broker, *self.workers.values()]:
            if not program.is_running() and program.pid not in self.expected_ends:
                self.expected_ends.add(program.pid)
                self.ledger.violate(f"{program.name} died with {program.process.returncode}; see {program.log}")

    async def finish(self):
        """Everybody leaves, descriptors are given back, and every program ends with 0 on SIGTERM."""
        await self.crowd.leave()
        for program in self.running():
            before = self.baseline.get(program.name)
            if before is not None:
                most = before.descriptors + SPARE_DESCRIPTORS
                await self.eventually(
                    lambda: watch.use(program.pid).descriptors <= most,
                    f"{program.name} has at most {most} descriptors open again",
                )
        for program in self.running():
            self.facts.setdefault("memory", {})[program.name] = self.memory(program)
        self.check_alive()
        for program in reversed(self.running()):
            await self.end(program)
        self.check_logs()

    async def abandon(self):
        """Ends whatever still runs, stopped programs too."""
        if self.crowd is not None:
            await self.crowd.leave(seconds=1)
        for program in self.house.programs:
            if program.is_running():
                program.process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(self.house.close)

    def memory(self, program):
        now = watch.use(program.pid)
        before = self.baseline.get(program.name, now)
        return f"{before.rss / watch.MIB:.1f}>{now.rss / watch.MIB:.1f} MiB {before.descriptors}>{now.descriptors} fd"

    def check_logs(self):
        """A trap or a sanitizer's report is found even if the process was to die anyway."""
        for name, text in self.house.logs():
            if found := re.search(r"Fatal error.*|\*\*\* .*|AddressSanitizer.*|ThreadSanitizer.*|Crash.*", text):
                self.ledger.violate(f"the log of {name} says: {found.group(0)[:200]}")
