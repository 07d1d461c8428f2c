"""The main job: people in one room talk to each other through different worker processes."""
import asyncio
import json

import chat
from programs import eventually

ROOM, GROUP = "lobby", "chat_lobby"
MESSAGES = 10_000
# How far a sender may be ahead of the slowest listener. It only keeps a listener that this machine starves within the
# bytes a worker holds for one socket; beyond them messages may be dropped, and this test allows none.
UNHEARD = 1_000
SOCKETS = 1_000
FANOUTS = 5


def test_two_workers_exchange_messages_each_way_without_loss(house, workers, port):
    async def talk(visitor, name, heard):
        for number in range(MESSAGES):
            while min(heard[listener][name] for listener in heard) + UNHEARD <= number:
                await asyncio.sleep(0.001)
            await visitor.say(f"{name} {number}")

    async def listen(visitor, heard):
        while sum(heard.values()) < 2 * MESSAGES:
            name, number = (await visitor.hear()).split()
            assert int(number) == heard[name], f"heard {name} {number}, expected number {heard[name]}"
            heard[name] += 1

    async def run():
        a, b = await chat.enter_apart(port, ROOM)
        assert a.pid != b.pid and {a.pid, b.pid} == {worker.pid for worker in workers}
        heard = {"a": {"a": 0, "b": 0}, "b": {"a": 0, "b": 0}}
        async with asyncio.TaskGroup() as group:
            group.create_task(listen(a, heard["a"]))
            group.create_task(listen(b, heard["b"]))
            group.create_task(talk(a, "a", heard))
            group.create_task(talk(b, "b", heard))
        # One more each: nothing doubled may stand between the last counted message and these.
        await a.say("the end")
        assert await a.hear() == "the end" and await b.hear() == "the end"
        status = house.json("status")
        assert status["group_sends"] == 2 * MESSAGES + 1 and status["group_deliver_frames"] == 2 * status["group_sends"]
        assert not any(status["drops"].values()), status["drops"]
        await chat.leave(a, b)

    asyncio.run(run())


def test_rooms_do_not_hear_each_other(workers, port):
    async def run():
        a, b = await chat.enter_apart(port, ROOM)
        other = await chat.Visitor.enter(port, "elsewhere")
        await a.say("for the lobby")
        assert await b.hear() == "for the lobby"
        await other.say("for elsewhere")
        assert await other.hear() == "for elsewhere"
        await chat.leave(a, b, other)

    asyncio.run(run())


def test_the_groups_of_the_cli_are_the_people_in_the_room(house, workers, port):
    async def run():
        a, b = await chat.enter_apart(port, ROOM)
        expected = {a.channel, b.channel}
        await asyncio.to_thread(eventually, lambda: house.members(GROUP) == expected, "both are members")
        [group] = house.rows("groups")
        assert (group["group"], group["members"], group["owners"]) == (GROUP, 2, 2)

        by_channel = {row["channel"]: row for row in house.rows("group", GROUP)}
        for visitor in (a, b):
            assert by_channel[visitor.channel]["worker"] == visitor.worker
            assert by_channel[visitor.channel]["remote"].startswith("127.0.0.1")

        await b.close()
        await asyncio.to_thread(eventually, lambda: house.members(GROUP) == {a.channel}, "the closed socket's member is gone")
        await a.close()
        await asyncio.to_thread(eventually, lambda: house.rows("groups") == [], "the empty group is gone")

    asyncio.run(run())


def test_a_killed_worker_takes_its_members_and_nobody_elses(house, workers, port):
    async def run():
        a, b = await chat.enter_apart(port, ROOM)
        more = [await chat.Visitor.enter(port, ROOM) for _ in range(20)]
        everybody = [a, b, *more]
        await asyncio.to_thread(
            eventually, lambda: house.members(GROUP) == {visitor.channel for visitor in everybody}, "all are members"
        )
        victim = next(worker for worker in workers if worker.pid == a.pid)
        victim.kill()
        left = [visitor for visitor in everybody if visitor.pid != victim.pid]
        await asyncio.to_thread(
            eventually, lambda: house.members(GROUP) == {visitor.channel for visitor in left}, "the victim's members are gone"
        )
        assert [row["name"] for row in house.rows("workers")] == [b.worker]
        await b.say("still here")
        for visitor in left:
            assert await visitor.is_open()
            assert await visitor.hear() == "still here"
        await chat.leave(*left)

    asyncio.run(run())


def test_a_group_send_costs_one_frame_per_worker(house, workers, port):
    async def run():
        visitors = []
        for _ in range(SOCKETS // 50):
            visitors += await asyncio.gather(*(chat.Visitor.enter(port, ROOM) for _ in range(50)))
        per_worker = {worker.pid: sum(visitor.pid == worker.pid for visitor in visitors) for worker in workers}
        assert sum(per_worker.values()) == SOCKETS and min(per_worker.values()) > 0, per_worker
        await asyncio.to_thread(
            eventually, lambda: house.rows("groups")[0]["members"] == SOCKETS, f"{SOCKETS} sockets are members"
        )
        before = house.json("status")
        for number in range(FANOUTS):
            house.cli("group-send", GROUP, json.dumps({"type": "chat.message", "message": f"to all {number}"}))
            assert set(await asyncio.gather(*(visitor.hear() for visitor in visitors))) == {f"to all {number}"}
        after = house.json("status")
        assert after["group_sends"] - before["group_sends"] == FANOUTS
        assert after["group_deliver_frames"] - before["group_deliver_frames"] == 2 * FANOUTS
        await chat.leave(*visitors)

    asyncio.run(run())


def test_a_broker_restart_closes_no_socket(house, broker, workers, port):
    async def run():
        a, b = await chat.enter_apart(port, ROOM)
        more = [await chat.Visitor.enter(port, ROOM) for _ in range(10)]
        everybody = [a, b, *more]
        channels = {visitor.channel for visitor in everybody}
        await asyncio.to_thread(eventually, lambda: house.members(GROUP) == channels, "all are members")

        broker.kill()
        for worker in workers:
            await asyncio.to_thread(eventually, lambda: house.readiness(worker)[0] == 503, "the worker misses its broker")
        await asyncio.to_thread(house.broker, name="broker-again")
        await asyncio.to_thread(eventually, lambda: house.members(GROUP) == channels, "the memberships are whole again")
        for worker in workers:
            await asyncio.to_thread(eventually, lambda: house.readiness(worker)[0] == 200, "the worker is ready again")

        await a.say("after the restart")
        for visitor in everybody:
            await visitor.hear_until("after the restart")
        assert house.members(GROUP) == channels
        await chat.leave(*everybody)

    asyncio.run(run())


def test_a_worker_without_a_broker_says_so_and_recovers(house, port):
    worker = house.worker("worker-1", port, is_ready=False)
    eventually(lambda: "no broker" in house.readiness(worker)[1], "the worker gives the reason")
    assert house.readiness(worker)[0] == 503

    async def refused():
        async with chat.connect(f"ws://127.0.0.1:{port}/ws/chat/{ROOM}/?hello=1", proxy=None) as socket:
            await asyncio.wait_for(socket.wait_closed(), chat.SECONDS)
            return socket.close_code, socket.close_reason

    code, reason = asyncio.run(refused())
    assert code == 1013 and reason

    house.broker()
    eventually(lambda: house.readiness(worker)[0] == 200, "the worker finds its broker")

    async def works():
        visitor = await chat.Visitor.enter(port, ROOM)
        await visitor.say("hello")
        assert await visitor.hear() == "hello"
        await visitor.close()

    asyncio.run(works())
