"""Starting programs, waiting until they serve, and ending them by process id."""
import os
import pathlib
import signal
import socket
import subprocess
import time

HOST = "127.0.0.1"
START_SECONDS = 60
STOP_SECONDS = 30


class Failure(Exception):
    """The run cannot go on: what happened and what to do, with the exit code of sysexits.h."""

    def __init__(self, what, code=1):
        super().__init__(what)
        self.code = code


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def end_of(text, lines=20):
    return "".join(f"    {line}\n" for line in text.splitlines()[-lines:]).rstrip("\n")


class Program:
    """One process with those it starts itself, and its log."""

    def __init__(self, name, command, folder, environment=None, inherited=()):
        self.name = name
        self.log = pathlib.Path(folder) / f"{name}.log"
        with open(self.log, "wb") as output:
            # A session of its own: Ctrl-C reaches scripts/bench alone, which then stops the programs in order.
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=environment, pass_fds=inherited, start_new_session=True,
            )

    @property
    def pids(self):
        """Its process id and those of its descendants."""
        pids = [self.process.pid]
        for pid in pids:
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    pids += [int(child) for child in children.read_text().split()]
                except OSError:
                    pass  # A thread that has just ended has no children.
        return pids

    def wait_until(self, is_ready):
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            self.require_running()
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} did not serve within {START_SECONDS} s; its log:\n{self.end_of_log()}", 69)
            time.sleep(0.02)

    def require_running(self):
        code = self.process.poll()
        if code is not None:
            raise Failure(f"{self.name} ended with exit code {code}; its log:\n{self.end_of_log()}", 69)

    def wait_for_text(self, text):
        self.wait_until(lambda: text in self.log.read_text(errors="replace"))

    def wait_for_port(self, port):
        self.wait_until(lambda: can_connect(socket.AF_INET, (HOST, port)))

    def wait_for_socket(self, path):
        self.wait_until(lambda: can_connect(socket.AF_UNIX, str(path)))

    def wait_for_children(self, count):
        self.wait_until(lambda: len(self.pids) > count)

    def end_of_log(self):
        return end_of(self.log.read_text(errors="replace"))

    def stop(self):
        """SIGTERM, then SIGKILL; returns when it is gone."""
        children = self.pids[1:]
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        wait_for_end(children)


def can_connect(family, address):
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def wait_for_end(pids):
    """Waits for processes whose parent was asked to end them, and kills those it left behind."""
    deadline = time.monotonic() + STOP_SECONDS
    while left := [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.02)
