"""Real brokers for the tests: each test has its own, in a folder short enough for a Unix socket."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

from fanfare_channels import FanfareChannelLayer

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
START_SECONDS = 30


def pytest_addoption(parser):
    parser.addoption("--soak-seconds", type=float, default=3.0, help="how long the soak runs")


@pytest.fixture(scope="session")
def binaries():
    """The folder of the built programs: `$FANFARE_BIN`, or where Swift says it builds."""
    named = os.environ.get("FANFARE_BIN")
    if not named:
        command = ["swift", "build", "--show-bin-path"]
        named = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
    folder = pathlib.Path(named)
    assert (folder / "fanfare-broker").exists(), f"{folder / 'fanfare-broker'} is not built"
    return folder


class Broker:
    """One broker at one address, which can be killed and started again."""

    def __init__(self, binaries, folder, *arguments):
        self.path = folder / "broker.sock"
        self.url = f"unix:{self.path}"
        self.log = folder / "broker.log"
        self._binaries = binaries
        self._arguments = arguments
        self.process = None

    def start(self, *arguments):
        command = [self._binaries / "fanfare-broker", "--listen", self.url, *self._arguments, *arguments]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FANFARE_")}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self.process.poll() is None, f"the broker ended:\n{self.log.read_text()}"
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self.path))
                return self
            except OSError:
                assert time.monotonic() < deadline, "the broker does not answer"
                time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


@pytest.fixture
def folder():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fanfare-py-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def broker(binaries, folder):
    broker = Broker(binaries, folder).start()
    yield broker
    broker.stop()


@pytest.fixture
def make_layer(broker):
    """Makes layers on the test's broker, and closes them."""
    made = []

    def make(kind=FanfareChannelLayer, **arguments):
        layer = kind(**{"url": broker.url, **arguments})
        made.append(layer)
        return layer

    yield make
    for layer in made:
        layer.close_sync()


@pytest.fixture
def layer(make_layer):
    return make_layer()
