"""A small blocking client of the Fanfare protocol, written from proto/PROTOCOL.md alone."""
import itertools
import socket
import struct

import msgpack

HELLO, PING, PONG, GOODBYE, CLOCK = 1, 2, 3, 4, 5
SEND, RECEIVE, REPORT, OPEN_CHANNELS, GROUP_ADD, GROUP_DISCARD, GROUP_SEND = 10, 11, 14, 15, 20, 21, 22
FLUSH, INSPECT, TAIL = 30, 31, 32
WELCOME, ACK, ERROR, RESULT, DELIVER, HAND_OUT, GAP, GROUP_DELIVER = 64, 70, 71, 72, 80, 81, 82, 90
GOAWAY = 100
CHANNEL_FULL = 20
BAD_HELLO, UNAUTHORIZED, FORBIDDEN, NODE_TAKEN = 6, 7, 8, 9
NOT_FOUND, LIMIT_REACHED, KICKED = 23, 24, 33
FULL, LINK_OVERFLOW = 1, 5


class Refused(Exception):
    """An ERROR frame."""

    def __init__(self, fields):
        self.id, self.code, self.text, self.retry = fields[1:5]
        super().__init__(f"error {self.code}: {self.text}")


def dial(path, timeout=20):
    """Connects to the Unix socket at `path`, or takes a socket that is connected already."""
    if isinstance(path, socket.socket):
        path.settimeout(timeout)
        return path
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(timeout)
    link.connect(str(path))
    return link


def frame(*fields):
    payload = msgpack.packb(list(fields))
    return struct.pack(">I", len(payload)) + payload


def hello(**changes):
    keys = {"protocol": 1, "client": "end-to-end/1", "name": "end-to-end", "role": "admin"}
    return frame(HELLO, keys | changes)


class Wire:
    """One session. Frames that answer no request of `ask` wait in `pushed`."""

    def __init__(self, path, **changes):
        self.link = dial(path)
        self.buffer = b""
        self.ids = itertools.count(1)
        self.pushed = []
        self.link.sendall(hello(**changes))
        first = self.read()
        if first[0] == ERROR:
            raise Refused(first)
        assert first[0] == WELCOME, first
        self.welcome = first[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.link.close()

    def write(self, *fields):
        self.link.sendall(frame(*fields))

    def read(self):
        """The next frame; b"" when the broker has closed."""
        while len(self.buffer) < 4 or len(self.buffer) < 4 + int.from_bytes(self.buffer[:4], "big"):
            more = self.link.recv(65536)
            if not more:
                return b""
            self.buffer += more
        end = 4 + int.from_bytes(self.buffer[:4], "big")
        payload, self.buffer = self.buffer[4:end], self.buffer[end:]
        return msgpack.unpackb(payload)

    def ask(self, operation, *fields):
        """Sends a request with an id and returns its RESULT, or None for its ACK."""
        number = next(self.ids)
        self.write(operation, number, *fields)
        while True:
            answer = self.read()
            assert answer, "the broker closed the connection instead of answering"
            if answer[0] == PING:
                self.pong(answer[1])
            elif answer[0] == ACK and number in answer[1:]:
                return None
            elif answer[0] in (RESULT, PONG) and answer[1] == number:
                return answer[2] if answer[0] == RESULT else None
            elif answer[0] == ERROR and answer[1] in (number, None):
                raise Refused(answer)
            else:
                self.pushed.append(answer)

    def next_push(self, operation):
        """The next frame of that operation; others before it are dropped."""
        while True:
            answer = self.pushed.pop(0) if self.pushed else self.read()
            assert answer, "the broker closed the connection"
            if answer[0] == PING:
                self.pong(answer[1])
            elif answer[0] == operation:
                return answer

    def pong(self, number):
        try:
            self.write(PONG, number)
        except BrokenPipeError:
            pass  # The broker has gone; what it said before is still to be read.

    def send(self, channel, message):
        return self.ask(SEND, channel, msgpack.packb(message))

    def flood(self, channel, messages):
        """Sends them one after the other; how many were refused because the channel was full."""
        refused = 0
        for message in messages:
            try:
                self.send(channel, message)
            except Refused as refusal:
                assert refusal.code == CHANNEL_FULL, refusal
                refused += 1
        return refused

    def receive(self, channel):
        number = next(self.ids)
        self.write(RECEIVE, number, channel)
        return msgpack.unpackb(self.next_push(HAND_OUT)[2])

    def status(self):
        return self.ask(INSPECT, "status", {})


class Resumable(Wire):
    """A session that outlives its connection (section 8.2): counts what it reads and keeps what it writes."""

    def __init__(self, path, **changes):
        self.changes = changes | {"capabilities": ["resume"]}
        self.kept, self.received = [], 0
        super().__init__(path, **self.changes)

    def write(self, *fields):
        if fields[0] != PONG:
            self.kept.append(frame(*fields))
        try:
            self.link.sendall(frame(*fields))
        except OSError:
            pass  # It is repeated on the next connection.

    def read(self):
        answer = super().read()
        if answer and answer[0] not in (WELCOME, PING, CLOCK, GOAWAY):
            self.received += len(answer) - 1 if answer[0] == ACK else 1
        return answer

    def resume(self, path):
        """Connects again. Whether the session goes on; a new one begins otherwise."""
        self.link.close()
        self.link, self.buffer, self.pushed = dial(path), b"", []
        token = self.welcome["resume_token"]
        self.link.sendall(hello(**self.changes, resume=token, received=self.received))
        first = self.read()
        assert first[0] == WELCOME, first
        self.welcome = first[1]
        if not self.welcome.get("resumed"):
            self.kept, self.received = [], 0
            return False
        for one in self.kept[self.welcome["requests"]:]:
            self.link.sendall(one)
        return True
