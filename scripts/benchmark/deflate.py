"""What permessage-deflate costs a worker. See scripts/deflate-cost."""
import argparse
import asyncio
import json
import os
import pathlib
import random
import socket
import statistics
import subprocess
import tempfile
import time
import zlib

from fanfare_channels import FanfareChannelLayer
from websockets.asyncio.client import connect

HOST = "127.0.0.1"
START_SECONDS = 20
WORDS = "the of and room message user today meeting hello thanks update price order shipped question answer".split()


def text(size, seed):
    """A chat message of about `size` bytes, never the same twice."""
    source, said = random.Random(seed), []
    while sum(map(len, said)) + len(said) < size:
        said.append(source.choice(WORDS) if source.random() < 0.8 else str(source.randrange(10_000)))
    return json.dumps({"type": "chat.message", "message": " ".join(said)})


def cpu_seconds(pid):
    """Of all threads, as the scheduler counts it: in nanoseconds, where /proc/PID/stat has hundredths of a second."""
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def deflated_bytes(message):
    """What zlib at level 1 makes of the frame, without what earlier ones taught it: as the worker does."""
    frame = json.dumps({"message": json.loads(message)["message"]}, separators=(",", ":")).encode()
    compressor = zlib.compressobj(1, zlib.DEFLATED, -15)
    return len(frame), len(compressor.compress(frame) + compressor.flush(zlib.Z_SYNC_FLUSH)) - 4


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


async def reader(port, room, compression, messages, ready):
    """Reads `messages` of one socket."""
    url = f"ws://{HOST}:{port}/ws/chat/{room}/"
    async with connect(url, compression=compression, ping_interval=None, max_queue=None, proxy=None) as client:
        await ready.wait()
        for _ in range(messages):
            await client.recv()


async def run(port, layer, worker, options, size, rooms, compression, seed):
    """CPU microseconds of the worker for each delivery."""
    ready = asyncio.Barrier(options.sockets + 1)
    readers = [
        asyncio.create_task(reader(port, f"r{number % rooms}", compression, options.messages, ready))
        for number in range(options.sockets)
    ]
    await asyncio.wait_for(ready.wait(), START_SECONDS)
    before = cpu_seconds(worker.pid)
    for number in range(options.messages):
        for room in range(rooms):
            await layer.group_send(f"chat_r{room}", json.loads(text(size, f"{seed} {number} {room}")))
    await asyncio.gather(*readers)
    return (cpu_seconds(worker.pid) - before) * 1e6 / (options.sockets * options.messages)


def start(program, *arguments):
    log = open(pathlib.Path(arguments[-1]), "w")
    return subprocess.Popen([f"{os.environ['FANFARE_BIN']}/{program}", *arguments[:-1]], stdout=log, stderr=log)


async def measure(options, folder):
    endpoint, port = f"unix:{folder}/b.sock", free_port()
    broker = start("fanfare-broker", "--listen", endpoint, f"{folder}/broker.log")
    listen = f"{HOST}:{port}"
    worker = start("fanfare-worker", "--broker", endpoint, "--listen", listen, "--compression", f"{folder}/w.log")
    try:
        deadline = time.monotonic() + START_SECONDS
        while "ready" not in pathlib.Path(f"{folder}/w.log").read_text():
            assert time.monotonic() < deadline, pathlib.Path(f"{folder}/w.log").read_text()
            time.sleep(0.05)
        layer = FanfareChannelLayer(hosts=[endpoint])
        for size in (128, 1_024):
            plain, deflated = zip(*(deflated_bytes(text(size, str(seed))) for seed in range(200)))
            print(f"{size} bytes: {statistics.mean(plain):.0f} in a frame, {statistics.mean(deflated):.0f} deflated")
            count = options.sockets
            for label, rooms in ((f"one room of {count}", 1), (f"{count} rooms of one", count)):
                found = {None: [], "deflate": []}
                for round in range(options.rounds):
                    for compression in found:
                        found[compression].append(
                            await run(port, layer, worker, options, size, rooms, compression, f"{label} {size} {round}")
                        )
                plain, deflated = found.values()
                ratios = sorted(one / other for one, other in zip(deflated, plain))
                middles = [statistics.median(figures) for figures in (plain, deflated, ratios)]
                print(
                    f"{label}, {size} bytes: {middles[0]:.1f} us plain, {middles[1]:.1f} us deflated,"
                    f" {middles[2]:.2f} x ({ratios[0]:.2f}-{ratios[-1]:.2f})", flush=True
                )
    finally:
        for process in (worker, broker):
            process.terminate()
            process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sockets", type=int, default=200)
    parser.add_argument("--messages", type=int, default=50)
    with tempfile.TemporaryDirectory(prefix="fanfare-", dir="/tmp") as folder:
        asyncio.run(measure(parser.parse_args(), folder))


main()
