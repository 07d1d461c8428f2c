"""Scenarios in which the machine misbehaves: clocks, disks, descriptors."""
import asyncio
import datetime
import glob
import os
import resource
import shutil
import signal
import subprocess

import wire
from chaos import kills, watch
from chaos.report import Skipped

FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"
DAY = 86_400
TINY_DISK = "64k"
# What a listener leaves to everything else: DescriptorListener.
RESERVE = 32


def require_root(*programs):
    if os.geteuid() != 0 or not all(map(shutil.which, programs)):
        raise Skipped(f"needs root and {', '.join(programs)}")


async def apart_clocks(stage, size):
    """Broker and workers whose monotonic clocks are days apart, by time namespaces: nothing expires."""
    require_root("unshare")
    offsets = {"broker": 30 * DAY, "worker-1": 3 * DAY}
    for name, seconds in offsets.items():
        stage.prefix[name] = ["unshare", "--time", "--monotonic", seconds, "--boottime", seconds, "--"]
    probe = subprocess.run([*map(str, stage.prefix["broker"]), "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        raise Skipped(f"this machine allows no time namespaces: {probe.stderr.strip()}")
    await kills.gather_crowd(stage, size)
    for _ in range(size.rounds):
        await kills.stop(stage, stage.workers["worker-1"], stage.random.uniform(0.1, 0.5))
        await asyncio.sleep(size.seconds)
    await stage.check(drops="exact")
    if stage.ledger.counts["holes"]:
        stage.ledger.violate(f"{stage.ledger.counts['holes']} deliveries are missing: {stage.facts.get('drops')}")
    kills.no_socket_may_have_closed(stage)
    await stage.finish()


async def wall_clock(stage, size):
    """The wall clock of broker and workers jumps by hours to and fro, by libfaketime: nobody cares."""
    libraries = glob.glob(FAKETIME)
    if not libraries:
        raise Skipped("needs libfaketime: apt-get install libfaketime")
    file = stage.house.folder / "time"
    file.write_text("+0")
    stage.environment |= {
        # Left out, libfaketime sets it itself and so moves the environment, by which Swift finds the command line.
        "FAKETIME_SHARED": "/none /none",
        "LD_PRELOAD": libraries[0], "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }
    await kills.gather_crowd(stage, size)
    for _ in range(size.rounds):
        for jump in ("+10h", "-10h", "+0", "+400d"):
            file.write_text(jump)
            await asyncio.sleep(size.seconds)
    await stage.check(drops="none")
    kills.no_socket_may_have_closed(stage)
    await stage.finish()
    # What was logged at the end bears witness that the clock did jump.
    year = str(datetime.date.today().year + 1)
    if not any(f'"time":"{year}' in text for _, text in stage.house.logs()):
        stage.ledger.violate(f"no log has a line of {year}: libfaketime did not move the clock")


async def full_disk(stage, size):
    """Logs, and the broker's state where there is one, on a disk without room: all go on and end with 0."""
    require_root("unshare", "nsenter", "mount")
    disk = stage.house.folder / "disk"
    disk.mkdir()
    # The disk is mounted in a namespace of its own, which a process that only waits keeps.
    mount = (
        'mount -t tmpfs -o size="$1" soak "$2" && head -c 1M /dev/zero >"$2/filler" 2>/dev/null; '
        'echo ready; exec sleep infinity'
    )
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mount, "sh", TINY_DISK, disk], stdout=subprocess.PIPE
    )
    try:
        if holder.stdout.readline() != b"ready\n":
            raise Skipped("this machine allows no mount namespaces")
        enter = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", f"--wd={os.getcwd()}"]
        log = ["sh", "-c", 'log=$1; shift; exec "$@" >>"$log" 2>&1', "sh", disk / "log"]
        for name in ("broker", "worker-1", "worker-2", "worker-3"):
            stage.prefix[name] = [*enter, *log]
        await run_on_full_disk(stage, size, disk)
    finally:
        await stage.abandon()
        holder.kill()
        holder.wait()


async def run_on_full_disk(stage, size, disk):
    """Restarts of a broker that cannot write; what it could not keep may be lost."""
    keeps = stage.use_state(disk / "broker.state")
    stage.broker_arguments += ["--log-level", "trace"]
    stage.worker_arguments = ["--log-level", "trace"]
    await kills.gather_crowd(stage, size)
    for _ in range(size.rounds):
        with stage.ledger.disturbance():
            await kills.restart_broker(stage, signal.SIGTERM, 0)
        await asyncio.sleep(size.seconds)
    await stage.check()
    kills.no_socket_may_have_closed(stage)
    stage.facts["state on the full disk"] = keeps
    await stage.finish()


def limit_descriptors(program, count):
    """The limit of open files of a running process."""
    _, hard = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (count, hard))


async def busy_share(program, seconds):
    """Of one processor, over so many seconds."""
    before = watch.use(program.pid).seconds
    await asyncio.sleep(seconds)
    return (watch.use(program.pid).seconds - before) / seconds


async def no_descriptors(stage, size):
    """A worker and the broker run out of descriptors: who is in stays, accepting pauses, and goes on when there are."""
    await kills.gather_crowd(stage, size)
    shares = []
    for _ in range(size.rounds):
        shares += [await exhaust_worker(stage, size), await exhaust_broker(stage)]
    await stage.check(drops="none")
    kills.no_socket_may_have_closed(stage)
    stage.facts["processor share while out of descriptors"] = max(shares)
    await stage.finish()


async def exhaust_worker(stage, size):
    """More guests than a worker has descriptors for; the rest wait and come in when there are, and all leave again."""
    name, worker = next(iter(stage.workers.items()))
    old = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)[0]
    limit_descriptors(worker, watch.use(worker.pid).descriptors + RESERVE + 20)
    crowd, usual = stage.crowd, stage.crowd.ports
    before, count = len(crowd.members), size.sockets // 2 + 30
    crowd.ports = [stage.ports[name]]
    coming = asyncio.create_task(crowd.enter(count, size.rooms, publishers=0))
    await stage.eventually(lambda: len(crowd.here) >= before + 10, "some come in still")
    share = await busy_share(worker, 2)
    await stage.eventually(lambda: stage.health(worker), "the operations port answers without descriptors", 20)
    guests = crowd.members[before:]
    if len([each for each in guests if each.is_here]) >= count:
        stage.ledger.violate(f"{count} sockets came in with descriptors for 20")
    limit_descriptors(worker, old)
    await asyncio.wait_for(coming, 120)
    for member in guests:
        member.leave()
    await stage.eventually(lambda: not any(each.is_here for each in guests), "the guests have left")
    crowd.members, crowd.ports = crowd.members[:before], usual
    crowd.codes.pop(1000, None)
    return share


async def exhaust_broker(stage):
    """More sessions than the broker has descriptors for; the rest wait and are served when there are."""
    old = resource.prlimit(stage.broker.pid, resource.RLIMIT_NOFILE)[0]
    limit_descriptors(stage.broker, watch.use(stage.broker.pid).descriptors + 10)
    links = [wire.dial(stage.house.socket) for _ in range(30)]
    try:
        for link in links:
            link.sendall(wire.hello(name="guest"))
        share = await busy_share(stage.broker, 2)
        limit_descriptors(stage.broker, old)
        for link in links:
            if not await asyncio.to_thread(link.recv, 4):
                stage.ledger.violate("the broker closed a connection that waited for a descriptor")
    finally:
        for link in links:
            link.close()
    return share
