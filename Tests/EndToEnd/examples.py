"""Running examples, and what tests say to them."""
import contextlib
import http.client
import json
import re
import urllib.parse

import pytest
from selenium.common.exceptions import WebDriverException
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from programs import START_SECONDS, eventually

SECONDS = 60


class Example:
    """One running example."""

    def __init__(self, house, name, topic, *arguments):
        self.program = house.start(
            name, "fanfare-examples", topic, "--listen", "127.0.0.1:0", "--broker", house.endpoint, "--name", name, *arguments
        )
        self.url = eventually(self.ready, f"{name} is ready", START_SECONDS)

    def ready(self):
        assert self.program.is_running(), f"{self.program.name} ended:\n{self.program.text()}"
        found = re.search(r"^fanfare-examples ready on (http://\S+)$", self.program.text(), re.MULTILINE)
        return found and found[1]

    def http(self, method, path, body=None, **headers):
        """Status and body, which is JSON unless it is text."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode()
        is_json = response.headers["content-type"] == "application/json"
        return response.status, json.loads(text) if is_json else text

    @contextlib.contextmanager
    def socket(self, path, **options):
        url = self.url.replace("http:", "ws:") + path
        with connect(url, open_timeout=SECONDS, close_timeout=SECONDS, compression=None, proxy=None, **options) as socket:
            yield Socket(socket)


class Socket:
    def __init__(self, socket):
        self.raw = socket

    def say(self, value):
        self.raw.send(value if isinstance(value, (str, bytes)) else json.dumps(value))

    def hear(self):
        return json.loads(self.raw.recv(SECONDS))

    def hear_text(self):
        return self.raw.recv(SECONDS)

    def hear_close(self):
        with pytest.raises(ConnectionClosed) as closed:
            self.raw.recv(SECONDS)
        return closed.value.rcvd.code


def refused(connecting):
    with pytest.raises(InvalidStatus) as refusal, connecting:
        pass
    return refusal.value.response.status_code


def look(browser, expression):
    """What a script finds in the page in one look, `None` while it goes to another page."""
    try:
        return browser.execute_script(f"return {expression}")
    except WebDriverException:
        return None
