"""One connection per process, whatever the code does: loops, threads, forks."""

import asyncio
import gc
import multiprocessing
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from proxies import Scripted

from fanfare_channels import BrokerUnavailable, ChannelFull, FanfareChannelLayer


def sessions(layer):
    """The sessions the broker has."""
    rows = layer.hub().call_in_thread(31, ("sessions", {}), again=True)["rows"]
    return [row for row in rows if row["attributes"].get("pid")]


def eventually(check, seconds=20):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


def in_threads(count, function):
    """Runs `function(number)` in that many threads; what one of them raises is raised here."""
    failures = []

    def run(number):
        try:
            function(number)
        except BaseException as failure:  # It is raised again below.
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if failures:
        raise failures[0]


def test_async_to_sync_works_again_and_again_over_one_connection(layer):
    channel = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("g", channel)
    for number in range(50):
        async_to_sync(layer.send)(channel, {"n": number})
        async_to_sync(layer.group_send)("g", {"g": number})
        assert async_to_sync(layer.receive)(channel) == {"n": number}
        assert async_to_sync(layer.receive)(channel) == {"g": number}
    assert [row["session"] for row in sessions(layer)] == [layer.hub().welcome["session"]]


def test_loops_one_after_another_that_leave_receives_behind(layer):
    """Loops are closed with receives still waiting; their messages reach the next loop's."""
    channel = layer.new_channel_name()

    async def give_up(name):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(layer.receive(name), 0.02)

    async def leave(name):
        asyncio.ensure_future(layer.receive(name))
        await asyncio.sleep(0.02)

    for number in range(10):
        for name in (channel, "normal"):
            asyncio.run(give_up(name))
            loop = asyncio.new_event_loop()
            loop.run_until_complete(leave(name))
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            async_to_sync(layer.send)(name, {"n": number})
            assert asyncio.run(asyncio.wait_for(layer.receive(name), 10)) == {"n": number}


def test_a_loop_that_was_dropped_unclosed_takes_no_message_with_it(layer):
    loop = asyncio.new_event_loop()

    async def leave():
        asyncio.ensure_future(layer.receive("work"))
        await asyncio.sleep(0.05)

    loop.run_until_complete(leave())
    loop.close()
    layer.send_sync("work", {"n": 1})
    assert asyncio.run(asyncio.wait_for(layer.receive("work"), 10)) == {"n": 1}


def test_two_loops_receive_at_once(layer):
    one, two = layer.new_channel_name(), layer.new_channel_name()

    def run(number):
        mine, theirs = (one, two) if number else (two, one)

        async def play():
            for turn in range(300):
                await layer.send(theirs, {"n": turn})
                assert await asyncio.wait_for(layer.receive(mine), 20) == {"n": turn}

        asyncio.run(play())

    in_threads(2, run)
    assert len(sessions(layer)) == 1


def test_many_threads_send_and_none_waits_for_another(make_layer):
    layer = make_layer(capacity=10_000)

    def run(number):
        for turn in range(100):
            layer.send_sync("work", {"thread": number, "n": turn})
            layer.group_send_sync("nobody", {}, wait=bool(turn % 2))

    in_threads(16, run)

    async def read():
        return [await layer.receive("work") for _ in range(1_600)]

    found = asyncio.run(read())
    for number in range(16):
        assert [message["n"] for message in found if message["thread"] == number] == list(range(100))
    assert len(sessions(layer)) == 1


async def test_the_synchronous_calls_do_what_the_others_do(make_layer):
    layer = make_layer(capacity=1)
    channel = await layer.new_channel()
    layer.group_add_sync("g", channel)
    assert layer.group_send_sync("g", {"n": 1}, outcome=True) == {"members": 1, "accepted": 1, "dropped": 0}
    assert await layer.receive(channel) == {"n": 1}
    layer.send_sync(channel, {"n": 2})
    with pytest.raises(ChannelFull):
        layer.send_sync(channel, {"n": 3})
    layer.send_sync(channel, {"n": 4}, wait=False)
    layer.group_discard_sync("g", channel)
    assert await layer.group_count("g") == 0
    layer.flush_sync()
    with pytest.raises(TypeError):
        layer.send_sync("no name", {})
    layer.send_sync(channel, {"n": 5}, wait=False)
    assert await layer.receive(channel) == {"n": 5}


async def test_a_thread_gets_its_answer_while_the_loop_stands_still(layer):
    await layer.send("work", {"n": 0})
    done = []

    def run():
        layer.send_sync("work", {"n": 1})
        async_to_sync(layer.send)("work", {"n": 2})
        done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    # Blocks this loop, which watches the link.
    thread.join(20)
    assert done
    assert [(await layer.receive("work"))["n"] for _ in range(3)] == [0, 1, 2]


async def test_a_loop_that_stands_still_is_stood_in_for(make_layer):
    """Its pings are answered, and another process's flush does not wait for it until it is given up."""
    layer, other = make_layer(), make_layer()
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    done = []

    def run():
        other.flush_sync()
        done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert done
    assert layer.statistics()["memberships"] == 0


async def test_sync_code_below_a_running_loop(layer):
    channel = await layer.new_channel()

    def below():
        async_to_sync(layer.group_add)("g", channel)
        async_to_sync(layer.group_send)("g", {"n": 1})
        layer.group_send_sync("g", {"n": 2})

    await asyncio.gather(*(sync_to_async(below, thread_sensitive=False)() for _ in range(1)))
    assert [(await layer.receive(channel))["n"] for _ in range(2)] == [1, 2]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("is_loop_running", [False, True])
def test_the_child_of_a_fork_has_a_connection_of_its_own(layer, is_loop_running):
    channel = layer.new_channel_name()
    layer.group_add_sync("g", channel)
    prefix = layer.client_prefix

    def child(pipe):
        try:
            assert layer.client_prefix != prefix
            mine = layer.new_channel_name()
            asyncio.run(layer.send(mine, {"n": 1}))
            found = asyncio.run(layer.receive(mine))
            layer.send_sync(channel, {"from": "child"})
            pipe.send((found, layer.client_prefix))
        except BaseException as failure:  # It is compared in the parent.
            pipe.send((repr(failure), ""))
        os._exit(0)

    def fork():
        pipe, theirs = multiprocessing.Pipe()
        pid = os.fork()
        if pid == 0:
            child(theirs)
        assert pipe.poll(30), "the child hangs"
        answer = pipe.recv()
        os.waitpid(pid, 0)
        return answer

    async def fork_inside():
        await layer.send(channel, {"before": 1})
        assert await layer.receive(channel) == {"before": 1}
        task = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0.05)
        answer = await sync_to_async(fork, thread_sensitive=False)()
        assert await asyncio.wait_for(task, 10) == {"from": "child"}
        return answer

    if is_loop_running:
        found, child_prefix = asyncio.run(fork_inside())
    else:
        found, child_prefix = fork()
        assert asyncio.run(layer.receive(channel)) == {"from": "child"}
    assert found == {"n": 1}
    assert child_prefix not in ("", prefix)
    # The parent's session and membership have not been touched.
    assert asyncio.run(layer.group_channels("g")) == [channel]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_layers_that_were_closed_before_a_fork_keep_no_other_from_forgetting_the_parents(make_layer):
    layers = [make_layer() for _ in range(6)]
    for layer in layers:
        layer.send_sync("queue", {})
    keepers = [layer.hub().keeper for layer in layers[:-1]]
    for layer in layers[:-1]:
        layer.close_sync()
    for keeper in keepers:
        keeper._thread.join(30)
    pid = os.fork()
    if pid == 0:
        # What a layer holds here would be the parent's connection.
        os._exit(sum(layer._hub is not None for layer in layers))
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_process_that_is_killed_takes_its_members_with_it(layer, broker):
    code = f"""
        import asyncio, sys, time
        from fanfare_channels import FanfareChannelLayer
        layer = FanfareChannelLayer(url={broker.url!r})
        layer.group_add_sync("g", layer.new_channel_name())
        print("ready", flush=True)
        time.sleep(600)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"ready\n"
        assert asyncio.run(layer.group_count("g")) == 1
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    eventually(lambda: asyncio.run(layer.group_count("g")) == 0)


def test_a_layer_nobody_holds_any_more_ends_its_session(layer, broker):
    asyncio.run(layer.send("work", {}))
    other = FanfareChannelLayer(url=broker.url)
    other.group_add_sync("g", other.new_channel_name())
    assert len(sessions(layer)) == 2
    del other
    gc.collect()
    eventually(lambda: len(sessions(layer)) == 1)


def test_a_process_ends_by_itself_with_a_layer_in_use(broker):
    code = f"""
        import asyncio
        from fanfare_channels import FanfareChannelLayer
        layer = FanfareChannelLayer(url={broker.url!r})
        async def main():
            channel = await layer.new_channel()
            asyncio.ensure_future(layer.receive(channel))
            await layer.send("work", {{}})
        asyncio.run(main())
        print("done")
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_without_a_broker_sends_fail_and_say_where_it_was_looked_for(folder):
    layer = FanfareChannelLayer(url=f"unix:{folder}/nobody.sock", patience=0.2)
    with pytest.raises(BrokerUnavailable, match="nobody.sock"):
        asyncio.run(layer.send("work", {}))
    with pytest.raises(BrokerUnavailable, match="nobody.sock"):
        layer.send_sync("work", {})
    with pytest.raises(BrokerUnavailable, match="nobody.sock"):
        asyncio.run(layer.group_add("g", "work"))
    layer.close_sync()


def test_the_second_broker_is_used_when_the_first_is_not_there(broker, folder):
    layer = FanfareChannelLayer(hosts=[f"unix:{folder}/nobody.sock", broker.url])
    layer.send_sync("work", {"n": 1})
    assert asyncio.run(layer.receive("work")) == {"n": 1}
    layer.close_sync()


def test_a_broker_that_drips_bytes_before_a_welcome_is_given_up(broker, folder):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "drip.sock"))
    is_over = threading.Event()

    def drip(connection, _):
        connection.sendall((4_000).to_bytes(4, "big"))
        while not is_over.wait(0.1):
            connection.sendall(b"\x01")

    dripping = Scripted(listener, drip)
    layer = FanfareChannelLayer(hosts=[f"unix:{folder}/drip.sock", broker.url], send_patience=20)
    try:
        layer.send_sync("work", {"n": 1})
        assert dripping.hellos and asyncio.run(layer.receive("work")) == {"n": 1}
    finally:
        is_over.set()
        layer.close_sync()
        dripping.stop()


@pytest.mark.parametrize("wait", [True, False])
def test_a_finalizer_at_the_end_of_the_interpreter_waits_for_no_link(broker, wait):
    code = f"""
        import os, sys
        from fanfare_channels import BrokerUnavailable, FanfareChannelLayer

        class Dying:
            def __init__(self):
                self.layer = FanfareChannelLayer(url=sys.argv[1])

            def __del__(self, write=os.write, BrokerUnavailable=BrokerUnavailable):
                try:
                    self.layer.send_sync("queue", {{}}, wait={wait})
                except BrokerUnavailable as failure:
                    write(1, str(failure).encode())

        dying = Dying()
        """
    command = [sys.executable, "-c", textwrap.dedent(code), broker.url]
    found = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert "the interpreter is ending" in found.stdout, found.stderr
