"""What a service manager is to a program: a socket that hears notices, and sockets it hands over."""
import os
import socket
import sys

from programs import START_SECONDS, Program

# Puts the descriptors where the protocol wants them, in the process that becomes the program.
LAUNCHER = """
import os, sys
numbers = [int(number) for number in sys.argv[1].split(",") if number]
moved = [os.dup(number) for number in numbers]
for place, number in enumerate(moved, start=3):
    os.dup2(number, place)
    os.set_inheritable(place, True)
for number in {*moved, *numbers} - set(range(3, 3 + len(moved))):
    os.close(number)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(moved))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Managed(Program):
    """A program whose manager is this test."""

    def __init__(self, name, command, log, environment, notify, sockets=()):
        self.numbers = [str(given.fileno()) for given in sockets]
        for given in sockets:
            given.set_inheritable(True)
        launcher = [sys.executable, "-c", LAUNCHER, ",".join(self.numbers)]
        super().__init__(name, [*launcher, *command], log, {**environment, "NOTIFY_SOCKET": notify}, close_fds=False)
        for given in sockets:
            given.set_inheritable(False)


class Manager:
    """Hears what programs say of themselves."""

    def __init__(self, house, is_abstract=True):
        self.house = house
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ear.settimeout(START_SECONDS)
        address = f"\0fanfare-test-{os.getpid()}-{id(self)}" if is_abstract else str(house.folder / "notify")
        self.ear.bind(address)
        self.address = address.replace("\0", "@")

    def start(self, name, command, sockets=(), **environment):
        log = self.house.folder / f"{name}.log"
        environment = {**self.house.environment, **environment}
        program = Managed(name, command, log, environment, self.address, sockets)
        self.house.programs.append(program)
        return program

    def hear(self):
        """The next notice, as a dictionary."""
        return dict(line.split("=", 1) for line in self.ear.recv(4096).decode().splitlines())

    def hear_until(self, name):
        """The notices up to the first with `name`, which is the last of them."""
        heard = [self.hear()]
        while name not in heard[-1]:
            heard.append(self.hear())
        return heard
