"""The end of a layer and of its process: what was sent without waiting for an answer leaves first."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from fanfare_channels import protocol as p

COUNT, SIZE = 3_000, 1_000
"""More bytes than the buffers of a socket hold while the broker stands still."""
PATIENCE_SECONDS = 10
SCRIPT = f"""
import sys
from fanfare_channels import FanfareChannelLayer
layer = FanfareChannelLayer(url=sys.argv[1], capacity={COUNT + 1})
layer.send_sync("queue", {{"type": "first"}})
print("connected", flush=True)
open(0, closefd=False).readline()
for number in range({COUNT}):
    layer.send_sync("queue", {{"n": number, "padding": bytes({SIZE})}}, wait=False)
print("sent" if layer.hub().link.unsent else "nothing waits", flush=True)
"""

CHILD = f"""
import multiprocessing
def work():
    exec({SCRIPT!r})
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""
"""The same in a child of `multiprocessing`, which ends without `atexit`."""


@pytest.fixture
def freeze(broker):
    """Stops the broker's process for a while; the tests end no process that stands still."""
    process = broker.process

    def thaw():
        os.kill(process.pid, signal.SIGCONT)

    yield lambda: os.kill(process.pid, signal.SIGSTOP), thaw
    thaw()


async def all_arrive(layer):
    """The broker may still read what is in its socket."""
    query = {"name": "queue", "namespace": "default"}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        depth = (await layer.hub().call(p.INSPECT, ("channel", query)))["rows"][0]["depth"]
        if depth == COUNT + 1:
            return
        assert time.monotonic() < deadline, f"{depth} of {COUNT + 1} messages have arrived"
        await asyncio.sleep(0.02)


async def flood(layer, stop):
    await layer.send("queue", {"type": "first"})
    stop()
    for number in range(COUNT):
        layer.send_sync("queue", {"n": number, "padding": bytes(SIZE)}, wait=False)
    assert layer.hub().link.unsent


@pytest.mark.parametrize("is_sync", [True, False])
async def test_what_was_sent_leaves_before_a_layer_is_closed(make_layer, freeze, is_sync):
    stop, go_on = freeze
    layer = make_layer(capacity=COUNT + 1)
    await flood(layer, stop)
    threading.Timer(0.2, go_on).start()
    if is_sync:
        await asyncio.get_running_loop().run_in_executor(None, layer.close_sync)
    else:
        await layer.close()
    await all_arrive(make_layer())


async def test_a_broker_that_does_not_read_keeps_no_layer_open(make_layer, freeze, caplog):
    stop, go_on = freeze
    layer = make_layer(capacity=COUNT + 1)
    await flood(layer, stop)
    with caplog.at_level(logging.WARNING, "fanfare_channels"):
        await layer.close()
    assert "bytes for it are lost" in caplog.text
    go_on()
    # Its node is free again at once, although nobody heard its goodbye.
    await layer.send("other", {"type": "x"})


@pytest.mark.parametrize("script", [SCRIPT, CHILD], ids=["program", "multiprocessing"])
async def test_what_was_sent_leaves_before_its_process_ends(layer, broker, freeze, script):
    stop, go_on = freeze
    child = subprocess.Popen(
        [sys.executable, "-c", script, broker.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "connected\n"
        await layer.send("other", {"type": "x"})
        stop()
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "sent\n"
        go_on()
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.communicate()
    await all_arrive(layer)
