"""Connects and disconnects while group sends run: every message is accounted for. `--soak-seconds` makes it long."""

import asyncio
import random
import time

from fanfare_channels import ChannelFull

CLIENTS = 60


async def test_clients_come_and_go_while_group_sends_run(make_layer, request):
    """Members that stay get every message of the group, in order; those that come and go get a run without holes."""
    seconds = request.config.getoption("--soak-seconds")
    layers = [make_layer(capacity=100_000) for _ in range(2)]
    sender = make_layer()
    over = time.monotonic() + seconds
    sent = {"n": 0, "direct": 0, "visits": 0, "received": 0}

    async def produce():
        while not visits.done():
            await sender.group_send("room", {"n": sent["n"]})
            sent["n"] += 1
            await asyncio.sleep(random.uniform(0, 0.002))

    async def visit(number):
        """One connection after another: joins, reads for a while with cancelled receives, leaves."""
        layer = layers[number % 2]
        while time.monotonic() < over:
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            last = None
            for _ in range(random.randrange(1, 30)):
                task = asyncio.ensure_future(layer.receive(channel))
                if random.random() < 0.3:
                    await asyncio.sleep(random.uniform(0, 0.002))
                    task.cancel()
                try:
                    message = await task
                except asyncio.CancelledError:
                    continue
                if "n" in message:
                    assert last is None or message["n"] == last + 1, "a hole, or a message twice"
                    last = message["n"]
                sent["received"] += 1
            if random.random() < 0.5:
                try:
                    await sender.send(channel, {"direct": 1})
                    sent["direct"] += 1
                except ChannelFull:
                    pass
            # Half of them leave without a word, as consumers of lost sockets that were killed do.
            if random.random() < 0.5:
                await layer.group_discard("room", channel)
            else:
                await sender.group_discard("room", channel)
            sent["visits"] += 1

    async def stay(layer, channel):
        expected = 0
        while True:
            message = await layer.receive(channel)
            if message.get("end"):
                return expected
            assert message["n"] == expected
            expected += 1

    stayers = []
    for layer in layers:
        for _ in range(5):
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            stayers.append(asyncio.ensure_future(stay(layer, channel)))
    visits = asyncio.ensure_future(asyncio.gather(*(visit(number) for number in range(CLIENTS))))
    await produce()
    await visits
    await sender.group_send("room", {"end": True})
    counts = await asyncio.wait_for(asyncio.gather(*stayers), 60)
    assert set(counts) == {sent["n"]}
    print(f"{sent}")
    assert await sender.group_count("room") == len(stayers)
