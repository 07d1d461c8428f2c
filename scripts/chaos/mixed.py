"""All scenarios mixed for as long as wanted: one house lives through everything, others come and go beside it.

In the first third of the time processes are killed and restarted; after it only softer harm is done, so that broker and
workers grow old and the slope of their memory means something.
"""
import asyncio
import collections
import pathlib
import random
import shutil
import signal
import tempfile
import time
import traceback

import programs
from chaos import hostile, kills, scenarios, storms, surroundings, watch
from chaos.report import Report
from chaos.stage import Stage

WARM_UP = 0.25                  # Of a process's samples, not looked at.
JUDGED_SECONDS = 15 * 60        # A slope of less time says nothing.
SLOPE_BYTES_PER_HOUR = watch.MIB
CLOSES = {"kill a worker": {1006}, "drain a worker": {1001, 1012}, "all reconnect": {1006}}


async def kill_broker(stage, size):
    await storms.kill_broker(stage, stage.random.uniform(0, 0.5))


async def restart_broker(stage, size):
    await kills.plan_restart(stage, stage.random.uniform(0, 0.5))


async def kill_worker(stage, size):
    await kills.replace_worker(stage, stage.random.choice(list(stage.workers)), signal.SIGKILL, stage.random.random())


async def drain_worker(stage, size):
    await kills.replace_worker(stage, stage.random.choice(list(stage.workers)), signal.SIGTERM, 0)


async def stop_one(stage, size):
    await kills.stop(stage, stage.random.choice(stage.running()), stage.random.uniform(0.1, 3))


async def stall_some(stage, size):
    stalled = [member.socket for member in stage.random.sample(stage.crowd.here, len(stage.crowd.here) // 10)]
    for socket in stalled:
        socket.transport.pause_reading()
    await asyncio.sleep(stage.random.uniform(0.5, 3))
    for socket in stalled:
        socket.transport.resume_reading()


async def reconnect_all(stage, size):
    for member in stage.crowd.here:
        member.socket.abort()
    await stage.eventually(lambda: len(stage.crowd.here) == size.sockets, "everybody is back")


async def attack(stage, size):
    async with hostile.attackers(stage, size.sockets):
        await asyncio.sleep(2 * size.seconds)


async def exhaust(stage, size):
    await surroundings.exhaust_worker(stage, size)
    await surroundings.exhaust_broker(stage)


HARD = {
    "kill the broker": kill_broker, "restart the broker": restart_broker, "kill a worker": kill_worker,
    "drain a worker": drain_worker,
}
SOFT = {
    "stop one": stop_one, "stall some": stall_some, "all reconnect": reconnect_all, "kill clients": kills.kill_clients,
    "hostile peers": attack, "no descriptors": exhaust,
}


class Mix:
    def __init__(self, options, size, run_scenario):
        self.options, self.size, self.run_scenario = options, size, run_scenario
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-", dir="/tmp"))
        self.stage = Stage(programs.House(options.bin, self.folder), random.Random(options.seed))
        self.samples = collections.defaultdict(list)
        self.done = collections.Counter()
        self.begun = time.monotonic()

    @property
    def share(self):
        """Of the time that has passed."""
        return (time.monotonic() - self.begun) / (60 * self.options.minutes)

    async def reports(self):
        stage, size = self.stage, self.size
        try:
            stage.use_state()
            # What fills up slowly until it is full, as a list of 10 000 ended connections, is not what a slope is for.
            stage.broker_arguments = [*stage.broker_arguments, "--limit", "closed_connections=500"]
            await kills.gather_crowd(stage, size)
            while self.share < 1 and not stage.ledger.violations:
                await self.round()
                if stage.random.random() < 0.3 and self.share < 1:
                    name = stage.random.choice(list(scenarios.SCENARIOS))
                    self.done[name] += 1
                    yield await self.run_scenario(name, self.options.bin, stage.random.randrange(1_000_000), size)
            await stage.check()
            self.judge()
            await stage.finish()
        except Exception as failure:
            traceback.print_exc()
            stage.ledger.violate(f"{type(failure).__name__}: {failure}")
        finally:
            await stage.abandon()
        yield self.report()

    async def round(self):
        """One harm under traffic, rest, the books, and a look at the memory."""
        stage = self.stage
        faults = HARD | SOFT if self.share < 1 / 3 else SOFT
        name = stage.random.choice(list(faults))
        stage.crowd.codes.clear()
        if stage.crowd.traffic is None:
            stage.crowd.start(self.size.rate)
        await asyncio.sleep(stage.random.uniform(0, self.size.seconds))
        await faults[name](stage, self.size)
        await asyncio.sleep(self.size.seconds)
        await stage.check()
        if set(stage.crowd.codes) - CLOSES.get(name, set()):
            stage.ledger.violate(f"after \"{name}\" sockets were closed: {dict(stage.crowd.codes)}")
        if stage.ledger.violations:
            stage.ledger.violate(f"the last harm was \"{name}\"")
        self.done[name] += 1
        for program in stage.running():
            use = watch.use(program.pid)
            self.samples[program.name, program.pid].append((time.monotonic(), use.anonymous, use.descriptors))

    def judge(self):
        """Slopes of memory and descriptors of those that lived to the end."""
        for program in self.stage.running():
            samples = self.samples[program.name, program.pid]
            samples = samples[int(len(samples) * WARM_UP):]
            if len(samples) < 3:
                continue
            seconds = samples[-1][0] - samples[0][0]
            slope = watch.slope([(at, value) for at, value, _ in samples])
            self.stage.facts[f"{program.name} slope"] = (
                f"{slope / watch.MIB:+.2f} MiB/h over {seconds / 60:.0f} min, {samples[0][2]}>{samples[-1][2]} fd"
            )
            if seconds >= JUDGED_SECONDS and slope > SLOPE_BYTES_PER_HOUR:
                self.stage.ledger.violate(f"{program.name} grows by {slope / watch.MIB:.2f} MiB in an hour")

    def report(self):
        stage = self.stage
        stage.facts["done"] = dict(self.done)
        report = Report(
            "mixed", self.options.seed, time.monotonic() - self.begun, dict(stage.ledger.counts), stage.facts,
            stage.ledger.violations,
        )
        if report.is_good:
            shutil.rmtree(self.folder)
        else:
            report.folder = str(self.folder)
        return report


async def run(options, size, run_scenario):
    async for report in Mix(options, size, run_scenario).reports():
        yield report
