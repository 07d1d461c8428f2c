"""A link that breaks costs nothing: the session goes on over the next, `proto/PROTOCOL.md`, section 8.2."""

import asyncio
import random
import socket
import threading
import time

import pytest
from conftest import Broker
from proxies import Cutter, Scripted, next_frame, welcome

from fanfare_channels import BrokerUnavailable, FanfareChannelLayer
from fanfare_channels import protocol as p
from fanfare_channels.resuming import Unconfirmed


@pytest.fixture
def cutter(broker, folder):
    cutter = Cutter(folder / "cut.sock", broker.path)
    yield cutter
    cutter.stop()


@pytest.fixture
def script(folder):
    """Starts scripted brokers; `script.url` is where."""
    made = []

    def start(run):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "script.sock"))
        made.append(Scripted(listener, run))
        return made[-1]

    start.url = f"unix:{folder / 'script.sock'}"
    yield start
    for scripted in made:
        scripted.stop()


async def eventually(condition, what):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.005)


async def test_no_message_is_lost_doubled_or_out_of_order_while_links_are_cut(make_layer, cutter, layer):
    """Direct, group and normal channels, both ways, and cuts in the middle of frames."""
    far = make_layer(url=cutter.url, capacity=100_000, send_patience=20)
    near = make_layer(capacity=100_000)
    channel = await far.new_channel()
    member = await far.new_channel()
    back = await near.new_channel()
    await far.group_add("g", member)
    session = far.hub().welcome["session"]
    count, heard = 400, {}
    gaps = []

    async def read(where, name):
        heard[name] = []
        while len(heard[name]) < count:
            if "!" in name:
                message = await where.receive_or_gap(name)
                if not isinstance(message, dict):
                    gaps.append(message)
                    continue
            else:
                message = await where.receive(name)
            heard[name].append(message["n"])

    async def write(send, target):
        for number in range(count):
            await send(target, {"n": number})
            if number % 20 == 0:
                await asyncio.sleep(0.001)

    readers = [
        asyncio.ensure_future(read(*pair)) for pair in ((far, channel), (far, member), (far, "queue"), (near, back))
    ]
    writers = [
        asyncio.ensure_future(write(*pair))
        for pair in ((near.send, channel), (near.group_send, "g"), (near.send, "queue"), (far.send, back))
    ]
    await asyncio.sleep(0)
    dice = random.Random(7)
    everything = asyncio.gather(*readers, *writers)
    while not everything.done() and cutter.links < 40:
        links = cutter.links
        cutter.cut_after(dice.randrange(1, 3_000))
        while cutter.links == links and not everything.done():
            await asyncio.sleep(0.002)
    cutter.allowance = None
    await asyncio.wait_for(everything, 60)
    for name, numbers in heard.items():
        assert numbers == list(range(count)), name
    assert gaps == []
    assert cutter.links > 5, "hardly anything was cut"
    assert far.hub().welcome["session"] == session
    assert await layer.group_channels("g") == [member]


def test_threads_do_not_notice_that_the_link_was_cut(make_layer, cutter, monkeypatch):
    # No link lives for long here, and a client is ever more patient with those.
    monkeypatch.setattr("fanfare_channels.configuration.UNIX_BACKOFF_SECONDS", 0.02)
    layer = make_layer(url=cutter.url, capacity=100_000, send_patience=20)
    failures = []
    is_over = threading.Event()

    def run(number):
        try:
            for _ in range(300):
                layer.send_sync(f"work-{number}", {})
                layer.send_sync(f"idle-{number}", {}, wait=False)
        except BaseException as failure:  # It is shown below.
            failures.append(failure)

    def cut():
        while not is_over.is_set():
            cutter.cut_after(1_000)
            time.sleep(0.01)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    cutting = threading.Thread(target=cut)
    for thread in [*threads, cutting]:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    is_over.set()
    cutting.join()
    cutter.allowance = None
    assert failures == []
    depths = {row["channel"]: row["depth"] for row in layer.hub().call_in_thread(p.INSPECT, ("channels", {}))["rows"]}
    assert depths == {f"{name}-{number}": 300 for name in ("work", "idle") for number in range(4)}
    assert cutter.links > 2


async def test_what_is_done_while_the_link_is_broken_holds_after(make_layer, cutter, layer):
    far = make_layer(url=cutter.url)
    stays, leaves = await far.new_channel(), await far.new_channel()
    for channel in (stays, leaves):
        await far.group_add("g", channel)
    reading = [asyncio.ensure_future(far.receive("queue")) for _ in range(2)]
    await asyncio.sleep(0.05)
    cutter.is_refusing = True
    cutter.cut()
    await eventually(lambda: far.hub().link is None, "the link stands")
    await far.group_discard("g", leaves)
    reading[0].cancel()
    late = asyncio.ensure_future(far.receive("late"))
    await layer.send("late", {"n": 1})
    await layer.send("queue", {"n": 2})
    await layer.group_send("g", {"n": 3})
    cutter.is_refusing = False
    assert await asyncio.wait_for(late, 20) == {"n": 1}
    assert await asyncio.wait_for(reading[1], 20) == {"n": 2}
    assert await asyncio.wait_for(far.receive(stays), 20) == {"n": 3}
    assert await layer.group_channels("g") == [stays]


async def test_calls_in_flight_fail_once_when_the_session_cannot_go_on(make_layer, script):
    """And they are not repeated to the broker that knows nothing of them."""
    seen = []

    def run(connection, hello):
        is_first = "resume" not in hello
        connection.sendall(welcome(resume_token=b"t" if is_first else b"u", grace_milliseconds=60_000))
        try:
            while True:
                fields = next_frame(connection)
                seen.append((is_first, fields[0]))
                if fields[0] == p.SEND:
                    if is_first:
                        return
                    connection.sendall(p.frame((p.ACK, fields[1])))
        except ConnectionError:
            pass

    scripted = script(run)
    layer = make_layer(url=script.url)
    with pytest.raises(BrokerUnavailable, match="did not go on with the session"):
        await layer.send("a", {})
    await layer.send("b", {})
    assert scripted.hellos[1]["resume"] == b"t" and scripted.hellos[1]["received"] == 0
    assert [operation for is_first, operation in seen if not is_first and operation == p.SEND] == [p.SEND]


async def test_only_what_the_broker_has_not_taken_is_repeated(make_layer, script):
    """Of three requests in one write the broker has taken two, and the answer to the first had arrived."""
    repeated = []

    def run(connection, hello):
        keys = {"resume_token": b"t", "grace_milliseconds": 60_000}
        if "resume" not in hello:
            connection.sendall(welcome(**keys))
            first = next_frame(connection)
            connection.sendall(p.frame((p.ACK, first[1])))
            for _ in range(3):
                next_frame(connection)
            return
        connection.sendall(welcome(**keys, resumed=True, requests=3))
        answered = False
        try:
            while True:
                fields = next_frame(connection)
                if fields[0] == p.SEND:
                    repeated.append((fields[1], fields[2]))
                    if not answered:
                        # Those the broker had taken are answered first, as it would repeat its answers.
                        connection.sendall(p.frame((p.ACK, fields[1] - 2, fields[1] - 1)))
                        answered = True
                    connection.sendall(p.frame((p.ACK, fields[1])))
        except ConnectionError:
            pass

    scripted = script(run)
    layer = make_layer(url=script.url)
    await layer.send("zero", {})
    await asyncio.wait_for(asyncio.gather(*(layer.send(name, {}) for name in ("one", "two", "three"))), 20)
    assert [channel for _, channel in repeated] == ["three"]
    assert scripted.hellos[1]["received"] == 1


async def test_a_broker_that_claims_too_much_is_not_believed(make_layer, script):
    """It says it has taken requests that were never written: the session is over, and another one begins."""

    def run(connection, hello):
        keys = {"resume_token": b"t", "grace_milliseconds": 60_000}
        resumes = "resume" in hello and hello["received"] < p.INT_MOST
        connection.sendall(welcome(**keys, **({"resumed": True, "requests": 99} if resumes else {})))
        try:
            while True:
                fields = next_frame(connection)
                if fields[0] == p.SEND:
                    if fields[2] == "lost":
                        return
                    connection.sendall(p.frame((p.ACK, fields[1])))
        except ConnectionError:
            pass

    scripted = script(run)
    layer = make_layer(url=script.url, send_patience=20)
    with pytest.raises(BrokerUnavailable):
        await layer.send("lost", {})
    await asyncio.wait_for(layer.send("found", {}), 20)
    assert [hello.get("received") for hello in scripted.hellos] == [None, 0, p.INT_MOST]


async def test_what_arrived_is_reported_and_old_requests_are_asked_for(make_layer, script):
    """Replies alone bring reports; requests nobody answers bring a ping, so that they need not be kept for ever."""
    seen = []

    def run(connection, hello):
        connection.sendall(welcome(resume_token=b"t", grace_milliseconds=60_000))
        try:
            while True:
                fields = next_frame(connection)
                seen.append(fields)
                if fields[0] == p.SEND and fields[1] is not None:
                    connection.sendall(p.frame((p.ACK, fields[1])))
                elif fields[0] == p.PING:
                    connection.sendall(p.frame((p.PONG, fields[1])))
        except ConnectionError:
            pass

    script(run)
    layer = make_layer(url=script.url)
    for _ in range(5):
        await layer.send("a", {})
    await eventually(lambda: any(fields[0] == p.REPORT and fields[1] == 5 for fields in seen), "no report of replies")
    body = {"text": "x" * 10_000}
    for _ in range(300):
        await asyncio.get_running_loop().run_in_executor(None, lambda: layer.send_sync("b", body, wait=False))
    await eventually(lambda: any(fields[0] == p.PING for fields in seen), "no ping")
    await layer.send("a", {})
    await layer.send("a", {})
    assert layer.hub().unconfirmed.bytes < 1_048_576


async def test_sends_wait_for_a_broker_in_order_for_as_long_as_they_may(make_layer, broker):
    layer = make_layer(send_patience=20)
    hasty = make_layer(send_patience=0.2)
    await layer.send("x", {})
    await hasty.send("x", {})
    broker.kill()
    await eventually(lambda: layer.hub().link is None and hasty.hub().link is None, "the links stand")
    sends = [asyncio.ensure_future(layer.send("work", {"n": number})) for number in range(20)]
    with pytest.raises(BrokerUnavailable):
        await hasty.send("work", {"n": -1})
    with pytest.raises(BrokerUnavailable):
        await asyncio.get_running_loop().run_in_executor(None, lambda: hasty.send_sync("work", {"n": -1}))
    assert not any(send.done() for send in sends)
    await asyncio.get_running_loop().run_in_executor(None, broker.start)
    await asyncio.wait_for(asyncio.gather(*sends), 20)
    assert [(await layer.receive("work"))["n"] for _ in range(20)] == list(range(20))


async def test_more_than_may_wait_fail_at_once(make_layer, folder, monkeypatch):
    monkeypatch.setattr("fanfare_channels.hub.WAITING_MOST", 3)
    monkeypatch.setattr("fanfare_channels.hub.WAITING_BYTES_MOST", 1_000)
    layer = make_layer(url=f"unix:{folder}/nobody.sock", send_patience=20)
    large = asyncio.ensure_future(layer.send("work", {"text": "x" * 800}))
    await asyncio.sleep(0)
    with pytest.raises(BrokerUnavailable, match="wait for the broker already"):
        await layer.send("work", {"text": "x" * 300})
    small = [asyncio.ensure_future(layer.send("work", {})) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(BrokerUnavailable, match="3 calls"):
        await layer.send("work", {})
    # Who has gone makes room.
    large.cancel()
    await asyncio.gather(large, return_exceptions=True)
    more = asyncio.ensure_future(layer.send("work", {"text": "x" * 300}))
    await asyncio.sleep(0.05)
    assert not more.done()
    for task in [*small, more]:
        task.cancel()
    await asyncio.gather(*small, more, return_exceptions=True)


async def test_memberships_of_queues_come_back_with_a_new_broker(layer, broker):
    for channel in ("kept", "left", "kept"):
        await layer.group_add("g", channel)
    await layer.group_discard("g", "left")
    broker.kill()
    await asyncio.get_running_loop().run_in_executor(None, broker.start)
    assert await layer.group_channels("g") == ["kept"]
    await layer.group_send("g", {"n": 1})
    assert await layer.receive("kept") == {"n": 1}


async def test_a_process_that_is_asked_to_leave_leaves_and_stays_away(make_layer, script):
    said = []

    def run(connection, hello):
        connection.sendall(welcome(resume_token=b"t", grace_milliseconds=60_000))
        try:
            while True:
                fields = next_frame(connection)
                said.append(fields[0])
                if fields[0] == p.SEND:
                    connection.sendall(p.frame((p.ACK, fields[1])))
                    connection.sendall(p.frame((p.GOAWAY, 200, "new version", {"drain": True})))
        except ConnectionError:
            pass

    scripted = script(run)
    layer = make_layer(url=script.url)
    waiting = asyncio.ensure_future(layer.receive(await layer.new_channel()))
    await layer.send("a", {})
    await eventually(lambda: layer.statistics()["is_leaving"], "nobody was told")
    assert not waiting.done()
    with pytest.raises(BrokerUnavailable, match="an operator has asked"):
        await asyncio.wait_for(waiting, 20)
    for call in (layer.send("a", {}), layer.receive("a"), layer.group_add("g", "a")):
        with pytest.raises(BrokerUnavailable, match="an operator has asked"):
            await call
    await eventually(lambda: said[-1] == p.GOODBYE, "no goodbye")
    assert len(scripted.hellos) == 1


def test_unconfirmed_requests_are_forgotten_by_batch_and_cut_by_frame():
    frames = [p.frame((p.SEND, number, "c", b"x" * number)) for number in range(1, 7)]
    for taken in range(8):
        kept = Unconfirmed()
        for batch in (frames[:1], frames[1:4], frames[4:]):
            kept.keep(frames.index(batch[-1]) + 1, len(batch), b"".join(batch))
        again = kept.resume(taken)
        assert again == (b"".join(frames[taken:]) if taken <= 6 else None)
        if taken <= 6:
            assert kept.bytes == len(again)
            # The same again over the link after that.
            assert kept.resume(taken) == again
    kept = Unconfirmed()
    kept.keep(1, 1, frames[0])
    kept.keep(4, 3, b"".join(frames[1:4]))
    kept.confirm(1)
    assert len(kept.batches) == 2
    kept.confirm(2)
    assert (len(kept.batches), kept.taken) == (1, 1)
    assert kept.resume(0) is None


async def test_a_planned_restart_that_hands_its_state_over_loses_nothing(binaries, folder):
    """Two processes talk directly, in groups and through queues, while their broker is stopped and started again."""
    broker = Broker(binaries, folder, "--state", folder / "state")
    broker.start()
    layers = [
        FanfareChannelLayer(url=broker.url, name=f"site-{number}", capacity=100_000, send_patience=60)
        for number in range(2)
    ]
    count, heard, gaps = 600, {}, []

    async def read(layer, name):
        heard[name] = []
        while len(heard[name]) < count:
            message = await (layer.receive_or_gap(name) if "!" in name else layer.receive(name))
            if isinstance(message, dict):
                heard[name].append(message["n"])
            else:
                gaps.append(message)

    async def write(send, target):
        for number in range(count):
            await send(target, {"n": number})
            await asyncio.sleep(0.002)

    channels = [await layer.new_channel() for layer in layers]
    for layer, channel in zip(layers, channels):
        await layer.group_add("g", channel)
    sessions = [layer.hub().welcome["session"] for layer in layers]
    names = [await layer.new_channel() for layer in layers]
    pairs = [*zip(layers, channels), *zip(layers, names), (layers[0], "queue")]
    everything = asyncio.gather(
        *(read(*pair) for pair in pairs),
        write(layers[0].group_send, "g"),
        *(write(layers[1 - number].send, name) for number, name in enumerate(names)),
        write(layers[1].send, "queue"),
    )
    loop = asyncio.get_running_loop()
    for _ in range(3):
        await asyncio.sleep(0.2)
        await loop.run_in_executor(None, broker.stop)
        await asyncio.sleep(0.1)
        await loop.run_in_executor(None, broker.start)
    await asyncio.wait_for(everything, 100)
    for name, numbers in heard.items():
        assert numbers == list(range(count)), name
    assert gaps == []
    assert [layer.hub().welcome["session"] for layer in layers] == sessions
    for layer in layers:
        layer.close_sync()
    broker.stop()
