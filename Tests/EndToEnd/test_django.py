"""The chat of the Channels tutorial under Daphne, with Fanfare as its layer; the project is in `tutorial`."""
import contextlib
import http.client
import json
import pathlib
import sys

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from browsers import Tab
from programs import HOST, START_SECONDS, eventually, free_port

PROJECT = pathlib.Path(__file__).resolve().parent / "tutorial"
GROUP = "chat_lobby"


class Server:
    """A Daphne process."""

    def __init__(self, house, name):
        self.port = free_port()
        self.address = f"http://{HOST}:{self.port}/"
        arguments = ["-b", HOST, "-p", self.port, "mysite.asgi:application"]
        self.program = house.start(name, sys.executable, "-m", "daphne", *arguments)
        eventually(self.is_answering, f"{name} answers", START_SECONDS)

    def is_answering(self):
        assert self.program.is_running(), self.program.text()
        try:
            connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def connect(self, room):
        return connect(f"ws://{HOST}:{self.port}/ws/chat/{room}/", origin=self.address.rstrip("/"), proxy=None)


@pytest.fixture
def project(house):
    """Programs of this test find the Django project."""
    house.environment.update(PYTHONPATH=str(PROJECT), DJANGO_SETTINGS_MODULE="mysite.settings", PYTHONUNBUFFERED="1")
    return house


@pytest.fixture
def servers(project, broker):
    return [Server(project, f"daphne-{number}") for number in (1, 2)]


@pytest.fixture
def tabs(house, servers, browser):
    """Two tabs in the lobby, each on a process of its own."""
    tabs = [Tab(browser, is_first=True), Tab(browser)]
    for tab, server in zip(tabs, servers):
        tab.enter(server.address, "lobby")
        assert tab.worker_pid() == server.program.pid
    eventually(lambda: len(house.members(GROUP)) == 2, "the lobby has two members")
    return tabs


def send_from_terminal(house, text):
    house.cli("group-send", GROUP, json.dumps({"type": "chat.message", "message": text}))


def await_in_all(tabs, messages):
    for number, tab in enumerate(tabs, 1):
        eventually(lambda: tab.messages() == messages, f"tab {number} shows {messages}")


def test_tabs_on_two_daphne_processes_and_the_terminal_share_a_room(house, tabs):
    tabs[0].say("from the first")
    await_in_all(tabs, ["from the first"])
    tabs[1].say("<b>from</b> the second")
    await_in_all(tabs, ["from the first", "<b>from</b> the second"])
    send_from_terminal(house, "from the terminal")
    await_in_all(tabs, ["from the first", "<b>from</b> the second", "from the terminal"])

    tabs[1].close()
    eventually(lambda: len(house.members(GROUP)) == 1, "the closed tab's member is gone")


def test_a_worker_in_swift_and_a_django_process_share_a_room(house, broker, port, servers, browser):
    house.workers(1, port)
    swift, django = Tab(browser, is_first=True), Tab(browser)
    swift.enter(f"http://{HOST}:{port}/", "lobby")
    django.enter(servers[0].address, "lobby")
    eventually(lambda: len(house.members(GROUP)) == 2, "the lobby has two members")
    django.say("from Django")
    await_in_all([swift, django], ["from Django"])
    swift.say("from Swift")
    await_in_all([swift, django], ["from Django", "from Swift"])


def test_a_broker_that_is_killed_and_comes_back_closes_no_tab(house, broker, servers, tabs):
    tabs[0].say("before")
    await_in_all(tabs, ["before"])
    broker.kill()
    house.broker(name="broker-again")
    eventually(lambda: len(house.members(GROUP)) == 2, "both tabs are members again")

    # Nobody reloads: what was said before is still there, over the same sockets.
    assert [tab.attribute("state", "data-state") for tab in tabs] == ["connected", "connected"]
    tabs[0].say("after, from the first")
    await_in_all(tabs, ["before", "after, from the first"])
    tabs[1].say("after, from the second")
    await_in_all(tabs, ["before", "after, from the first", "after, from the second"])
    for server in servers:
        assert "Traceback" not in server.program.text()


def test_who_sends_while_there_is_no_broker_loses_the_socket_and_nobody_else_does(house, broker, servers):
    """The tutorial's consumer catches nothing: `BrokerUnavailable` ends it, as an error of Redis would."""
    with servers[0].connect("lobby") as sender, servers[0].connect("lobby") as listener:
        broker.kill()
        sender.send(json.dumps({"message": "to nobody"}))
        with pytest.raises(ConnectionClosedError):
            sender.recv(START_SECONDS)
        assert "BrokerUnavailable" in servers[0].program.text()
        house.broker(name="broker-again")
        eventually(lambda: house.members(GROUP), "who sent nothing is a member again")
        send_from_terminal(house, "welcome back")
        assert json.loads(listener.recv(START_SECONDS)) == {"message": "welcome back"}


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_daphne_process_that_ends_leaves_the_other_working(house, servers, tabs, end):
    first, second = tabs
    getattr(servers[0].program, end)()
    eventually(lambda: len(house.members(GROUP)) == 1, "its member is gone")
    eventually(lambda: first.attribute("state", "data-state") == "closed", "its tab's socket is closed")
    second.say("still here")
    await_in_all([second], ["still here"])
    assert second.attribute("state", "data-state") == "connected"


def test_runworker_and_plain_scripts_reach_sockets(project, servers):
    """What Celery tasks and management commands do: no event loop of their own, one call, and the process ends."""
    script = """
import django; django.setup()
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
layer = get_channel_layer()
async_to_sync(layer.group_send)("chat_lobby", {"type": "chat.message", "message": "with async_to_sync"})
layer.group_send_sync("chat_lobby", {"type": "chat.message", "message": "without"})
async_to_sync(layer.send)("shouts", {"type": "shout", "room": "lobby", "message": "by runworker"})
"""
    project.start("runworker", sys.executable, PROJECT / "manage.py", "runworker", "shouts")

    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(server.connect("lobby")) for server in servers]
        project.run(sys.executable, "-c", script)
        for socket in sockets:
            heard = [json.loads(socket.recv(START_SECONDS))["message"] for _ in range(3)]
            assert heard == ["with async_to_sync", "without", "BY RUNWORKER"]
