"""The runs: cases of each section, and the rounds in which all systems take turns."""
import dataclasses
import json
import subprocess
import sys

from benchmark import servers
from benchmark.programs import Failure, end_of

MESSAGE_BYTES = 128
GROWTH_SOCKETS = [100, 1_000, 5_000, 20_000]
IDLE_SOCKETS = [1_000, 20_000]
WINDOWS = [1, 16, 64]
MEMBERSHIPS = [1_000, 10_000, 100_000, 1_000_000]
MEMBERS = [1_000, 100_000]
# Files of a process that are no sockets.
OTHER_FILES = 200
SYSTEM_KEYS = [system.key for system in [
    *servers.WEBSOCKET_SYSTEMS, *servers.BROKER_SYSTEMS, *servers.STARTED_SYSTEMS,
]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One load that some systems carry in turn."""

    key: str
    mode: str
    arguments: tuple
    systems: tuple
    seconds: float

    @property
    def section(self):
        return self.key.split()[0]


def fitting(counts):
    """The counts of sockets, none above what the limit of open files lets one process hold."""
    most = servers.file_limit() - OTHER_FILES
    return sorted({min(count, most) for count in counts})


def cases(options, peers):
    """All cases of the chosen sections, with the chosen systems that are here."""
    def here(systems):
        return tuple(system for system in systems
                     if system.key in options.systems and (not system.peer or system.peer in peers))

    for section, part in PARTS.items():
        if section in options.only:
            for key, mode, arguments, systems, seconds in part(options.seconds):
                if chosen := here(systems):
                    yield Case(f"{section} {key}", mode, arguments, chosen, seconds)


def rooms(seconds):
    for window in (1, 4):
        load = ("--sockets", 1_000, "--rooms", 1, "--window", window)
        yield window, "websocket", load, servers.WEBSOCKET_SYSTEMS, seconds


def spread(seconds):
    load = ("--sockets", 1_000, "--rooms", 100, "--window", 1)
    yield 100, "websocket", load, servers.WEBSOCKET_SYSTEMS, seconds


def latency(seconds):
    # Twice as long: the highest percentiles want many messages.
    load = ("--sockets", 1_000, "--rooms", 1, "--rate", 20)
    yield 20, "websocket", load, servers.FAST_SYSTEMS, 2 * seconds


def broker(seconds):
    for window in WINDOWS:
        # Acknowledged, because Redis answers every PUBLISH.
        load = ("--mode", "group-send", "--links", 100, "--window", window, "--acknowledged")
        yield f"group-send {window}", "broker", load, servers.BROKER_SYSTEMS, seconds
    for window in WINDOWS:
        load = ("--mode", "send-receive", "--window", window)
        yield f"send-receive {window}", "broker", load, [servers.BROKER, servers.REDIS], seconds
    load = ("--mode", "members", *(word for count in MEMBERS for word in ("--members", count)))
    yield "members", "broker", load, [servers.BROKER], seconds


def growth(seconds):
    for sockets in fitting(GROWTH_SOCKETS):
        load = ("--sockets", sockets, "--rooms", 1, "--window", 1)
        yield sockets, "websocket", load, [servers.LIMIT, servers.FANFARE_1], seconds
    for mode in ("churn", "resync"):
        load = ("--mode", mode, "--memberships", MEMBERSHIPS[-1])
        yield mode, "broker", load, [servers.BROKER], seconds


def idle(seconds):
    few, many = fitting(IDLE_SOCKETS)
    load = ("--from", few, "--to", many, "--steps", 2)
    # Long enough for two rounds of pings; of the peers only the memory counts.
    yield "sockets", "idle", load, [servers.LIMIT, servers.FANFARE_1], 10 * seconds
    yield "peers", "idle", load, [servers.UWEBSOCKETS, servers.NCHAN_1, servers.MOSQUITTO], 1


def start(seconds):
    yield "time", "start", ("--runs", max(5, round(4 * seconds))), servers.STARTED_SYSTEMS, seconds


PARTS = {
    "rooms": rooms, "spread": spread, "latency": latency, "broker": broker, "growth": growth, "idle": idle,
    "start": start,
}
SECTIONS = list(PARTS)


class Rounds:
    """Runs every case with every system once in each round, each system started anew."""

    def __init__(self, site, options, results):
        self.site, self.options, self.results = site, options, results

    def run(self, chosen):
        for turn in range(1, self.options.rounds + 1):
            for case in chosen:
                # Each round begins with another system, so that none always follows the same one.
                first = (turn - 1) % max(1, len(case.systems))
                for system in case.systems[first:] + case.systems[:first]:
                    self.attempt(case, system, turn)

    def attempt(self, case, system, turn):
        where = f"round {turn}, {case.key}, {system.title}"
        try:
            with self.site.running(system) as running:
                values = generate(self.site, case, running)
        except Failure as failure:
            self.results.failures.append(f"{where}: {failure}")
            print(f"scripts/bench: {where} FAILED: {failure}", file=sys.stderr, flush=True)
            return
        self.results.add(case.key, system.key, turn, values)
        print(f"scripts/bench: {where}: {brief(values)}", file=sys.stderr, flush=True)


def generate(site, case, running):
    """One run of the load generator: its JSON object."""
    command = [site.binaries / "fanfare-bench", case.mode, "--json", *case.arguments]
    if case.mode != "start":
        pids = running.holders if case.mode == "idle" else running.pids
        command += ["--seconds", case.seconds, *(word for pid in pids for word in ("--pid", pid))]
    command = [str(word) for word in [*command, *running.arguments]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=case.seconds + 300)
    except subprocess.TimeoutExpired:
        raise Failure(f"\"{' '.join(command)}\" did not end within {case.seconds + 300} s") from None
    if done.returncode != 0:
        for program in running.programs:
            program.require_running()
        said = end_of(done.stderr + "\n" + done.stdout)
        raise Failure(f"\"{' '.join(command)}\" exited with {done.returncode}:\n{said}")
    return json.loads(done.stdout)


def brief(values):
    wanted = {
        "serverMicrosecondsPerDelivery": "us/delivery", "deliveriesPerSecond": "deliveries/s",
        "generatorShare": "generator's share",
    }
    return ", ".join(f"{values[key]:.4g} {unit}" for key, unit in wanted.items() if values.get(key) is not None)
