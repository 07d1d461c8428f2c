"""Scenarios whose connections are half open: one side believes in them, the bytes go nowhere."""
import asyncio
import contextlib
import os
import shutil
import subprocess

from chaos import kills
from chaos.report import Skipped

BROKER_ADDRESS, WORKER_ADDRESS, PORT = "10.77.0.1", "10.77.0.2", 7411
SILENCE_SECONDS = 2
BROKER_LIMITS = ["--limit", "ping_after_seconds=0.5", "--limit", f"silence_maximum_seconds={SILENCE_SECONDS}"]


class Wall:
    """A proxy in front of a TCP port or a Unix socket that can fall silent: connections stay, bytes stop."""

    def __init__(self, dial):
        self.dial, self.pairs = dial, set()
        self.passes = asyncio.Event()
        self.passes.set()
        self.server = self.port = None

    @classmethod
    async def before_port(cls, port):
        wall = cls(lambda: asyncio.open_connection("127.0.0.1", port))
        wall.server = await asyncio.start_server(wall.accepted, "127.0.0.1", 0, backlog=1024)
        wall.port = wall.server.sockets[0].getsockname()[1]
        return wall

    @classmethod
    async def before_socket(cls, target, path):
        wall = cls(lambda: asyncio.open_unix_connection(str(target)))
        wall.server = await asyncio.start_unix_server(wall.accepted, str(path))
        return wall

    async def accepted(self, reader, writer):
        try:
            far_reader, far_writer = await self.dial()
        except OSError:
            return writer.close()
        self.pairs |= {writer, far_writer}
        await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))
        self.pairs -= {writer, far_writer}

    async def pump(self, reader, writer):
        try:
            while True:
                await self.passes.wait()
                data = await reader.read(65536)
                await self.passes.wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def close(self):
        self.passes.set()
        self.server.close()
        for writer in list(self.pairs):
            writer.transport.abort()


async def silent_link(stage, size):
    """The worker's link to the broker falls silent, by a proxy: both notice, its sockets stay, members come back."""
    stage.broker_arguments = BROKER_LIMITS
    await stage.start(1)
    path = stage.house.folder / "wall.sock"
    wall = await Wall.before_socket(stage.house.socket, path)
    try:
        await stage.start_worker("behind", endpoint=f"unix:{path}")
        await go_silent(stage, size, wall.passes.clear, wall.passes.set, {"behind"})
        await stage.finish()
    finally:
        await wall.close()


async def go_silent(stage, size, silence, pass_on, workers):
    """Silence for longer than a peer may be silent, under traffic, as often as the size says. Without resuming the
    members behind it are gone, and what passes meanwhile is lost to them; with it nothing is."""
    resumes = await asyncio.to_thread(stage.resumes)
    stage.facts["resumes"] = resumes
    await stage.crowd.enter(size.sockets, size.rooms, publishers=2, links=1)
    stage.crowd.start(size.rate)
    for _ in range(size.rounds):
        await asyncio.sleep(size.seconds)
        behind = sum(member.seat.worker in workers for member in stage.crowd.here)
        with contextlib.nullcontext() if resumes else stage.ledger.disturbance():
            silence()
            if resumes:
                await asyncio.sleep(SILENCE_SECONDS + 1)
            else:
                await stage.eventually(
                    lambda: stage.status_now()["memberships"] == len(stage.crowd.here) - behind,
                    f"the {behind} members behind the silent link are gone",
                )
            pass_on()
            await stage.memberships_back()
    await stage.check(drops="none")
    kills.no_socket_may_have_closed(stage)


async def silent_clients(stage, size):
    """Clients fall silent without a word: the worker notices by its pings, closes them, and keeps the others."""
    stage.worker_arguments = ["--limit", "sockets.ping_after_seconds=1"]
    await stage.start(1)
    port = stage.ports["worker-1"]
    await stage.crowd.enter(size.sockets, size.rooms, publishers=1)
    healthy = list(stage.crowd.members)
    stage.crowd.start(size.rate)
    for _ in range(size.rounds):
        wall = await Wall.before_port(port)
        stage.crowd.ports = [wall.port]
        silent = await stage.crowd.enter(size.sockets, size.rooms, publishers=0)
        wall.passes.clear()
        worker = stage.workers["worker-1"]
        await stage.eventually(
            lambda: stage.health(worker)["sockets"] == len(healthy), "the worker has closed the silent sockets"
        )
        await stage.eventually(
            lambda: stage.status_now()["memberships"] == len(healthy), "the broker has forgotten their memberships"
        )
        for member in silent:
            member.stays = False
        stage.crowd.members = list(healthy)
        await wall.close()
    stage.crowd.ports = stage.ports.values()
    await stage.check(drops="covered")
    if any(member.seat is None or member.seat.left_at for member in healthy):
        stage.ledger.violate(f"other sockets were closed: {dict(stage.crowd.codes)}")
    await stage.finish()


class Cable:
    """Two network namespaces joined by a pair of veth interfaces, one of which can be taken down."""

    def __init__(self):
        if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
            raise Skipped("network namespaces need root, ip, unshare and nsenter; silent-link does the same by a proxy")
        self.holders = [
            subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL) for _ in range(2)
        ]

    def prefix(self, end):
        return ["nsenter", f"--net=/proc/{self.holders[end].pid}/ns/net"]

    def inside(self, end, *command):
        done = subprocess.run([*self.prefix(end), *map(str, command)], capture_output=True, text=True)
        if done.returncode != 0:
            raise Skipped(f"\"{' '.join(map(str, command))}\" in a network namespace: {done.stderr.strip()}")

    async def connect(self):
        own = os.readlink("/proc/self/ns/net")
        for holder in self.holders:
            while os.readlink(f"/proc/{holder.pid}/ns/net") == own:
                if holder.poll() is not None:
                    raise Skipped("this machine allows no network namespaces; silent-link does the same by a proxy")
                await asyncio.sleep(0.01)
        self.inside(0, "ip", "link", "add", "name", "soak-0", "type", "veth", "peer", "name", "soak-1",
                    "netns", self.holders[1].pid)
        for end, address in enumerate((BROKER_ADDRESS, WORKER_ADDRESS)):
            self.inside(end, "ip", "address", "add", f"{address}/24", "dev", f"soak-{end}")
            self.inside(end, "ip", "link", "set", "lo", "up")
            self.inside(end, "ip", "link", "set", f"soak-{end}", "up")

    def cut(self):
        # The far end's interface: the broker's own routes stay, so its writes go into nothing and not into an error.
        self.inside(1, "ip", "link", "set", "soak-1", "down")

    def mend(self):
        self.inside(1, "ip", "link", "set", "soak-1", "up")

    def close(self):
        for holder in self.holders:
            holder.kill()
            holder.wait()


async def cut_cable(stage, size):
    """A worker on another machine, as namespaces make it one: the cable is cut and mended, nothing says goodbye."""
    cable = Cable()
    try:
        await cable.connect()
        stage.prefix |= {"broker": cable.prefix(0), "behind": cable.prefix(1)}
        stage.broker_arguments = [*BROKER_LIMITS, "--listen", f"tcp://{BROKER_ADDRESS}:{PORT}", "--allow-remote-tcp"]
        await stage.start(1)
        # Browsers reach it by a Unix socket, which knows no namespaces of networks.
        path = stage.house.folder / "behind.sock"
        await stage.start_worker("behind", endpoint=f"tcp://{BROKER_ADDRESS}:{PORT}", listen=f"unix:{path}")
        stage.crowd.ports = [stage.ports["worker-1"], path]
        await go_silent(stage, size, cable.cut, cable.mend, {"behind"})
        await stage.finish()
    finally:
        await stage.abandon()
        cable.close()
