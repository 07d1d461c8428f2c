"""Scenarios with members that read slowly or not at all."""
import asyncio

from chaos import kills


PADDING = b" " + b"x" * 30_000
SLOW = 1013
READING_SECONDS = 0.02


async def fill(stage, size, policy):
    """A crowd in one room with large messages, and those of it that will not read."""
    limits = {"outgoing_bytes": "256KiB", "outgoing_policy": policy}
    stage.worker_arguments = [word for pair in limits.items() for word in ("--limit", "sockets.{}={}".format(*pair))]
    await stage.start(size.workers)
    await stage.crowd.enter(24, 1, publishers=1)
    stage.crowd.padding = PADDING
    quiet = [member for member in stage.crowd.members if member.publisher is None]
    return stage.random.sample(quiet, 4)


async def stalled_readers(stage, size):
    """Four of 24 members stop reading; messages are dropped for them, each counted, and the others get all."""
    stalled = await fill(stage, size, "drop_newest")
    stage.crowd.start(40)
    for _ in range(size.rounds):
        for member in stalled:
            member.socket.transport.pause_reading()
        await asyncio.sleep(size.seconds)
        dropped_before = sum(stage.broker_drops().values())

        async def are_dropped():
            return sum((await stage.status())["drops"].values()) > dropped_before
        await stage.eventually(are_dropped, "messages for stalled members are dropped")
        for member in stalled:
            member.socket.transport.resume_reading()
    await stage.check(drops="exact")
    kills.no_socket_may_have_closed(stage)
    await stage.finish()


def closed_slowly(stage):
    return sum(stage.health(worker)["slow_readers_closed"] for worker in stage.workers.values())


async def slow_readers(stage, size):
    """Four of 24 members read a little now and then; they are closed with 1013 and come back, the others get all."""
    slow = await fill(stage, size, "disconnect")
    stage.crowd.start(40)
    healthy = [member for member in stage.crowd.members if member not in slow]
    seats = [member.seat for member in healthy]

    async def read_slowly(member):
        while True:
            if member.socket is not None and not member.socket.transport.is_closing():
                member.socket.transport.resume_reading()
                await asyncio.sleep(0)
                if member.socket is not None:
                    member.socket.transport.pause_reading()
            await asyncio.sleep(READING_SECONDS * stage.random.uniform(5, 50))

    for _ in range(size.rounds):
        tasks = [asyncio.create_task(read_slowly(member)) for member in slow]

        wanted = closed_slowly(stage) + len(slow)
        await stage.eventually(lambda: closed_slowly(stage) >= wanted, "the slow readers are closed")
        for task in tasks:
            task.cancel()
        for member in slow:
            if member.socket is not None:
                member.socket.transport.resume_reading()
        await asyncio.sleep(size.seconds)
    await stage.check(drops="none")
    if any(seat.left_at for seat in seats) or set(stage.crowd.codes) - {SLOW}:
        stage.ledger.violate(f"others than the slow were closed, or with another code: {dict(stage.crowd.codes)}")
    stage.facts["closed"] = dict(stage.crowd.codes)
    await stage.finish()
