"""Scenarios that kill, stop and restart processes."""
import asyncio
import contextlib
import signal
import subprocess
import time

from chaos import watch

WORKER_RESTARTED = 1012
GOING_AWAY = 1001
ABNORMAL = 1006


async def gather_crowd(stage, size, publishers=2, links=1):
    """Programs, members and traffic as most scenarios want them."""
    await stage.start(size.workers)
    await stage.crowd.enter(size.sockets, size.rooms, publishers, links)
    stage.crowd.start(size.rate)
    await asyncio.sleep(size.seconds)


def no_socket_may_have_closed(stage):
    if stage.crowd.codes:
        stage.ledger.violate(f"sockets were closed: {dict(stage.crowd.codes)}")


async def restart_broker(stage, number, pause):
    """Ends the broker and starts it again. Seconds from its start until all memberships are back."""
    await stage.end(stage.broker, number)
    await asyncio.sleep(pause)
    begun = time.monotonic()
    await stage.start_broker()
    await stage.memberships_back()
    return time.monotonic() - begun


async def plan_restart(stage, pause):
    """As restart_broker with SIGTERM: messages may be lost only where the state is not handed over."""
    with contextlib.nullcontext() if stage.keeps_state else stage.ledger.disturbance():
        return await restart_broker(stage, signal.SIGTERM, pause)


def links_made(stage):
    return {name: stage.health(worker)["links"] for name, worker in stage.workers.items()}


async def broker_kill(stage, size):
    """kill -9 of the broker: no socket closes, memberships come back, nothing comes twice, losses only in the gap."""
    await gather_crowd(stage, size)
    links, back = await asyncio.to_thread(links_made, stage), []
    for _ in range(size.rounds):
        with stage.ledger.disturbance():
            back.append(await restart_broker(stage, signal.SIGKILL, stage.random.uniform(0, 0.3)))
        await asyncio.sleep(size.seconds)
    await stage.check()
    no_socket_may_have_closed(stage)
    for name, made in (await asyncio.to_thread(links_made, stage)).items():
        if made != links[name] + size.rounds:
            stage.ledger.violate(f"{name} made {made - links[name]} new links in {size.rounds} restarts")
    stage.facts["memberships back within"] = f"{max(back):.2f} s"
    await stage.finish()


async def broker_restart(stage, size):
    """SIGTERM and start of the broker: as after a kill; with --state nothing at all is lost."""
    keeps, back = stage.use_state(), []
    await gather_crowd(stage, size)
    for _ in range(size.rounds):
        back.append(await plan_restart(stage, stage.random.uniform(0, 0.3)))
        await asyncio.sleep(size.seconds)
    await stage.check(drops="none")
    no_socket_may_have_closed(stage)
    stage.facts |= {"memberships back within": f"{max(back):.2f} s", "state handed over": keeps}
    await stage.finish()


async def replace_worker(stage, name, number, pause):
    worker = stage.workers[name]
    await stage.end(worker, number)
    await asyncio.sleep(pause)
    await stage.start_worker(name)
    stage.baseline[name] = watch.use(stage.workers[name].pid)


async def worker_kill(stage, size):
    """kill -9 of a worker: its sockets come back elsewhere, the others notice nothing."""
    await gather_crowd(stage, size)
    for _ in range(size.rounds):
        name = stage.random.choice(list(stage.workers))
        await replace_worker(stage, name, signal.SIGKILL, stage.random.uniform(0, 0.5))
        await asyncio.sleep(size.seconds)
    await stage.check(drops="none")
    if set(stage.crowd.codes) - {ABNORMAL}:
        stage.ledger.violate(f"sockets were closed with other codes than {ABNORMAL}: {dict(stage.crowd.codes)}")
    stage.facts["closed"] = dict(stage.crowd.codes)
    await stage.finish()


async def worker_drain(stage, size):
    """SIGTERM of a worker: every socket is told to come back, and does; the others notice nothing."""
    drains = stage.has("fanfare-worker", "--drain-seconds")
    if drains:
        stage.worker_arguments = ["--drain-seconds", max(0.5, size.seconds)]
    await gather_crowd(stage, size)
    for _ in range(size.rounds):
        name = stage.random.choice(list(stage.workers))
        await replace_worker(stage, name, signal.SIGTERM, 0)
        await asyncio.sleep(size.seconds)
    await stage.check(drops="none")
    wanted = {WORKER_RESTARTED} if drains else {WORKER_RESTARTED, GOING_AWAY}
    if set(stage.crowd.codes) - wanted:
        stage.ledger.violate(f"sockets were closed with other codes than {wanted}: {dict(stage.crowd.codes)}")
    stage.facts["closed"] = dict(stage.crowd.codes)
    await stage.finish()


async def stop(stage, program, seconds):
    """SIGSTOP, and SIGCONT after so many seconds."""
    program.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        program.process.send_signal(signal.SIGCONT)


async def stops(stage, size):
    """SIGSTOP and SIGCONT of broker and workers: no socket closes, every message arrives."""
    await gather_crowd(stage, size)
    for _ in range(2 * size.rounds):
        victims = [stage.broker, *stage.workers.values()]
        await stop(stage, stage.random.choice(victims), stage.random.uniform(0.1, 1.5))
        await asyncio.sleep(size.seconds / 2)
    await stage.check(drops="exact")
    no_socket_may_have_closed(stage)
    await stage.finish()


def start_bench(stage, *arguments):
    """fanfare-bench against one of the workers, in rooms of its own."""
    port = stage.random.choice(list(stage.ports.values()))
    command = [stage.house.binaries / "fanfare-bench", *arguments, "--port", port]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def kill_clients(stage, size):
    """A process full of clients comes, is stopped perhaps, and is killed; its memberships go."""
    before, sockets = len(stage.crowd.here), size.sockets // 2
    victim = start_bench(stage, "websocket", "--sockets", sockets, "--rate", 20, "--seconds", 600)
    try:
        async def are_in():
            return (await stage.status())["memberships"] == before + sockets
        await stage.eventually(are_in, f"{sockets} clients more are members")
        if stage.random.random() < 0.5:
            victim.send_signal(signal.SIGSTOP)
            await asyncio.sleep(size.seconds)
    finally:
        victim.kill()
        victim.wait()
    await stage.memberships_back()


async def client_kill(stage, size):
    """Processes full of clients are stopped and killed: what was theirs is gone, the crowd misses nothing."""
    await gather_crowd(stage, size)
    for _ in range(size.rounds):
        await kill_clients(stage, size)
    await stage.check(drops="none")
    no_socket_may_have_closed(stage)
    await stage.finish()
