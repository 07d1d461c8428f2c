"""Peers that mean harm, against the broker's socket and a worker's port."""
import asyncio
import collections
import contextlib
import functools
import random
import struct

import wire
from chaos import kills, watch

WAIT_SECONDS = 1.0
REST_SECONDS = 0.1
GROWTH_BYTES = 16 * watch.MIB
NESTING = 100_000
HANDSHAKE = (
    b"GET /ws/chat/hostile/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def framed(payload):
    return struct.pack(">I", len(payload)) + payload


def broker_attacks(chance):
    """What is written to the broker's socket, by name."""
    hello = wire.hello(name="hostile")
    return {
        "random bytes": chance.randbytes(4096),
        "random bytes after a hello": hello + chance.randbytes(4096),
        "a truncated frame": hello + wire.frame(wire.SEND, 1, "channel", b"x" * 1000)[:chance.randrange(4, 1000)],
        "a length of 4 GiB": b"\xff\xff\xff\xff",
        "a length of 4 GiB after a hello": hello + b"\xff\xff\xff\xff",
        "lists of 4 Gi elements": hello + framed(b"\xdd\xff\xff\xff\xff" * 16),
        "binary of 4 GiB": hello + framed(b"\x92\x0a\xc6\xff\xff\xff\xff"),
        "nesting": hello + framed(b"\x91" * NESTING + b"\xc0"),
        "repeated ids": hello + wire.frame(wire.RECEIVE, 7, "nothing", 1) * 1000,
        "half a hello": hello[:len(hello) // 2],
        "the largest frame, begun": hello + struct.pack(">I", 2_000_000) + b"\x93\x0a\xc0",
    }


def worker_attacks(chance):
    """What is written to a worker's port, by name."""
    def text(length, payload=b""):
        return b"\x81\xff" + struct.pack(">Q", length) + bytes(4) + payload
    return {
        "random bytes": chance.randbytes(4096),
        "random bytes after a handshake": HANDSHAKE + chance.randbytes(4096),
        "half a handshake": HANDSHAKE[:chance.randrange(1, len(HANDSHAKE))],
        "a truncated frame": HANDSHAKE + text(100_000, b"x" * chance.randrange(1, 1000)),
        "a length of 4 GiB": HANDSHAKE + text(2**32),
        "a length of 8 EiB": HANDSHAKE + text(2**63 - 1),
        "nesting": HANDSHAKE + text(NESTING, b"[" * NESTING),
        "fragments without end": HANDSHAKE + b"\x01\x81" + bytes(4) + b"x" + (b"\x00\x81" + bytes(4) + b"x") * 20_000,
    }


class Attackers:
    """Each attack again and again, one connection of it at a time; and connections that say nothing."""

    def __init__(self, dial_broker, dial_worker, seed, silent):
        self.dials = {"broker": dial_broker, "worker": dial_worker}
        self.attacks = {"broker": broker_attacks, "worker": worker_attacks}
        self.random, self.silent = random.Random(seed), silent
        self.connections, self.tasks = collections.Counter(), []

    async def __aenter__(self):
        for target, attacks in self.attacks.items():
            for name in attacks(self.random):
                self.tasks.append(asyncio.create_task(self.attack(target, name)))
            self.tasks += [asyncio.create_task(self.say_nothing(target)) for _ in range(self.silent // 2)]
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def attack(self, target, name):
        while True:
            data = self.attacks[target](self.random)[name]
            way = self.drip if name.startswith("half") else self.write_all
            await self.talk(target, functools.partial(way, data))
            self.connections[f"{target}: {name}"] += 1
            await asyncio.sleep(REST_SECONDS * self.random.uniform(0.5, 1.5))

    async def talk(self, target, conversation):
        """One connection; refused, reset and closed are answers as they should be."""
        writer = None
        try:
            reader, writer = await self.dials[target]()
            await conversation(reader, writer)
        except OSError:
            pass
        finally:
            if writer is not None:
                writer.transport.abort()

    async def write_all(self, data, reader, writer):
        writer.write(data)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                while await reader.read(65536):
                    pass

    async def drip(self, data, reader, writer):
        """A byte now and then, and never the last one, until it is closed."""
        for byte in data:
            writer.write(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REST_SECONDS):
                    if not await reader.read(65536):
                        return

    async def say_nothing(self, target):
        async def listen(reader, _):
            while await reader.read(65536):
                pass

        while True:
            await self.talk(target, listen)
            self.connections[f"{target}: nothing"] += 1
            await asyncio.sleep(self.random.uniform(0.5, 1.5))


def attackers(stage, silent):
    port = stage.random.choice(list(stage.ports.values()))
    return Attackers(
        lambda: asyncio.open_unix_connection(str(stage.house.socket)),
        lambda: asyncio.open_connection("127.0.0.1", port), stage.random.random(), silent,
    )


async def hostile_peers(stage, size):
    """Hostile bytes and silent connections against broker and worker: the crowd misses nothing, memory stays flat."""
    await kills.gather_crowd(stage, size)
    async with attackers(stage, size.sockets) as first:
        await asyncio.sleep(3 * WAIT_SECONDS)
    before = {program.name: watch.use(program.pid).rss for program in stage.running()}
    for _ in range(size.rounds):
        async with attackers(stage, size.sockets) as peers:
            await asyncio.sleep(2 * WAIT_SECONDS + size.seconds)
        first.connections += peers.connections
    for program in stage.running():
        growth = watch.use(program.pid).rss - before[program.name]
        if growth > GROWTH_BYTES:
            stage.ledger.violate(f"{program.name} grew by {growth / watch.MIB:.1f} MiB under attack")
    ended = {name for name in first.connections if "half" not in name}
    wanted = {f"{target}: {name}" for target, attacks in first.attacks.items() for name in attacks(first.random)}
    if missing := {name for name in wanted - ended if "half" not in name}:
        stage.ledger.violate(f"attacks that never came to their end: {sorted(missing)}")
    await stage.check(drops="none")
    kills.no_socket_may_have_closed(stage)
    stage.facts["hostile connections"] = sum(first.connections.values())
    await stage.finish()
