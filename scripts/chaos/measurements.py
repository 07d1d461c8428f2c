"""Measurements beside an undisturbed run: what one bad peer costs all the others. They want a quiet machine."""
import asyncio
import contextlib
import json
import os
import resource
import signal
import statistics

import programs
from chaos import hostile, watch, websocket
from chaos.stage import Stage

SOCKETS = 100
LINK_BYTES = 2_162_688      # As little as a broker accepts.


def as_usual():
    """In a child: ahead of attackers that were told to stand back."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextlib.asynccontextmanager
async def standing_back():
    """This process takes what processors the others leave: attackers of real life have machines of their own."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        yield
    finally:
        as_usual()


async def bench(stage, *arguments):
    """One run of fanfare-bench: its JSON object. A run that lost something is a violation."""
    command = [str(word) for word in (stage.house.binaries / "fanfare-bench", *arguments, "--json")]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=stage.environment,
        preexec_fn=as_usual,
    )
    try:
        out, failure = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        said = (failure or out).decode()[-300:]
        stage.ledger.violate(f"{' '.join(command)} exited with {process.returncode}: {said}")
    return json.loads(out.decode().splitlines()[-1])


def ratio(stage, name, value, most, size):
    """Prints a ratio with its bound; a violation only where the size is one that means something."""
    stage.facts[name] = f"{value:.3f} (at most {most})"
    if size.judges and value > most:
        stage.ledger.violate(f"{name} is {value:.3f}, more than {most}")


class Peaks:
    """The most memory each program takes while the block runs, looked at a few times a second."""

    def __init__(self, stage):
        self.stage, self.most, self.before = stage, {}, {}

    async def __aenter__(self):
        self.before = {program.name: watch.use(program.pid).rss for program in self.stage.running()}
        self.task = asyncio.create_task(self.look())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.stage.facts["memory peaks"] = {
            name: f"+{max(0, most - self.before[name]) / watch.MIB:.1f} MiB" for name, most in self.most.items()
        }

    async def look(self):
        while True:
            for program in self.stage.running():
                rss = watch.use(program.pid).rss
                self.most[program.name] = max(rss, self.most.get(program.name, 0))
            await asyncio.sleep(0.2)


async def stalled_socket(stage, size):
    """Measures 99 members of a room while the 100th reads nothing for a minute: p99 within 10 %."""
    await stage.start(1)
    worker = stage.workers["worker-1"]
    async with Peaks(stage):
        result = await bench(
            stage, "stalled", "--port", stage.ports["worker-1"], "--sockets", SOCKETS, "--stalled", 100 / SOCKETS,
            "--rate", size.load, "--seconds", size.measured, "--pairs", size.pairs,
            "--ops", f"127.0.0.1:{worker.ops_port}",
        )
    ratio(stage, "p99 ratio", result["ratios"]["p99"], 1.1, size)
    stage.facts["median message's p99 ratio"] = result["ratios"]["median message's p99"]
    stage.facts["stalled"] = [each["stalledEndings"] for each in result["results"] if each["stalled"]]
    await stage.check_drained()
    await stage.finish()


class Listeners:
    """Members of the load's room on a worker that is stopped; they count what they hear."""

    def __init__(self, port):
        self.port, self.heard, self.sockets = port, 0, []

    async def enter(self, count):
        for _ in range(count):
            self.sockets.append(await websocket.WebSocket.open(self.port, "/ws/chat/bench-0/", self.hear, self.ended))

    def hear(self, _):
        self.heard += 1

    def ended(self, code):
        self.sockets = [socket for socket in self.sockets if socket.is_open]

    async def leave(self):
        for socket in self.sockets:
            socket.close()
        await asyncio.sleep(0.2)


async def stopped_worker(stage, size):
    """Measures two workers while the third is stopped for 20 s: p99 within 10 %, its drops counted to the message."""
    shared = programs.free_port()
    stage.ports |= {"worker-1": shared, "worker-2": shared}
    stage.broker_arguments = ["--limit", f"link_bytes={LINK_BYTES}"]
    await stage.start(3)
    listeners = Listeners(stage.ports["worker-3"])
    await listeners.enter(10)
    seconds, p99 = size.measured / 3, {True: [], False: []}
    async with Peaks(stage):
        for turn in range(2 * size.pairs):
            is_stopped = turn % 4 in (1, 2)
            if is_stopped:
                stage.workers["worker-3"].process.send_signal(signal.SIGSTOP)
            try:
                result = await bench(
                    stage, "websocket", "--port", shared, "--sockets", SOCKETS, "--rate", size.load,
                    "--seconds", seconds,
                )
            finally:
                stage.workers["worker-3"].process.send_signal(signal.SIGCONT)
            p99[is_stopped].append(result["latencyMilliseconds"]["p99"])
            await settle_listeners(stage, listeners)
    ratio(stage, "p99 ratio", statistics.median(p99[True]) / statistics.median(p99[False]), 1.1, size)
    stage.facts["p99 ms undisturbed, stopped"] = (p99[False], p99[True])
    if len(listeners.sockets) != 10:
        stage.ledger.violate(f"{10 - len(listeners.sockets)} of 10 members on the stopped worker were closed")
    await listeners.leave()
    await stage.check_drained()
    await stage.finish()


async def settle_listeners(stage, listeners):
    """Everything the load sent was heard by each listener or is counted as dropped."""
    def balance():
        status = stage.status_now()
        dropped = sum(status["drops"].values())
        stage.facts["sent, heard, dropped"] = (status["group_sends"], listeners.heard, dropped)
        return listeners.heard + dropped == 10 * status["group_sends"]
    await stage.eventually(balance, "heard and dropped come to what was sent to the listeners")


async def hostile_load(stage, size):
    """Measures honest members while hostile peers and silent connections do what they can: p99 within 25 %.

    Attackers of real life have machines of their own; here they take this one's processors from everybody. So there are
    three kinds of runs: undisturbed, with the same attack on a broker and a worker nobody uses, and with the attack on
    the ones that are measured. The last two differ in what the attack does to those it is aimed at, which is judged.
    """
    await stage.start(1)
    decoy = Stage(programs.House(stage.house.binaries, stage.house.folder / "decoy"), stage.random)
    decoy.house.folder.mkdir()
    await decoy.start(1)
    p99, spent = {"nobody": [], "others": [], "us": []}, []
    kinds = ["nobody", "others", "us"]
    try:
        async with Peaks(stage), standing_back():
            for turn in range(size.pairs):
                for aim in kinds[::-1] if turn % 2 else kinds:
                    p99[aim].append(await under_attack(stage, {"others": decoy, "us": stage}.get(aim), size, spent))
    finally:
        await decoy.abandon()
    middle = {aim: statistics.median(found) for aim, found in p99.items()}
    ratio(stage, "p99 ratio, we or others attacked", middle["us"] / middle["others"], 1.25, size)
    stage.facts["p99 ratio, we or nobody attacked"] = middle["us"] / middle["nobody"]
    stage.facts["p99 ms"] = p99
    stage.facts["attackers' processor seconds"] = spent
    await stage.check_drained()
    for name, program in (("broker", stage.broker), *stage.workers.items()):
        growth = watch.use(program.pid).rss - stage.baseline[name].rss
        if growth > hostile.GROWTH_BYTES:
            stage.ledger.violate(f"{name} grew by {growth / watch.MIB:.1f} MiB")
    await stage.finish()


async def under_attack(stage, target, size, spent):
    """The p99 of one run in milliseconds, with the attack on `target`, if there is one."""
    def processor_seconds():
        use = resource.getrusage(resource.RUSAGE_SELF)
        return use.ru_utime + use.ru_stime

    async with contextlib.AsyncExitStack() as attack:
        before = processor_seconds()
        if target is not None:
            await attack.enter_async_context(hostile.attackers(target, size.storm // 2))
            await asyncio.sleep(3)
        result = await bench(
            stage, "websocket", "--port", stage.ports["worker-1"], "--sockets", SOCKETS, "--rate", size.load / 5,
            "--seconds", size.measured / 3,
        )
        if target is not None:
            spent.append(round(processor_seconds() - before, 1))
    return result["latencyMilliseconds"]["p99"]
