"""What calls raise: whole after pickling, and one exception for each who has to hear of it."""

import asyncio
import os
import pickle
import signal
import traceback

import pytest

from fanfare_channels import BrokerUnavailable, ChannelFull, MessageTooLarge
from fanfare_channels.exceptions import BrokerRefused

COUNT = 20


@pytest.mark.parametrize("kind", [BrokerUnavailable, ChannelFull, MessageTooLarge])
def test_an_exception_passes_to_another_process(kind):
    again = pickle.loads(pickle.dumps(kind("what happened")))
    assert type(again) is kind and str(again) == "what happened"


def test_a_refusal_passes_to_another_process():
    again = pickle.loads(pickle.dumps(BrokerRefused(24, "no room", True)))
    assert (type(again), str(again), again.code, again.retry) == (BrokerRefused, "no room", 24, True)


async def all_fail_alone(tasks):
    failures = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(failure) for failure in failures} == {BrokerUnavailable}
    assert len({id(failure) for failure in failures}) == COUNT
    # As long as the way up from where it was raised, for the last as for the first.
    assert len({len(traceback.extract_tb(failure.__traceback__)) for failure in failures}) == 1


async def test_each_call_that_a_break_ends_has_its_own_exception(layer, broker):
    await layer.send("first", {})
    os.kill(broker.process.pid, signal.SIGSTOP)
    tasks = [asyncio.ensure_future(layer.group_send("g", {"n": number})) for number in range(COUNT)]
    await asyncio.sleep(0)
    layer.close_sync()
    broker.kill()
    await all_fail_alone(tasks)


@pytest.mark.parametrize("is_own", [True, False])
async def test_each_receive_that_a_close_ends_has_its_own_exception(layer, is_own):
    channel = layer.new_channel_name() if is_own else "normal"
    tasks = [asyncio.ensure_future(layer.receive(channel)) for _ in range(COUNT)]
    await layer.send("other", {})
    await layer.close()
    await all_fail_alone(tasks)


async def test_each_call_without_a_broker_has_its_own_exception(layer, broker):
    broker.kill()
    tasks = [asyncio.ensure_future(layer.group_add("g", "normal")) for _ in range(COUNT)]
    await asyncio.sleep(0)
    await layer.close()
    await all_fail_alone(tasks)
