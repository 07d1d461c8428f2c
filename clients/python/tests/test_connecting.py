"""Finding a broker: what is in the way of one attempt is said, and never ends the attempts."""

import asyncio
import socket

import pytest
from proxies import Cutter, Scripted, welcome

from fanfare_channels import BrokerUnavailable
from fanfare_channels import protocol as p
from fanfare_channels.keeper import Keeper

PATIENCE_SECONDS = 30


@pytest.mark.parametrize("host", ["broker..internal", "b" * 64 + ".internal", "broker\0"])
async def test_a_host_that_cannot_be_a_name_is_said_and_the_next_one_tried(make_layer, broker, host):
    lost = make_layer(url=None, hosts=[(host, 7411)])
    with pytest.raises(BrokerUnavailable, match="internal|broker"):
        await asyncio.wait_for(lost.send("queue", {"type": "x"}), PATIENCE_SECONDS)
    layer = make_layer(url=None, hosts=[(host, 7411), broker.url])
    await asyncio.wait_for(layer.send("queue", {"type": "x"}), PATIENCE_SECONDS)


async def test_a_name_that_cannot_be_sent_is_said(make_layer):
    layer = make_layer(name="caf\udce9")
    with pytest.raises(BrokerUnavailable, match="surrogates"):
        await asyncio.wait_for(layer.send("queue", {"type": "x"}), PATIENCE_SECONDS)


async def test_a_policy_that_just_fits_a_hello_is_welcomed(make_layer):
    """The welcome repeats the policy, and says more besides."""
    patterns = {f"{number:02}" + "x" * 62: 10 for number in range(60)}
    layer = make_layer(channel_capacity=patterns)
    while len(layer.hub().configuration.hello(layer.client_prefix)) > 4 + p.HELLO_FRAME_BYTES:
        patterns.popitem()
        layer = make_layer(channel_capacity=patterns)
    await layer.send("queue", {"type": "x"})
    assert len(layer.hub().welcome["policy"]["channel_capacity"]) == len(patterns)


async def test_a_layer_closed_without_a_link_can_be_used_again_at_once(make_layer, broker, folder):
    """Its node is still the old session's, which the broker keeps for its grace."""
    cutter = Cutter(folder / "cut.sock", broker.path)
    try:
        layer = make_layer(url=cutter.url)
        await layer.send("queue", {"type": "x"})
        first = layer.client_prefix
        cutter.is_refusing = True
        cutter.cut()
        hub = layer.hub()
        while hub.link is not None:
            await asyncio.sleep(0.001)
        await layer.close()
        cutter.is_refusing = False
        await layer.send("queue", {"type": "x"})
        assert layer.client_prefix == first
    finally:
        cutter.stop()


async def test_links_that_end_each_time_at_their_welcome_are_looked_for_ever_less(make_layer, folder):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "script.sock"))
    scripted = Scripted(listener, lambda connection, hello: connection.sendall(welcome()))
    try:
        layer = make_layer(url=f"unix:{folder / 'script.sock'}")
        layer.hub().start()
        while len(scripted.hellos) < 6:
            await asyncio.sleep(0.005)
        # Waited so far: 0 to 50 ms, then from 50 ms on twice as long each time.
        assert layer.hub().keeper._backoff._step >= 0.8
    finally:
        layer.close_sync()
        scripted.stop()


async def test_a_broker_that_said_it_stops_is_looked_for_soon(make_layer, folder):
    def stop(connection, hello):
        connection.sendall(welcome() + p.frame((p.GOAWAY, 10, "a test")))

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "script.sock"))
    scripted = Scripted(listener, stop)
    try:
        layer = make_layer(url=f"unix:{folder / 'script.sock'}")
        layer.hub().start()
        while len(scripted.hellos) < 6:
            await asyncio.sleep(0.005)
        assert layer.hub().keeper._backoff._step <= 0.05
    finally:
        layer.close_sync()
        scripted.stop()


@pytest.mark.parametrize("call", ["send", "send_sync", "receive", "group_add"])
async def test_a_thread_that_cannot_be_started_is_said_and_tried_again_at_the_next_call(make_layer, monkeypatch, call):
    layer = make_layer()
    arguments = {"receive": ["queue"], "group_add": ["g", "queue"]}.get(call, ["queue", {"n": 1}])

    async def once():
        if call == "send_sync":
            await asyncio.get_running_loop().run_in_executor(None, layer.send_sync, *arguments)
        else:
            await asyncio.wait_for(getattr(layer, call)(*arguments), PATIENCE_SECONDS)

    def fails(keeper):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as context:
        context.setattr(Keeper, "start", fails)
        with pytest.raises(BrokerUnavailable, match="can't start new thread"):
            await once()
    if call == "receive":
        await make_layer().send("queue", {"n": 1})
    await once()
