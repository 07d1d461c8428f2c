"""The real programs, each with its own log, ended by process id."""
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import wire

START_SECONDS = 30
STOP_SECONDS = 30
HOST = "127.0.0.1"
# Below those the kernel gives to outgoing connections, and none again before all others.
PORTS = itertools.cycle(range(20_000, 32_000))
for _ in range(os.getpid() % 12_000):
    next(PORTS)


def free_port():
    for port in PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


def eventually(check, what, seconds=30):
    """Calls `check` until it returns something true, and returns that. Says `what` was awaited and the last answer."""
    deadline = time.monotonic() + seconds
    while True:
        last = check()
        if last:
            return last
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last: {last!r}"
        time.sleep(0.05)


class Program:
    """One running process."""

    def __init__(self, name, command, log, environment, **options):
        self.name, self.command, self.log = name, [str(word) for word in command], log
        streams = {"stdin": subprocess.DEVNULL, "env": environment, **options}
        with open(log, "ab") as output:
            self.process = subprocess.Popen(self.command, stdout=output, stderr=output, **streams)

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process.poll() is None

    def text(self):
        return self.log.read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def terminate(self):
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)

    def resident_bytes(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"{self.name} has no resident memory: it is gone")


class House:
    """One test's folder with its broker, workers and CLI."""

    def __init__(self, binaries, folder):
        self.binaries, self.folder = binaries, folder
        self.socket = folder / "broker.sock"
        self.endpoint = f"unix:{self.socket}"
        self.programs = []
        self.environment = {
            key: value for key, value in os.environ.items()
            if not key.startswith("FANFARE_") and key not in ("XDG_RUNTIME_DIR", "http_proxy", "HTTP_PROXY")
        }
        self.environment["FANFARE_BROKER"] = self.endpoint

    def start(self, name, program, *arguments):
        started = Program(name, [self.binaries / program, *arguments], self.folder / f"{name}.log", self.environment)
        self.programs.append(started)
        return started

    def broker(self, *arguments, name="broker"):
        broker = self.start(name, "fanfare-broker", "--listen", self.endpoint, *arguments)
        eventually(lambda: self.is_answering(broker), "the broker answers", START_SECONDS)
        return broker

    def is_answering(self, broker):
        assert broker.is_running(), f"the broker ended with {broker.process.returncode}:\n{broker.text()}"
        try:
            with wire.Wire(self.socket, name="probe"):
                return True
        except OSError:
            return False

    def worker(self, name, port, is_ready=True, *arguments):
        worker = self.start(
            name, "fanfare-worker", "--name", name, "--broker", self.endpoint,
            "--listen", f"{HOST}:{port}", "--ops", f"{HOST}:{free_port()}", *arguments
        )
        worker.ops_port = int(worker.command[worker.command.index("--ops") + 1].rpartition(":")[2])
        wanted = 200 if is_ready else 503
        eventually(lambda: self.readiness(worker)[0] == wanted, f"{name} answers /readyz with {wanted}", START_SECONDS)
        return worker

    def workers(self, count, port):
        return [self.worker(f"worker-{number}", port) for number in range(1, count + 1)]

    def readiness(self, worker):
        """Status and text of /readyz; (None, reason) while nothing answers."""
        assert worker.is_running(), f"{worker.name} ended with {worker.process.returncode}:\n{worker.text()}"
        try:
            connection = http.client.HTTPConnection(HOST, worker.ops_port, timeout=10)
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError as failure:
            return None, str(failure)

    def run(self, program, *arguments, code=0, seconds=30, text=None):
        """Runs a program to its end, checks its exit code and returns the completed process."""
        command = [str(self.binaries / program), *map(str, arguments)]
        done = subprocess.run(command, input=text, env=self.environment, capture_output=True, text=True, timeout=seconds)
        assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def cli(self, *arguments, code=0, text=None):
        return self.run("fanfare", *arguments, code=code, text=text)

    def json(self, *arguments):
        return json.loads(self.cli(*arguments, "--json").stdout)

    def rows(self, *arguments):
        return self.json(*arguments)["rows"]

    def members(self, group):
        """The member channels of a group, as the CLI lists them; empty when there is no such group."""
        if not any(row["group"] == group for row in self.rows("groups", group)):
            return set()
        return {row["channel"] for row in self.rows("group", group, "--all")}

    def close(self):
        for program in reversed(self.programs):
            if program.is_running():
                program.process.send_signal(signal.SIGTERM)
        for program in reversed(self.programs):
            try:
                program.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                program.kill()

    def logs(self):
        return [(program.name, program.text()) for program in self.programs]
