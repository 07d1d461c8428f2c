"""Compares channel layers on the machine at hand, through the interface applications use.

Layers are measured in turns, several rounds each, so that a machine that is busy for a while treats all alike.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import statistics
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

TEXT = "x" * 22
"""With its keys and type the message of the bench comes to about 50 bytes."""
WARM_UP = 50
ANSWER_SECONDS = 20.0


@dataclass(frozen=True)
class Contestant:
    """A layer to measure: what to call it, its class, and its settings."""

    name: str
    backend: str
    settings: Mapping[str, Any]

    def make(self) -> Any:
        module, _, attribute = self.backend.rpartition(".")
        return getattr(importlib.import_module(module), attribute)(**self.settings)

    @property
    def is_shared(self) -> bool:
        """Whether other processes can be reached through it."""
        return "InMemory" not in self.backend


@dataclass
class Figures:
    """What was measured of one layer: seconds of single operations, and operations a second."""

    latencies: Dict[str, List[float]] = field(default_factory=dict)
    rates: Dict[str, List[float]] = field(default_factory=dict)
    failures: Dict[str, str] = field(default_factory=dict)

    def percentile(self, scenario: str, share: float) -> Optional[float]:
        values = sorted(self.latencies.get(scenario, ()))
        return values[min(int(len(values) * share), len(values) - 1)] if values else None

    def rate(self, scenario: str) -> Optional[float]:
        values = self.rates.get(scenario)
        return statistics.median(values) if values else None


async def _close(layer: Any) -> None:
    for name in ("close_pools", "close"):
        close = getattr(layer, name, None)
        if close is not None:
            await close()


async def sequential(layer: Any, count: int) -> Tuple[List[float], float]:
    """`send` then `receive`, one after another."""
    channel = await layer.new_channel()
    taken: List[float] = []
    started = time.perf_counter()
    for number in range(WARM_UP + count):
        if number == WARM_UP:
            started = time.perf_counter()
        before = time.perf_counter()
        await layer.send(channel, {"type": "bench.message", "text": TEXT})
        await layer.receive(channel)
        taken.append(time.perf_counter() - before)
    return taken[WARM_UP:], count / (time.perf_counter() - started)


async def in_flight(layer: Any, count: int, tasks: int = 64) -> Tuple[List[float], float]:
    """`send` then `receive` in many tasks at once, each on a channel of its own."""
    taken: List[float] = []

    async def one(channel: str, repeat: int) -> None:
        for _ in range(repeat):
            before = time.perf_counter()
            await layer.send(channel, {"type": "bench.message", "text": TEXT})
            await layer.receive(channel)
            taken.append(time.perf_counter() - before)

    channels = [await layer.new_channel() for _ in range(tasks)]
    await asyncio.gather(*(one(channel, 2) for channel in channels))
    taken.clear()
    each = max(count // tasks, 1)
    started = time.perf_counter()
    await asyncio.gather(*(one(channel, each) for channel in channels))
    return taken, each * tasks / (time.perf_counter() - started)


def _new_group() -> str:
    """A group of this run's own: some layers keep members of processes that are gone."""
    return f"bench-{uuid.uuid4().hex}"


class _Members:
    """Tasks that receive on a channel each and tell when all of them have the message of a number."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._counts: Dict[int, int] = {}
        self._all: Dict[int, asyncio.Event] = {}
        self._tasks: List[asyncio.Task[None]] = []

    async def join(self, group: str, count: int) -> None:
        for _ in range(count):
            channel = await self._layer.new_channel()
            await self._layer.group_add(group, channel)
            self._tasks.append(asyncio.ensure_future(self._read(channel)))
        await asyncio.sleep(0.05)

    async def _read(self, channel: str) -> None:
        while True:
            message = await self._layer.receive(channel)
            number = message["number"]
            self._counts[number] = self._counts.get(number, 0) + 1
            if self._counts[number] == len(self._tasks):
                del self._counts[number]
                self._all.setdefault(number, asyncio.Event()).set()

    async def wait(self, number: int) -> None:
        await asyncio.wait_for(self._all.setdefault(number, asyncio.Event()).wait(), ANSWER_SECONDS)
        del self._all[number]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def group(layer: Any, count: int, size: int) -> Tuple[List[float], float]:
    """`group_send` to members of the same process, until all of them have it."""
    members = _Members(layer)
    name = _new_group()
    await members.join(name, size)
    taken: List[float] = []
    try:
        for number in range(3 + count):
            before = time.perf_counter()
            await layer.group_send(name, {"type": "bench.message", "text": TEXT, "number": number})
            await members.wait(number)
            taken.append(time.perf_counter() - before)
    finally:
        await members.end()
    return taken[3:], count / sum(taken[3:])


# MARK: Two processes


async def _echo(contestant: Contestant, pipe: Any) -> None:
    """The other process: tells how long each message took to get here, and answers it."""
    layer = contestant.make()
    channel = await layer.new_channel()
    pipe.send(channel)
    while True:
        message = await layer.receive(channel)
        now = time.perf_counter()
        if message["type"] == "bench.end":
            await _close(layer)
            return
        await layer.send(message["back"], {"type": "bench.message", "taken": now - message["at"]})


async def _group_elsewhere(contestant: Contestant, pipe: Any, size: int, name: str) -> None:
    """The other process: has the members, and answers each message when all of them have it."""
    layer = contestant.make()
    channel = await layer.new_channel()
    members = _Members(layer)
    await members.join(name, size)
    pipe.send(channel)
    number = 0
    while True:
        message = await layer.receive(channel)
        if message["type"] == "bench.end":
            await members.end()
            await _close(layer)
            return
        await members.wait(number)
        await layer.send(message["back"], {"type": "bench.message", "at": time.perf_counter()})
        number += 1


def _run(
    function: Callable[..., Awaitable[None]], contestant: Contestant, pipe: Any, arguments: Tuple[Any, ...]
) -> None:
    asyncio.run(function(contestant, pipe, *arguments))  # type: ignore[arg-type]


class _Other:
    """The other process, and its channel."""

    def __init__(self, function: Callable[..., Awaitable[None]], contestant: Contestant, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(function, contestant, theirs, arguments), daemon=True)
        self._process.start()
        if not self._pipe.poll(60):
            raise TimeoutError("the other process does not answer")
        self.channel: str = self._pipe.recv()

    async def end(self, layer: Any) -> None:
        await layer.send(self.channel, {"type": "bench.end"})
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()


async def wake(layer: Any, count: int, contestant: Contestant) -> Tuple[List[float], float]:
    """From `send` in one process to the end of `receive` in another that waits."""
    other = _Other(_echo, contestant)
    back = await layer.new_channel()
    taken: List[float] = []
    try:
        for _ in range(WARM_UP + count):
            at = time.perf_counter()
            await layer.send(other.channel, {"type": "bench.message", "back": back, "at": at})
            answer = await asyncio.wait_for(layer.receive(back), ANSWER_SECONDS)
            taken.append(answer["taken"])
    finally:
        await other.end(layer)
    return taken[WARM_UP:], count / sum(taken[WARM_UP:])


async def group_elsewhere(layer: Any, count: int, contestant: Contestant, size: int) -> Tuple[List[float], float]:
    """`group_send` to members of another process, until all of them have it."""
    name = _new_group()
    other = _Other(_group_elsewhere, contestant, size, name)
    back = await layer.new_channel()
    taken: List[float] = []
    try:
        for number in range(3 + count):
            at = time.perf_counter()
            message = {"type": "bench.message", "text": TEXT, "number": number}
            await layer.group_send(name, message)
            await layer.send(other.channel, {"type": "bench.message", "back": back})
            answer = await asyncio.wait_for(layer.receive(back), ANSWER_SECONDS)
            taken.append(answer["at"] - at)
    finally:
        await other.end(layer)
    return taken[3:], count / sum(taken[3:])


# MARK: The bare round trip


def _serve_echo(path: str, pipe: Any) -> None:
    async def serve() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                data = await reader.read(65_536)
                if not data:
                    return
                writer.write(data)

        server = await asyncio.start_unix_server(answer, path)
        pipe.send(True)
        await server.serve_forever()

    asyncio.run(serve())


class Bare:
    """A socket round trip between two asyncio processes, with streams, and nothing else: the measure of the rest."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory(prefix="fanfare-bench-")
        self._path = f"{self._folder.name}/echo.sock"
        pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve_echo, args=(self._path, theirs), daemon=True)
        self._process.start()
        pipe.poll(60)

    async def measure(self, count: int) -> Tuple[List[float], float]:
        reader, writer = await asyncio.open_unix_connection(self._path)
        data = b"x" * 64
        taken: List[float] = []
        for _ in range(WARM_UP + count):
            before = time.perf_counter()
            writer.write(data)
            await reader.readexactly(64)
            taken.append(time.perf_counter() - before)
        writer.close()
        return taken[WARM_UP:], count / sum(taken[WARM_UP:])

    def close(self) -> None:
        self._process.terminate()
        self._process.join()
        self._folder.cleanup()


# MARK: All of it


def _count(count: int, scale: float) -> int:
    return max(int(count * scale), 1)


Scenario = Callable[[Any, Contestant, float], Awaitable[Tuple[List[float], float]]]

SCENARIOS: Dict[str, Tuple[bool, Scenario]] = {
    "send, receive": (False, lambda layer, _, scale: sequential(layer, _count(2_000, scale))),
    "64 in flight": (False, lambda layer, _, scale: in_flight(layer, _count(6_400, scale))),
    "group of 100": (False, lambda layer, _, scale: group(layer, _count(60, scale), 100)),
    "group of 1000": (False, lambda layer, _, scale: group(layer, _count(10, scale), 1_000)),
    "wake, 2 processes": (True, lambda layer, who, scale: wake(layer, _count(1_000, scale), who)),
    "group of 100, 2 processes": (True, lambda layer, who, scale: group_elsewhere(layer, _count(60, scale), who, 100)),
    "group of 1000, 2 processes": (
        True,
        lambda layer, who, scale: group_elsewhere(layer, _count(10, scale), who, 1_000),
    ),
}
"""By name: whether it takes a second process, and how it is measured."""


async def _once(contestant: Contestant, scenario: Scenario, scale: float) -> Tuple[List[float], float]:
    layer = contestant.make()
    try:
        return await asyncio.wait_for(scenario(layer, contestant, scale), 120)
    finally:
        await _close(layer)


def measure(
    contestants: Sequence[Contestant], rounds: int, scale: float, only: str, say: Callable[[str], None]
) -> Dict[str, Figures]:
    """Measures all in turns. A scenario a layer cannot do is noted in its failures."""
    found = {contestant.name: Figures() for contestant in contestants}
    found["bare"] = Figures()
    bare = Bare()
    try:
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            latencies, rate = asyncio.run(bare.measure(_count(2_000, scale)))
            found["bare"].latencies.setdefault("send, receive", []).extend(latencies)
            found["bare"].rates.setdefault("send, receive", []).append(rate)
            for name, (takes_two, scenario) in SCENARIOS.items():
                if only not in name:
                    continue
                for contestant in contestants:
                    if takes_two and not contestant.is_shared:
                        continue
                    figures = found[contestant.name]
                    try:
                        latencies, rate = asyncio.run(_once(contestant, scenario, scale))
                    except Exception as error:
                        figures.failures[name] = f"{type(error).__name__}: {error}"
                        continue
                    figures.latencies.setdefault(name, []).extend(latencies)
                    figures.rates.setdefault(name, []).append(rate)
    finally:
        bare.close()
    return found


def table(found: Mapping[str, Figures], first: str) -> str:
    """The figures as text; ratios are to `first`, how many times faster it is by the median."""
    lines = []
    head = f"{'':12} {'p50 us':>10} {'p99 us':>10} {'per second':>11} {'ratio p50':>10} {'ratio rate':>10}"
    own = found[first]
    for scenario in SCENARIOS:
        if not any(scenario in figures.rates or scenario in figures.failures for figures in found.values()):
            continue
        lines += ["", scenario, head]
        for name, figures in found.items():
            if scenario in figures.failures:
                lines.append(f"{name:12} {figures.failures[scenario]}")
            p50, p99, rate = (
                figures.percentile(scenario, 0.5),
                figures.percentile(scenario, 0.99),
                figures.rate(scenario),
            )
            if p50 is None or p99 is None or rate is None:
                continue
            mine, my_rate = own.percentile(scenario, 0.5), own.rate(scenario)
            ratios = f"{p50 / mine:10.2f} {my_rate / rate:10.2f}" if mine and my_rate else ""
            lines.append(f"{name:12} {p50 * 1e6:10.0f} {p99 * 1e6:10.0f} {rate:11.0f} {ratios}")
    return "\n".join(lines)
