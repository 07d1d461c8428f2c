"""The layer called from within itself: by a finalizer the garbage collector runs, or a signal handler.

Either may come between any two steps of a thread that is at work in the hub. What it may wait for is itself then.
"""

import asyncio
import gc
import signal
import threading

import pytest

from fanfare_channels import BrokerUnavailable, receiving

PATIENCE_SECONDS = 20


class Inside:
    """Runs something once, where the hub writes a request of a thread."""

    def __init__(self, monkeypatch, work):
        self.failure = None
        self._work = work
        self._frame = receiving.frame
        monkeypatch.setattr(receiving, "frame", self._run)

    def _run(self, fields):
        work, self._work = self._work, None
        if work is not None:
            try:
                work()
            except Exception as failure:  # It is looked at in the test.
                self.failure = failure
        return self._frame(fields)


def in_time(work):
    """Does something in a thread of its own: if it never ends, the test does."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "it waits for itself"


def take(layer, count):
    async def receive():
        return [(await asyncio.wait_for(layer.receive("queue"), PATIENCE_SECONDS))["from"] for _ in range(count)]

    return asyncio.run(receive())


@pytest.mark.parametrize("how", ["send", "group_send"])
def test_what_a_finalizer_sends_without_waiting_leaves_soon(make_layer, monkeypatch, how):
    layer, other = make_layer(), make_layer()
    layer.group_add_sync("g", "queue")

    class Dying:
        def __init__(self):
            self.itself = self

        def __del__(self):
            if how == "send":
                layer.send_sync("queue", {"from": "finalizer"}, wait=False)
            else:
                layer.group_send_sync("g", {"from": "finalizer"}, wait=False)

    Dying()
    Inside(monkeypatch, gc.collect)
    in_time(lambda: layer.send_sync("queue", {"from": "thread"}))
    assert sorted(take(other, 2)) == ["finalizer", "thread"]


def test_what_a_signal_handler_sends_without_waiting_leaves_before_the_layer_is_closed(make_layer, monkeypatch):
    layer, other = make_layer(), make_layer()
    layer.send_sync("queue", {"from": "first"})
    before = signal.signal(
        signal.SIGUSR1, lambda *_: layer.send_sync("queue", {"from": "handler"}, wait=False)
    )
    try:
        Inside(monkeypatch, lambda: signal.raise_signal(signal.SIGUSR1))
        layer.send_sync("queue", {"from": "thread"})
    finally:
        signal.signal(signal.SIGUSR1, before)
    layer.close_sync()
    assert sorted(take(other, 3)) == ["first", "handler", "thread"]


def no_step_further(coroutine):
    """Runs a coroutine as its end by the garbage collector does, where it must not wait."""
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


CALLS = {
    "send_sync": lambda layer: layer.send_sync("queue", {"from": "inside"}),
    "group_send_sync": lambda layer: layer.group_send_sync("g", {"from": "inside"}, outcome=True),
    "group_add_sync": lambda layer: layer.group_add_sync("g", "queue"),
    "group_discard_sync": lambda layer: layer.group_discard_sync("g", layer.new_channel_name()),
    "group_discard": lambda layer: no_step_further(layer.group_discard("g", layer.new_channel_name())),
    "close_channel": lambda layer: no_step_further(layer.close_channel(layer.new_channel_name())),
    "statistics": lambda layer: layer.statistics(),
    "check_connection": lambda layer: layer.check_connection(),
    "send": lambda layer: asyncio.run(layer.send("queue", {"from": "inside"})),
    "send_many": lambda layer: asyncio.run(layer.send_many([("queue", {"from": "inside"})])),
    "receive": lambda layer: asyncio.run(layer.receive("queue")),
    "receive_own": lambda layer: asyncio.run(layer.receive(layer.new_channel_name())),
    "close_pools": lambda layer: asyncio.run(layer.close_pools()),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_would_wait_for_itself_is_refused(make_layer, monkeypatch, call):
    layer, other = make_layer(), make_layer()
    layer.send_sync("queue", {"from": "first"})
    inside = Inside(monkeypatch, lambda: CALLS[call](layer))
    in_time(lambda: layer.send_sync("queue", {"from": "thread"}))
    assert isinstance(inside.failure, RuntimeError) and "wait=False" in str(inside.failure), inside.failure
    # And nothing is out of order.
    assert take(other, 2) == ["first", "thread"]
    layer.send_sync("queue", {"from": "later"})
    assert take(layer, 1) == ["later"]


def test_a_layer_that_a_signal_handler_closes_is_closed_when_the_call_is_over(make_layer, monkeypatch):
    layer = make_layer()
    layer.send_sync("queue", {"from": "first"})
    hub = layer.hub()
    inside = Inside(monkeypatch, layer.close_sync)

    def send():
        try:
            layer.send_sync("queue", {"from": "thread"})
        except BrokerUnavailable:
            pass

    in_time(send)
    assert inside.failure is None
    hub.keeper._thread.join(PATIENCE_SECONDS)
    assert hub.stopped
    assert layer.hub() is not hub


class TimeIsUp(Exception):
    pass


def test_a_call_that_a_signal_handler_ends_leads_no_others(make_layer, monkeypatch):
    layer = make_layer()
    layer.send_sync("queue", {"from": "first"})

    def fail(*_):
        raise TimeIsUp

    before = signal.signal(signal.SIGUSR1, fail)
    write = layer.hub().write

    def interrupted(*arguments):
        write(*arguments)
        signal.raise_signal(signal.SIGUSR1)

    try:
        monkeypatch.setattr(layer.hub(), "write", interrupted)
        with pytest.raises(TimeIsUp):
            layer.send_sync("queue", {"from": "interrupted"})
    finally:
        monkeypatch.undo()
        signal.signal(signal.SIGUSR1, before)
    assert layer.hub().threads == []
    layer.send_sync("queue", {"from": "later"})
    assert take(layer, 3) == ["first", "interrupted", "later"]
