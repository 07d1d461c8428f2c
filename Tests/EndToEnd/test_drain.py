"""Workers that take their leave: what their visitors, the broker and the load balancer see of it."""
import asyncio
import json
import re
import signal
import socket
import time
import urllib.request

import chat
import wire
from programs import HOST, STOP_SECONDS, eventually

ROOM, GROUP = "lobby", "chat_lobby"
SOCKETS = 200
HINT = re.compile(r"restart; reconnect in (\d{1,5}) ms")


def metrics(worker):
    with urllib.request.urlopen(f"http://{HOST}:{worker.ops_port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if not name.startswith("#")}


async def enter_all(port, count):
    visitors = []
    for _ in range(count // 50):
        visitors += await asyncio.gather(*(chat.Visitor.enter(port, ROOM) for _ in range(50)))
    return visitors


async def end_of(visitor):
    """When its socket was closed, with which code and reason."""
    await asyncio.wait_for(visitor.socket.wait_closed(), chat.SECONDS)
    return time.monotonic(), visitor.socket.close_code, visitor.socket.close_reason


async def ended(program):
    return await asyncio.to_thread(program.process.wait, STOP_SECONDS)


def test_sigterm_closes_every_socket_in_its_own_time_and_leaves_nothing(house, broker, port):
    worker = house.worker("worker-1", port, True, "--drain-seconds", "3")

    async def run():
        visitors = await enter_all(port, SOCKETS)
        await asyncio.to_thread(eventually, lambda: len(house.members(GROUP)) == SOCKETS, "all are members")
        worker.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(eventually, lambda: house.readiness(worker)[0] == 503, "it is not ready any more")
        status, reason = house.readiness(worker)
        assert status == 503 and "drains" in reason, reason
        numbers = metrics(worker)
        assert numbers["fanfare_worker_draining"] == 1 and 0 < numbers["fanfare_worker_sockets"] < SOCKETS, numbers
        # The port is closed; who comes now goes to another worker.
        await asyncio.to_thread(eventually, lambda: refused(port), "nothing is accepted any more")
        ends = await asyncio.gather(*(end_of(visitor) for visitor in visitors))
        assert await ended(worker) == 0, worker.text()
        return ends

    ends = asyncio.run(run())
    assert {code for _, code, _ in ends} == {1012}
    hints = [HINT.fullmatch(reason) for _, _, reason in ends]
    assert all(hints) and len({hint[1] for hint in hints}) > SOCKETS // 10, hints
    # Spread, not all at once: by order of magnitude, as the machine may be busy.
    assert max(at for at, _, _ in ends) - min(at for at, _, _ in ends) > 1
    assert house.rows("groups") == [] and house.rows("workers") == []
    assert not any(house.json("status")["drops"].values())


def refused(port):
    try:
        socket.create_connection((HOST, port), timeout=5).close()
    except ConnectionRefusedError:
        return True


def test_one_visitor_alone_is_not_kept_waiting(house, broker, port):
    worker = house.worker("worker-1", port, True, "--drain-seconds", "3600")

    async def run():
        visitor = await chat.Visitor.enter(port, ROOM)
        assert await asyncio.to_thread(worker.terminate) == 0
        return await end_of(visitor)

    assert asyncio.run(run())[1] == 1012


def test_a_second_signal_ends_a_drain_at_once(house, broker, port):
    worker = house.worker("worker-1", port, True, "--drain-seconds", "3600")

    async def run():
        visitors = await enter_all(port, 100)
        # A visitor that does not answer its close frame is waited for.
        for visitor in visitors:
            visitor.socket.transport.pause_reading()
        worker.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(eventually, lambda: house.readiness(worker)[0] == 503, "it drains")
        assert worker.is_running()
        worker.process.send_signal(signal.SIGTERM)
        assert await ended(worker) == 128 + signal.SIGTERM
        for visitor in visitors:
            visitor.socket.transport.resume_reading()
            await end_of(visitor)

    asyncio.run(run())
    eventually(lambda: house.rows("groups") == [], "the memberships are gone with the process")


def test_the_port_stays_open_while_the_load_balancer_looks(house, broker, port):
    config = house.folder / "worker.yaml"
    config.write_text("drain_delay_seconds: 2\ndrain_seconds: 1\n")
    worker = house.worker("worker-1", port, True, "--config", str(config))

    async def run():
        worker.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(eventually, lambda: house.readiness(worker)[0] == 503, "it is not ready any more")
        visitor = await chat.Visitor.enter(port, ROOM)
        await visitor.say("still served")
        assert await visitor.hear() == "still served"
        _, code, _ = await end_of(visitor)
        assert code == 1012
        assert await ended(worker) == 0

    asyncio.run(run())


def test_a_worker_takes_its_leave_without_a_broker_too(house, broker, port):
    worker = house.worker("worker-1", port)

    async def run():
        visitor = await chat.Visitor.enter(port, ROOM)
        broker.kill()
        await asyncio.to_thread(eventually, lambda: house.readiness(worker)[0] == 503, "the worker misses its broker")
        assert await asyncio.to_thread(worker.terminate) == 0
        return await end_of(visitor)

    assert asyncio.run(run())[1] == 1012


def test_visitors_of_a_drained_worker_find_the_other(house, workers, port):
    async def run():
        a, b = await chat.enter_apart(port, ROOM)
        first = next(worker for worker in workers if worker.pid == a.pid)
        first.process.send_signal(signal.SIGTERM)
        _, code, reason = await end_of(a)
        assert code == 1012
        await asyncio.sleep(int(HINT.fullmatch(reason)[1]) / 1000)
        again = await chat.Visitor.enter(port, ROOM)
        assert again.pid == b.pid
        await b.say("welcome back")
        assert await again.hear() == "welcome back"
        await chat.leave(again, b)
        assert await ended(first) == 0

    asyncio.run(run())


def test_an_operator_drains_a_worker_through_the_broker(house, workers, port):
    async def run():
        visitors = await enter_all(port, SOCKETS)
        pids = {worker.pid: worker for worker in workers}
        first = pids[visitors[0].pid]
        house.cli("drain", "worker", first.name, "--within", "4")
        gone = [visitor for visitor in visitors if visitor.pid == first.pid]
        ends = await asyncio.gather(*(end_of(visitor) for visitor in gone))
        assert {code for _, code, _ in ends} == {1012} and all(HINT.fullmatch(reason) for _, _, reason in ends)
        assert await ended(first) == 0, first.text()
        left = [visitor for visitor in visitors if visitor.pid != first.pid]
        await asyncio.to_thread(eventually, lambda: len(house.members(GROUP)) == len(left), "its memberships are left")
        await left[0].say("still here")
        for visitor in left:
            assert await visitor.hear() == "still here"
        await chat.leave(*left)

    asyncio.run(run())
    assert [row["name"] for row in house.rows("workers")] != []


def test_a_signal_ends_a_longer_drain_in_its_own_time(house, broker, port):
    worker = house.worker("worker-1", port, True, "--drain-seconds", "3")

    async def run():
        visitors = await enter_all(port, SOCKETS)
        house.cli("drain", "worker", "worker-1", "--within", "600")
        await asyncio.to_thread(eventually, lambda: house.readiness(worker)[0] == 503, "it takes its leave")
        worker.process.send_signal(signal.SIGTERM)
        ends = await asyncio.gather(*(end_of(visitor) for visitor in visitors))
        assert {code for _, code, _ in ends} == {1012} and all(HINT.fullmatch(reason) for _, _, reason in ends)
        assert await ended(worker) == 0, worker.text()

    asyncio.run(run())


def test_a_worker_that_takes_its_leave_finds_a_broker_that_starts_again(house, broker, port):
    worker = house.worker("worker-1", port)

    async def run():
        visitors = await enter_all(port, SOCKETS)
        house.cli("drain", "worker", "worker-1", "--within", "600")
        await asyncio.to_thread(eventually, lambda: house.readiness(worker)[0] == 503, "it takes its leave")
        broker.kill()
        house.broker(name="again")
        def left():
            return [visitor for visitor in visitors if visitor.socket.close_code is None]
        await asyncio.to_thread(
            eventually, lambda: 0 < len(house.members(GROUP)) <= len(left()), "who is still there is a member again"
        )
        stays = left()[-1]
        await stays.say("still here")
        assert await stays.hear() == "still here"
        await chat.leave(*left())

    asyncio.run(run())
