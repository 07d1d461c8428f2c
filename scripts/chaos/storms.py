"""Scenarios with as many clients as one machine can hold."""
import asyncio
import resource
import signal
import time

from chaos import kills

# Descriptors this process needs for other things than clients.
OTHER_FILES = 500


def fitting(count, workers):
    """Two ends of each socket: all of them in this process, its share in each worker."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(count, limit - OTHER_FILES, workers * (limit - OTHER_FILES))


async def storm(stage, size):
    """All workers are killed; all their clients come back at once: everybody is in again, nothing leaks."""
    count = fitting(size.storm, 2)
    rooms = max(size.rooms, count // 100)
    await stage.start(2)
    await stage.crowd.enter(count, rooms, publishers=1)
    stage.crowd.opening = asyncio.Semaphore(count)
    stage.crowd.start(size.rate / 3)
    back = []
    for _ in range(max(1, size.rounds // 2)):
        await asyncio.sleep(size.seconds)
        for name, worker in stage.workers.items():
            await stage.end(worker, signal.SIGKILL)
        await stage.eventually(lambda: not stage.crowd.here, "all clients have noticed")
        begun = time.monotonic()
        await asyncio.gather(*(stage.start_worker(name) for name in stage.workers))
        await stage.eventually(lambda: len(stage.crowd.here) == count, f"{count} clients are back", 120)
        back.append(time.monotonic() - begun)
        # The killed workers' memberships last until nobody can go on with their sessions any more.
        await stage.memberships_back()
    await stage.check(drops="none")
    stage.facts |= {
        "clients": count, "all back within": f"{max(back):.1f} s", "refused": sum(stage.crowd.refusals.values())
    }
    stage.baseline.clear()
    await stage.finish()


async def kill_broker(stage, pause):
    with stage.ledger.disturbance():
        return await kills.restart_broker(stage, signal.SIGKILL, pause)


def check_told(stage, wanted):
    """Every member once in each gap, and nobody where there is none."""
    told = stage.crowd.notices.pop("told of a gap", 0)
    if not stage.ledger.tells:
        stage.facts["members told of the gap"] = "no: these workers do not"
    elif told != wanted:
        stage.ledger.violate(f"members were told of gaps {told} times, not {wanted}")


async def restart_10000(stage, size):
    """Measures a broker kill -9 and a planned restart with 10 000 sockets on two workers under traffic."""
    count = fitting(size.storm, 2)
    stage.use_state()
    await stage.start(2)
    await stage.crowd.enter(count, max(size.rooms, count // 100), publishers=1, links=0)
    stage.crowd.start(size.rate / 3)
    links = await asyncio.to_thread(kills.links_made, stage)
    for name, restart in (("kill", kill_broker), ("planned restart", kills.plan_restart)):
        times = []
        for _ in range(size.rounds):
            await asyncio.sleep(size.seconds)
            times.append(await restart(stage, 0))
        missed = stage.ledger.counts["missed"]
        await stage.check(drops="none")
        check_told(stage, count * size.rounds if restart is kill_broker or not stage.keeps_state else 0)
        stage.facts[f"{name}: all memberships back within"] = ", ".join(f"{each:.2f}" for each in times) + " s"
        stage.facts[f"{name}: deliveries missed"] = stage.ledger.counts["missed"] - missed
        stage.crowd.start(size.rate / 3)
    kills.no_socket_may_have_closed(stage)
    made = await asyncio.to_thread(kills.links_made, stage)
    stage.facts |= {
        "sockets": count, "closed": sum(stage.crowd.codes.values()), "doubled": stage.ledger.counts["doubled"],
        "links after restarts": {name: made[name] - links[name] for name in made},
    }
    await stage.finish()
