"""The channel layer specification through the Python package, against a real broker."""

import asyncio
import re
import time

import pytest

from fanfare_channels import ChannelFull, MessageTooLarge

SOON = 0.3
"""Seconds in which nothing more is expected to come."""


async def nothing_comes(layer, channel):
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(layer.receive(channel), SOON)


async def test_every_kind_of_value_arrives_as_it_was_sent(layer):
    message = {
        "type": "x",
        "bytes": b"\x00\xff",
        "text": "grüße",
        "int": [-(2**63), 2**63 - 1, 0],
        "double": [0.5, float("inf"), -0.0],
        "flags": [True, False, None],
        "tuple": (1, (2,)),
        "map": {"a": {"b": []}},
    }
    channel = await layer.new_channel()
    await layer.send(channel, message)
    found = await layer.receive(channel)
    assert found == {**message, "tuple": [1, [2]]}
    assert type(found["flags"][0]) is bool
    assert str(found["double"][2]) == "-0.0"


async def test_the_layer_has_every_attribute_of_the_specification(make_layer):
    layer = make_layer()
    assert layer.extensions == ["groups", "flush"]
    assert layer.ChannelFull is ChannelFull
    assert layer.MessageTooLarge is MessageTooLarge
    assert layer.group_expiry == 86_400
    assert make_layer(group_expiry=60).group_expiry == 60
    assert layer.capacity == 100
    assert re.fullmatch(r"specific\.[a-z0-9]{10}![0-9]+", await layer.new_channel())
    assert (await layer.new_channel("ws")).startswith(f"ws.{layer.client_prefix}!")
    assert len({await layer.new_channel() for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize(
    "name", ["", "a b", "a" * 100, "ä", "a!", "a!b!c", "a\n", 5, None, b"a", "?a", "a" * 41 + "!b"]
)
async def test_a_bad_name_is_a_type_error_in_every_call(layer, name):
    with pytest.raises(TypeError):
        await layer.send(name, {})
    with pytest.raises(TypeError):
        await layer.receive(name)
    with pytest.raises(TypeError):
        await layer.group_add(name, "good")
    with pytest.raises(TypeError):
        await layer.group_discard("good", name)
    with pytest.raises(TypeError):
        await layer.group_send(name, {})


async def test_what_is_no_dict_or_has_a_reserved_key_is_an_assertion_error(layer):
    for message in ("text", None, [1], {"__asgi_channel__": "x"}):
        with pytest.raises(AssertionError):
            await layer.send("good", message)
        with pytest.raises(AssertionError):
            await layer.group_send("good", message)


@pytest.mark.parametrize(
    "message, error, path",
    [
        ({"a": {"b": [1, object()]}}, TypeError, "message['a']['b'][1]"),
        ({"a": {1: 2}}, TypeError, "message['a']"),
        ({5: 2}, TypeError, "message"),
        ({"a": {2}}, TypeError, "message['a']"),
        ({"a": [2**63]}, OverflowError, "message['a'][0]"),
        ({"a": -(2**63) - 1}, OverflowError, "message['a']"),
        ({"a": ["\ud800"]}, ValueError, "message['a'][0]"),
    ],
)
async def test_a_value_that_cannot_be_sent_is_shown_with_its_path(layer, message, error, path):
    with pytest.raises(error, match=re.escape(path)):
        await layer.send("good", message)
    with pytest.raises(error, match=re.escape(path)):
        await layer.group_send("good", message)


async def test_sixteen_containers_inside_each_other_pass_and_seventeen_do_not(layer):
    def nested(depth):
        value = []
        for _ in range(depth - 2):
            value = [value]
        return {"a": value}

    await layer.send("deep", nested(16))
    assert await layer.receive("deep") == nested(16)
    with pytest.raises(ValueError, match="16 containers"):
        await layer.send("deep", nested(17))


async def test_a_message_of_a_mebibyte_arrives_and_one_over_the_limit_is_refused(layer):
    channel = await layer.new_channel()
    await layer.send(channel, {"text": "x" * 1_048_576})
    assert len((await layer.receive(channel))["text"]) == 1_048_576
    for send in (layer.send, layer.group_send):
        with pytest.raises(MessageTooLarge):
            await send("good", {"text": "x" * (2 * 1_048_576)})
    await layer.send(channel, {"after": 1})
    assert await layer.receive(channel) == {"after": 1}


async def test_a_channel_of_another_process_is_not_read_here(make_layer):
    one, two = make_layer(), make_layer()
    channel = await one.new_channel()
    await two.send(channel, {"n": 1})
    with pytest.raises(AssertionError):
        await two.receive(channel)
    assert await one.receive(channel) == {"n": 1}
    with pytest.raises(AssertionError):
        await one.receive("x" + one.client_prefix + "!1")


@pytest.mark.parametrize("kind", ["process", "normal"])
async def test_a_channel_takes_its_capacity_and_taking_one_makes_room_for_one(make_layer, kind):
    layer = make_layer(capacity=3)
    channel = await layer.new_channel() if kind == "process" else "normal"
    for number in range(3):
        await layer.send(channel, {"n": number})
    with pytest.raises(ChannelFull):
        await layer.send(channel, {"n": 3})
    assert await layer.receive(channel) == {"n": 0}
    await layer.send(channel, {"n": 4})
    with pytest.raises(ChannelFull):
        await layer.send(channel, {"n": 5})
    assert [(await layer.receive(channel))["n"] for _ in range(3)] == [1, 2, 4]


async def test_capacities_by_glob_and_by_compiled_pattern_the_first_counts(make_layer):
    layer = make_layer(channel_capacity={"tiny*": 1, re.compile(r"^(http|ws)\.request"): 2, "*": 3})
    for channel, capacity in {"tiny1": 1, "http.request.x": 2, "ws.request": 2, "other": 3}.items():
        assert layer.get_capacity(channel) == capacity
        for _ in range(capacity):
            await layer.send(channel, {})
        with pytest.raises(ChannelFull):
            await layer.send(channel, {})


async def test_by_default_a_full_channel_costs_its_neighbours_nothing_and_shared_it_does(make_layer):
    for scope, is_refused in (("channel", False), ("process", True)):
        layer = make_layer(capacity=2, capacity_scope=scope)
        one, two = await layer.new_channel(), await layer.new_channel()
        await layer.send(one, {})
        await layer.send(one, {})
        if is_refused:
            with pytest.raises(ChannelFull):
                await layer.send(two, {})
        else:
            await layer.send(two, {})


async def test_members_at_capacity_are_skipped_and_every_receiver_gets_a_dict_of_its_own(make_layer):
    layer = make_layer(capacity=2)
    one, two = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("g", one)
    await layer.group_add("g", two)
    await layer.send(one, {"n": 0})
    await layer.group_send("g", {"n": 1, "list": []})
    assert await layer.group_send("g", {"n": 2}, outcome=True) == {"members": 2, "accepted": 1, "dropped": 1}
    assert await layer.receive(one) == {"n": 0}
    first, second = await layer.receive(one), await layer.receive(two)
    assert first == second == {"n": 1, "list": []}
    first["list"].append(1)
    assert second["list"] == []
    assert await layer.receive(two) == {"n": 2}
    await nothing_comes(layer, one)


async def test_group_messages_count_against_a_members_capacity_for_direct_ones(make_layer):
    layer = make_layer(capacity=2)
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    await layer.group_send("g", {"n": 1})
    await layer.group_send("g", {"n": 2})
    # The owner tells the broker what it holds at the latest 50 ms after.
    await asyncio.sleep(0.2)
    with pytest.raises(ChannelFull):
        await layer.send(channel, {"n": 3})


@pytest.mark.parametrize("kind", ["process", "normal"])
async def test_a_message_nobody_takes_in_its_time_is_gone(make_layer, kind):
    layer = make_layer(expiry=0.2, capacity=1)
    channel = await layer.new_channel() if kind == "process" else "normal"
    await layer.send(channel, {"n": 1})
    await asyncio.sleep(0.3)
    # Its room is free again, and it is not handed out.
    await layer.send(channel, {"n": 2}, expiry=30)
    assert await layer.receive(channel) == {"n": 2}


async def test_who_expires_it_tells_the_broker(make_layer):
    """The room of an expired message is free for senders although its owner's loop does nothing."""
    owner, sender = make_layer(expiry=0.2, capacity=1), make_layer(expiry=0.2)
    channel = await owner.new_channel()
    await owner.send(channel, {"n": 1})
    deadline = time.monotonic() + 10
    while True:
        try:
            await sender.send(channel, {"n": 2})
            break
        except ChannelFull:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_an_expired_direct_message_in_front_of_group_messages_leaves_those(make_layer):
    """The history of an upstream test, with a margin."""
    layer = make_layer(expiry=1.5)
    one, two = await layer.new_channel(), await layer.new_channel()
    for channel in (one, two):
        await layer.group_add("g", channel)
    await layer.send(one, {"n": 0})
    await asyncio.sleep(1)
    for number in (1, 2, 3):
        await layer.group_send("g", {"n": number})
    await asyncio.sleep(0.7)
    for channel in (one, two):
        assert [(await layer.receive(channel))["n"] for _ in range(3)] == [1, 2, 3]
        await nothing_comes(layer, channel)


@pytest.mark.parametrize("kind", ["process", "normal"])
async def test_a_cancelled_receive_loses_nothing_and_doubles_nothing(make_layer, kind):
    layer = make_layer(capacity=1_000)
    channel = await layer.new_channel() if kind == "process" else "normal"
    found = []
    for number in range(300):
        task = asyncio.ensure_future(layer.receive(channel))
        if number % 3:
            await asyncio.sleep(0)
        send = asyncio.ensure_future(layer.send(channel, {"n": number}))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        await asyncio.sleep((number % 5) / 20_000)
        task.cancel()
        await send
        try:
            found.append((await task)["n"])
        except asyncio.CancelledError:
            pass
    while len(found) < 300:
        found.append((await asyncio.wait_for(layer.receive(channel), 10))["n"])
    assert sorted(found) == list(range(300))
    await nothing_comes(layer, channel)


@pytest.mark.parametrize("kind", ["process", "normal"])
async def test_a_reader_that_keeps_up_is_never_full(make_layer, kind):
    """What a reader takes is reported soon enough that a fast sender finds room, whatever the timer."""
    reader, sender = make_layer(capacity=8), make_layer(capacity=8)
    channel = await reader.new_channel() if kind == "process" else "normal"

    async def read():
        return [(await reader.receive(channel))["n"] for _ in range(2_000)]

    task = asyncio.ensure_future(read())
    await asyncio.sleep(0.05)
    for number in range(2_000):
        await sender.send(channel, {"n": number})
        # The reader and its report share this loop: each gets its turn.
        while reader.hub().report_is_urgent or reader.hub().must_report:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert await asyncio.wait_for(task, 20) == list(range(2_000))


async def test_of_many_readers_each_message_reaches_exactly_one(make_layer):
    layer, other = make_layer(), make_layer()
    readers = [asyncio.ensure_future(each.receive("work")) for each in (layer, other) for _ in range(25)]
    await asyncio.sleep(0.1)
    for number in range(50):
        await layer.send("work", {"n": number})
    found = [message["n"] for message in await asyncio.wait_for(asyncio.gather(*readers), 10)]
    assert sorted(found) == list(range(50))


async def test_order_holds_for_direct_and_group_messages_together(layer):
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    for number in range(0, 60, 2):
        await layer.send(channel, {"n": number})
        await layer.group_send("g", {"n": number + 1})
    assert [(await layer.receive(channel))["n"] for _ in range(60)] == list(range(60))


async def test_who_left_a_group_gets_nothing_and_a_third_process_may_add_and_discard(make_layer):
    owner, third = make_layer(), make_layer()
    channel = await owner.new_channel()
    await third.group_add("g", channel)
    await third.group_send("g", {"n": 1})
    assert await owner.receive(channel) == {"n": 1}
    assert await third.group_channels("g") == [channel]
    await third.group_discard("g", channel)
    await third.group_discard("g", channel)
    await owner.group_discard("never", channel)
    await third.group_send("g", {"n": 2})
    await nothing_comes(owner, channel)
    assert await owner.group_count("g") == 0


async def test_normal_channels_may_be_members(layer):
    await layer.group_add("g", "queue")
    await layer.group_send("g", {"n": 1})
    assert await layer.receive("queue") == {"n": 1}


async def test_after_a_flush_nothing_is_left_for_anybody_and_who_waits_goes_on_waiting(make_layer):
    layer, other = make_layer(), make_layer()
    channel, waiting = await layer.new_channel(), await other.new_channel()
    await layer.send(channel, {"n": 1})
    await layer.send("normal", {"n": 1})
    await layer.group_add("g", channel)
    task = asyncio.ensure_future(other.receive(waiting))
    await asyncio.sleep(0.05)
    await other.flush()
    assert await layer.group_count("g") == 0
    await nothing_comes(layer, channel)
    await nothing_comes(layer, "normal")
    await layer.group_send("g", {"n": 2})
    await nothing_comes(layer, channel)
    await layer.send(waiting, {"n": 3})
    assert await asyncio.wait_for(task, 10) == {"n": 3}


async def test_layers_with_other_prefixes_share_nothing(make_layer):
    one, two = make_layer(prefix="one"), make_layer(prefix="two")
    await one.send("normal", {"n": 1})
    await nothing_comes(two, "normal")
    await two.flush()
    assert await one.receive("normal") == {"n": 1}


async def test_a_group_expiry_that_is_given_is_honoured_literally(make_layer):
    literal, default = make_layer(group_expiry=2), make_layer()
    channels = [await layer.new_channel() for layer in (literal, default)]
    await default.group_add("g", channels[1])
    await literal.group_add("g", channels[0])
    deadline = time.monotonic() + 30
    while await default.group_channels("g") != [channels[1]]:
        assert time.monotonic() < deadline, "the membership of the literal layer stays"
        await asyncio.sleep(0.1)
    # It has left this process's own table too.
    assert literal.statistics()["memberships"] == 0


async def test_a_body_that_is_no_message_is_counted_and_dropped(make_layer):
    """Somebody with another serializer must not break who reads."""
    layer, stranger = make_layer(), make_layer(serializer_format="json")
    channel = await layer.new_channel()
    for name in (channel, "normal"):
        await stranger.send(name, {"a": "json"})
        await layer.send(name, {"n": 1})
        assert await layer.receive(name) == {"n": 1}
    assert layer.statistics()["undecodable"] == 2


async def test_encrypted_layers_understand_each_other_and_nobody_else_does(make_layer):
    new = make_layer(symmetric_encryption_keys=["new", "old"])
    old = make_layer(symmetric_encryption_keys=["old"])
    channel, plain = await new.new_channel(), make_layer()
    await old.send(channel, {"n": 1})
    assert await new.receive(channel) == {"n": 1}
    await plain.send(channel, {"n": 2})
    await new.send(channel, {"n": 3})
    assert await new.receive(channel) == {"n": 3}
    with pytest.raises(ValueError):
        make_layer(symmetric_encryption_keys="text")


async def test_serialize_and_deserialize_can_be_overridden(make_layer):
    from fanfare_channels import FanfareChannelLayer

    class Loud(FanfareChannelLayer):
        def serialize(self, message):
            return b"!" + super().serialize(message)

        def deserialize(self, message):
            return super().deserialize(message[1:])

    layer = make_layer(kind=Loud)
    await layer.send("normal", {"n": 1})
    assert await layer.receive("normal") == {"n": 1}
