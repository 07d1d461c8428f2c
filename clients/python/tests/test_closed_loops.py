"""A loop that is closed with tasks that wait: nobody cancels them, and what was found for them is not lost."""

import asyncio
import time

import pytest

PATIENCE_SECONDS = 20


def eventually(condition, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


async def begin(layer, channel):
    """A task that waits for the channel."""
    task = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(0.05)
    return task


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_own", [False, True])
def test_what_was_found_for_a_closed_loop_goes_to_the_next_reader(make_layer, is_own):
    layer, other = make_layer(), make_layer()
    channel = layer.new_channel_name() if is_own else "queue"
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        forgotten = first.run_until_complete(begin(layer, channel))
        waiting = second.run_until_complete(begin(layer, channel))
        other.send_sync(channel, {"n": 1})
        # The loops stand still: the keeper reads it, for who has waited longest.
        eventually(lambda: any(port.outbox for port in layer.hub().ports.values()), "nobody was given the message")
        assert not forgotten.done()
        first.close()
        assert second.run_until_complete(asyncio.wait_for(waiting, PATIENCE_SECONDS)) == {"n": 1}
    finally:
        first.close()
        second.close()


class ClosesWhenWoken(asyncio.SelectorEventLoop):
    """Is closed by its own thread just before another one wakes it."""

    is_armed = False

    def call_soon_threadsafe(self, *arguments, **options):
        if self.is_armed:
            self.close()
        return super().call_soon_threadsafe(*arguments, **options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_own", [False, True])
def test_a_loop_that_is_closed_while_it_is_told_takes_no_message_with_it(make_layer, is_own):
    layer, other = make_layer(), make_layer()
    channel = layer.new_channel_name() if is_own else "queue"
    first, second = ClosesWhenWoken(), asyncio.new_event_loop()
    try:
        forgotten = first.run_until_complete(begin(layer, channel))
        waiting = second.run_until_complete(begin(layer, channel))
        first.is_armed = True
        other.send_sync(channel, {"n": 1})
        eventually(first.is_closed, "nobody was given the message")
        assert second.run_until_complete(asyncio.wait_for(waiting, PATIENCE_SECONDS)) == {"n": 1}
        assert not forgotten.done()
    finally:
        first.close()
        second.close()
