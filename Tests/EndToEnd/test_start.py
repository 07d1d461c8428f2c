"""Starting and stopping: what the operator sees when something is in the way."""
import asyncio
import socket

import pytest

import chat
import wire
from programs import HOST, eventually

CONFIGURATION, UNAVAILABLE, USAGE = 78, 69, 64


def complaint(done):
    """The one line a program that cannot start leaves on stderr, besides its log, which is JSON here."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_stale_socket_is_taken_over(house):
    house.broker().kill()
    assert house.socket.exists()
    house.broker(name="heir")


def test_a_live_socket_is_refused(house, broker):
    done = house.run("fanfare-broker", "--listen", house.endpoint, code=CONFIGURATION)
    assert str(house.socket) in complaint(done)
    with wire.Wire(house.socket) as other:
        assert other.status()["pid"] == broker.pid


def test_a_file_that_is_no_socket_is_left_alone(house):
    house.socket.write_text("precious")
    done = house.run("fanfare-broker", "--listen", house.endpoint, code=CONFIGURATION)
    assert str(house.socket) in complaint(done)
    assert house.socket.read_text() == "precious"


def test_a_missing_folder_is_named(house):
    missing = house.folder / "missing" / "broker.sock"
    done = house.run("fanfare-broker", "--listen", f"unix:{missing}", code=CONFIGURATION)
    assert str(missing.parent) in complaint(done)


@pytest.mark.parametrize("program", ["fanfare-broker", "fanfare-worker"])
def test_a_taken_port_is_named(house, program):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        address = f"tcp://{HOST}:{port}" if program == "fanfare-broker" else f"{HOST}:{port}"
        done = house.run(program, "--listen", address, code=CONFIGURATION)
    assert str(port) in complaint(done)


@pytest.mark.parametrize("program", ["fanfare-broker", "fanfare-worker", "fanfare"])
def test_an_unknown_flag_is_a_usage_error(house, program):
    arguments = ["status", "--no-such-flag"] if program == "fanfare" else ["--no-such-flag"]
    assert "--no-such-flag" in house.run(program, *arguments, code=USAGE).stderr


@pytest.mark.parametrize(
    "program, flag", [("fanfare-broker", "--listen"), ("fanfare-worker", "--broker"), ("fanfare", "--broker")]
)
@pytest.mark.parametrize("endpoint", ["ftp://localhost:1", "unix:relative", "tcp://localhost:port"])
def test_an_endpoint_that_cannot_be_used_is_a_configuration_error(house, program, flag, endpoint):
    command = ["status"] if program == "fanfare" else []
    done = house.run(program, *command, flag, endpoint, code=CONFIGURATION)
    assert endpoint.removeprefix("tcp://") in complaint(done)


def test_the_broker_stops_gracefully(house):
    broker = house.broker()
    assert broker.terminate() == 0
    assert not house.socket.exists()


def test_the_worker_stops_gracefully_and_tells_its_visitors(house, broker, port):
    worker = house.worker("worker-1", port)

    async def run():
        visitor = await chat.Visitor.enter(port, "lobby")
        assert await asyncio.to_thread(worker.terminate) == 0
        await asyncio.wait_for(visitor.socket.wait_closed(), chat.SECONDS)
        return visitor.socket.close_code

    assert asyncio.run(run()) == 1012
    eventually(lambda: house.rows("groups") == [], "its memberships are gone")


def test_the_broker_serves_several_endpoints(house):
    second = house.folder / "second.sock"
    house.broker("--listen", f"unix:{second}")
    with wire.Wire(house.socket) as one, wire.Wire(second) as two:
        one.send("news", {"text": "hello"})
        assert two.receive("news") == {"text": "hello"}


@pytest.mark.parametrize("program", ["fanfare-broker", "fanfare-worker", "fanfare"])
def test_every_program_says_its_version(house, program):
    assert house.run(program, "--version").stdout.strip()


def test_a_configuration_can_be_checked_without_starting(house):
    house.run("fanfare-broker", "--listen", house.endpoint, "--check-config")
    assert not house.socket.exists()
    complaint(house.run("fanfare-broker", "--listen", "tls://x:1", "--check-config", code=CONFIGURATION))
