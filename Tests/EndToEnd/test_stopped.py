"""Processes that stand still for longer than a message lives."""
import asyncio
import json
import signal
import time

import chat
import wire
from programs import eventually

ROOM, GROUP = "lobby", "chat_lobby"


def line(text):
    return json.dumps({"type": "chat.message", "message": text})


def test_a_stopped_worker_hands_no_expired_message_to_a_socket(house, broker, port):
    worker = house.worker("worker-1", port)

    async def run():
        visitor = await chat.Visitor.enter(port, ROOM)
        await visitor.say("before")
        assert await visitor.hear() == "before"
        worker.process.send_signal(signal.SIGSTOP)
        try:
            for number in range(3):
                house.cli("group-send", GROUP, line(f"old group message {number}"), "--expiry", "1")
                house.cli("send", visitor.channel, line(f"old message {number}"), "--expiry", "1")
            house.cli("group-send", GROUP, line("lives long"), "--expiry", "60")
            await asyncio.sleep(3)
        finally:
            worker.process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(house.cli, "group-send", GROUP, line("after"))
        assert await visitor.hear_until("after") == ["lives long"]
        assert await visitor.is_open()
        await asyncio.to_thread(
            eventually, lambda: house.json("status")["drops"]["expired"] == 6, "all that expired is counted"
        )
        rows = [row for row in house.rows("drops") if row["reason"] == "expired"]
        assert sum(row["count"] for row in rows) == 6 and {row["worker"] for row in rows} == {"worker-1"}
        await chat.leave(visitor)

    asyncio.run(run())


def test_an_owner_that_was_stopped_is_told_how_old_its_messages_are(house, broker):
    with wire.Wire(house.socket, name="owner", role="worker", node="owner", capabilities=["clock"]) as owner:
        def clock():
            return owner.next_push(wire.CLOCK)[1]

        # One that reads at once tells how far the two clocks are apart.
        apart = time.monotonic() * 1000 - clock()
        # It is told at most every 50 ms.
        time.sleep(0.1)
        house.cli("send", "specific.owner!1", "{}", "--expiry", "1")
        time.sleep(1.5)
        age = time.monotonic() * 1000 - clock() - apart
        remaining = owner.next_push(wire.DELIVER)[3]
        assert 0 < remaining <= 1000 < age + 50, (remaining, age)
