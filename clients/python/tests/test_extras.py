"""What the layer has beyond the interface of Channels, against a real broker."""

import asyncio
import logging
import time

import pytest
from test_layer import nothing_comes

from fanfare_channels import BrokerRefused, ChannelFull, Gap


async def test_many_messages_go_at_once_and_each_has_its_answer(make_layer):
    layer = make_layer(capacity=2)
    one, two = await layer.new_channel(), await layer.new_channel()
    answers = await layer.send_many([(one, {"n": n}) for n in range(3)] + [(two, {"n": 9})])
    assert [type(answer) for answer in answers] == [type(None), type(None), ChannelFull, type(None)]
    assert [(await layer.receive(one))["n"] for _ in range(2)] == [0, 1]
    assert await layer.receive(two) == {"n": 9}
    await layer.group_add("g", one)
    await layer.group_add("h", two)
    assert await layer.group_send_many(["g", "h", "nobody"], {"n": 1}) == [None, None, None]
    assert await layer.receive(one) == await layer.receive(two) == {"n": 1}


async def test_excluded_members_do_not_get_the_message(layer):
    one, two = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("g", one)
    await layer.group_add("g", two)
    outcome = await layer.group_send("g", {"n": 1}, exclude=[one], outcome=True)
    assert outcome["accepted"] == 1
    assert await layer.receive(two) == {"n": 1}
    await nothing_comes(layer, one)
    with pytest.raises(BrokerRefused):
        await layer.group_send("g", {"n": 1}, exclude=[f"a.b!{n}" for n in range(300)])


async def test_a_large_group_is_listed_whole(layer):
    channels = [await layer.new_channel() for _ in range(2_500)]
    await asyncio.gather(*(layer.group_add("g", channel) for channel in channels))
    assert await layer.group_channels("g") == sorted(channels)
    assert await layer.group_count("g") == 2_500


async def test_holes_are_told_in_their_place(make_layer):
    layer = make_layer(capacity=2)
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    first = asyncio.ensure_future(layer.receive_or_gap(channel))
    await asyncio.sleep(0.05)
    await layer.send(channel, {"n": 0})
    assert await first == {"n": 0}
    for number in (1, 2, 3, 4):
        await layer.group_send("g", {"n": number})
    assert await layer.receive_or_gap(channel) == {"n": 1}
    assert await layer.receive_or_gap(channel) == {"n": 2}
    assert await layer.receive_or_gap(channel) == Gap(channel, 2, "full")
    await layer.group_send("g", {"n": 5})
    assert await layer.receive_or_gap(channel) == {"n": 5}


async def test_the_oldest_or_the_newest_fall_as_the_overflow_policy_says(make_layer):
    for policy, expected in (("drop_oldest", [3, 4]), ("drop_newest", [1, 2])):
        layer = make_layer(capacity=2, overflow={"*": policy})
        channel = await layer.new_channel()
        await layer.group_add(f"g-{policy}", channel)
        for number in (1, 3):
            await layer.send(channel, {"n": number}) if policy == "drop_oldest" else await layer.group_send(
                f"g-{policy}", {"n": number if number == 1 else 2}
            )
        for number in (3, 4):
            await layer.group_send(f"g-{policy}", {"n": number})
        assert [(await layer.receive(channel))["n"] for _ in range(2)] == expected
        await nothing_comes(layer, channel)


async def test_a_full_channel_whose_policy_is_disconnect_leaves_its_groups(make_layer):
    layer = make_layer(capacity=1, overflow={"*": "disconnect"})
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    gap = asyncio.ensure_future(layer.receive_or_gap(channel))
    await asyncio.sleep(0.05)
    await layer.group_send("g", {"n": 0})
    assert await gap == {"n": 0}
    for number in (1, 2):
        await layer.group_send("g", {"n": number})
    found = await layer.receive_or_gap(channel)
    while not (isinstance(found, Gap) and found.closed):
        found = await asyncio.wait_for(layer.receive_or_gap(channel), 10)
    assert await layer.group_count("g") == 0


async def test_a_closed_channel_is_in_no_group_and_forgotten(layer):
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    gap = asyncio.ensure_future(layer.receive_or_gap(channel))
    await asyncio.sleep(0.05)
    await layer.send(channel, {"n": 1})
    assert await gap == {"n": 1}
    await layer.send(channel, {"n": 2})
    await layer.close_channel(channel)
    assert await layer.group_count("g") == 0
    assert layer.statistics()["channels"] == layer.statistics()["unread"] == 0
    await layer.send(channel, {"n": 3})
    assert await layer.receive(channel) == {"n": 3}


async def test_the_room_of_what_expired_on_the_way_is_asked_for_again(make_layer):
    """Messages of a normal channel that expire in this process's sockets while its loop is busy are not handed out."""
    layer, other = make_layer(), make_layer()
    task = asyncio.ensure_future(layer.receive("work"))
    await asyncio.sleep(0.1)
    other.send_sync("work", {"n": 1}, expiry=0.2)
    time.sleep(0.5)
    await other.send("work", {"n": 2})
    assert await asyncio.wait_for(task, 5) == {"n": 2}


async def test_a_quiet_layer_logs_nothing_above_info(make_layer, caplog):
    layer = make_layer(capacity=1)
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    for _ in range(3):
        await layer.group_send("g", {})
    await layer.close()
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_closed_layer_ends_who_waits_and_begins_again_when_it_is_used(layer):
    channel = await layer.new_channel()
    task = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(0.05)
    await layer.close()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(task, 10)
    await layer.group_add("g", channel)
    assert await layer.group_channels("g") == [channel]
