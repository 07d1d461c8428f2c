"""The broker comes and goes: the layer is whole again by itself, and only documented errors are seen."""

import asyncio
import os
import random
import threading
import time

import pytest
from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer
from channels.worker import Worker

from fanfare_channels import BrokerUnavailable, ChannelFull

AGAIN_SECONDS = 2.0
"""Within this time of the broker's return every consumer receives again."""


async def restart(broker, pause=0.3):
    broker.kill()
    await asyncio.sleep(pause)
    await asyncio.get_running_loop().run_in_executor(None, broker.start)


async def test_receives_that_wait_go_on_across_a_restart(layer, broker):
    channel = await layer.new_channel()
    tasks = [asyncio.ensure_future(layer.receive(name)) for name in (channel, "normal")]
    await layer.send("other", {})
    await restart(broker)
    await layer.flush()
    for name in (channel, "normal"):
        await layer.send(name, {"name": name})
    assert await asyncio.wait_for(tasks[0], 10) == {"name": channel}
    assert await asyncio.wait_for(tasks[1], 10) == {"name": "normal"}


async def test_what_arrived_before_is_read_after_and_counts_against_the_capacity(make_layer, broker):
    layer = make_layer(capacity=3)
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    for number in range(2):
        await layer.send(channel, {"n": number})
    await restart(broker)
    assert await layer.group_count("g") == 1
    await layer.send(channel, {"n": 2})
    with pytest.raises(ChannelFull):
        await layer.send(channel, {"n": 3})
    assert [(await layer.receive(channel))["n"] for _ in range(3)] == [0, 1, 2]


async def test_memberships_are_registered_again_in_batches(layer, broker):
    channels = [await layer.new_channel() for _ in range(6_000)]
    await asyncio.gather(*(layer.group_add("large", channel) for channel in channels))
    await layer.group_add("small", channels[0])
    await layer.group_discard("large", channels[1])
    await restart(broker)
    assert await layer.group_count("large") == 5_999
    assert await layer.group_channels("small") == [channels[0]]


async def test_what_is_left_of_a_literal_membership_is_never_cut_to_nothing(make_layer):
    layer = make_layer(group_expiry=60)
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    hub = layer.hub()
    until = hub.mailboxes[channel].groups["g"]
    lives = [hub._register_groups(until - left) for left in (2.5, 0.5, -0.5)]
    assert lives == [[("g", [channel], milliseconds)] for milliseconds in (3_000, 1_000, 0)]


async def test_joining_and_leaving_while_the_broker_is_away(layer, broker):
    one, two = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("g", one)
    broker.kill()
    await layer.group_discard("g", one)
    joining = asyncio.ensure_future(layer.group_add("g", two))
    await asyncio.sleep(0.2)
    assert not joining.done()
    with pytest.raises(BrokerUnavailable):
        for _ in range(100):
            await layer.send(one, {})
    broker.start()
    await asyncio.wait_for(joining, 10)
    assert await layer.group_channels("g") == [two]


async def test_a_hole_is_told_once_after_a_restart(layer, broker):
    channel = await layer.new_channel()
    waiting = asyncio.ensure_future(layer.receive_or_gap(channel))
    await layer.group_add("g", channel)
    await restart(broker)
    gap = await asyncio.wait_for(waiting, 10)
    assert (gap.count, gap.reason) == (0, "owner_gone")
    await layer.group_send("g", {"n": 1})
    assert await layer.receive_or_gap(channel) == {"n": 1}


def test_threads_see_only_documented_errors_and_send_on_by_themselves(layer, broker):
    """Threads and short loops while the broker is killed and started again."""
    is_over = threading.Event()
    failures = []
    sent = [0] * 8

    def run(number):
        while not is_over.is_set():
            try:
                if number % 2:
                    async_to_sync(layer.send)(f"work-{number}", {})
                else:
                    layer.send_sync(f"work-{number}", {})
                sent[number] += 1
            except ChannelFull:
                sent[number] += 1
                time.sleep(0.001)
            except BrokerUnavailable:
                time.sleep(0.01)
            except BaseException as failure:  # It is shown below.
                failures.append(failure)
                return

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.2)
        broker.kill()
        time.sleep(0.2)
        broker.start()
        before = list(sent)
        deadline = time.monotonic() + 20
        while not all(now > then for now, then in zip(sent, before)):
            assert not failures, failures
            assert time.monotonic() < deadline, "not every thread sends again"
            time.sleep(0.01)
    is_over.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a thread hangs"
    assert failures == []


async def test_a_worker_of_channels_survives_a_restart(layer, broker):
    """What `manage.py runworker` runs."""
    heard = asyncio.Queue()

    class Consumer(AsyncConsumer):
        async def work_item(self, event):
            await heard.put(event["n"])

    worker = Worker(Consumer.as_asgi(), ["work"], layer)
    task = asyncio.ensure_future(worker.handle())
    await layer.send("work", {"type": "work.item", "n": 1})
    assert await asyncio.wait_for(heard.get(), 10) == 1
    await restart(broker)
    await layer.flush()
    await layer.send("work", {"type": "work.item", "n": 2})
    assert await asyncio.wait_for(heard.get(), 10) == 2
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_broker_that_stops_in_good_order_is_found_again(layer, broker):
    await layer.send("work", {})
    await asyncio.get_running_loop().run_in_executor(None, broker.stop)
    broker.start()
    await layer.flush()
    await layer.send("work", {"n": 1})
    assert await layer.receive("work") == {"n": 1}


async def test_killing_and_starting_the_broker_under_load(make_layer, broker):
    """Consumers in two layers, direct and group traffic, three restarts: all receive again in time, nothing doubles."""
    layers = [make_layer(), make_layer()]
    heard = {}
    failures = []
    is_over = False

    async def consume(layer, channel):
        last = {}
        while True:
            message = await layer.receive(channel)
            sender, number = message["sender"], message["n"]
            if number <= last.get(sender, -1):
                failures.append(f"{channel} got {number} of {sender} after {last[sender]}")
            last[sender] = number
            heard[channel] = time.monotonic()

    async def produce(layer, sender, targets):
        number = 0
        while not is_over:
            for target in targets:
                number += 1
                message = {"sender": sender, "n": number}
                try:
                    if target == "g":
                        await layer.group_send("g", message)
                    else:
                        await layer.send(target, message)
                except (BrokerUnavailable, ChannelFull):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.001)

    channels = []
    for layer in layers:
        for _ in range(25):
            channel = await layer.new_channel()
            await layer.group_add("g", channel)
            channels.append((layer, channel))
    consumers = [asyncio.ensure_future(consume(*pair)) for pair in channels]
    producers = [
        asyncio.ensure_future(produce(layer, f"sender-{number}", ["g", *(name for _, name in channels[number::10])]))
        for number, layer in enumerate(layers)
    ]
    for _ in range(3):
        await asyncio.sleep(random.uniform(0.2, 0.5))
        await restart(broker, random.uniform(0.05, 1.5))
        back = time.monotonic()
        while min((heard.get(name, 0) for _, name in channels)) < back:
            assert time.monotonic() < back + 30, "not every consumer receives again"
            await asyncio.sleep(0.01)
        print(f"all receive again {time.monotonic() - back:.2f} s after the broker is back")
        assert await layers[0].group_channels("g") == sorted(name for _, name in channels)
    is_over = True
    await asyncio.gather(*producers)
    for task in consumers:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    assert failures == []


async def test_a_receive_waits_idle_without_complaint(layer):
    """Longer than the keeper's rounds, with nothing to do; the broker's pings are tested by the soak."""
    channel = await layer.new_channel()
    tasks = [asyncio.ensure_future(layer.receive(name)) for name in (channel, "normal")]
    await asyncio.sleep(3)
    assert not any(task.done() for task in tasks)
    for name in (channel, "normal"):
        await layer.send(name, {"n": 1})
    assert await asyncio.wait_for(asyncio.gather(*tasks), 10) == [{"n": 1}, {"n": 1}]


async def test_memberships_a_new_broker_has_no_room_for_come_back_with_it(make_layer, broker, monkeypatch, caplog):
    monkeypatch.setattr("fanfare_channels.pushes.REJOIN_SECONDS", 0.05)
    layer = make_layer()
    channel = await layer.new_channel()
    for group in ("a", "b"):
        await layer.group_add(group, channel)
    await layer.group_add("b", "queue")
    broker.kill()
    broker.start("--limit", "groups=1")
    while "trying again" not in caplog.text:
        await asyncio.sleep(0.01)
    assert await layer.group_count("b") == 0
    await layer.group_discard("a", channel)
    while await layer.group_channels("b") != ["queue", channel]:
        await asyncio.sleep(0.01)
    await layer.group_send("b", {"n": 1})
    assert await layer.receive(channel) == {"n": 1}
    assert caplog.text.count("trying again") == 1


async def test_memberships_a_new_broker_refuses_are_none(make_layer, broker, folder, caplog):
    layer = make_layer()
    channel = await layer.new_channel()
    for group in ("a", "b"):
        await layer.group_add(group, channel)
    credentials = folder / "credentials.yaml"
    credentials.write_text(
        f"credentials: [{{name: site, unix_users: [{os.geteuid()}], roles: [worker], groups: {{join: [a]}}}}]"
    )
    credentials.chmod(0o600)
    broker.kill()
    broker.start("--credentials", credentials)
    while "in it no more" not in caplog.text:
        await asyncio.sleep(0.01)
    assert await layer.group_channels("a") == [channel]
    assert layer.statistics()["memberships"] == 1
