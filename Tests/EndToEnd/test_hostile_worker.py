"""Bytes nobody honest would send to a worker with the built-in chat: it and everybody else unharmed."""
import json
import random
import socket
import struct
import urllib.request

import pytest

import programs
from test_hostile import GROWTH_BYTES, read_all

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = {
    "Host": "Host: 127.0.0.1", "Upgrade": "Upgrade: websocket", "Connection": "Connection: Upgrade",
    "Version": "Sec-WebSocket-Version: 13", "Key": KEY,
}
MESSAGE_BYTES, FRAGMENTS = 1_048_576, 16_384      # The worker's defaults.


def handshake(path="/ws/chat/hostile/", *more, method="GET", version="HTTP/1.1", **changes):
    """The bytes of a handshake; a header named in `changes` is replaced, or left out with None."""
    lines = [f"{method} {path} {version}", *filter(None, (HANDSHAKE | changes).values()), *more]
    return "\r\n".join([*lines, "", ""]).encode()


def masked(first, payload=b"", length=None):
    """A client's frame with the mask 0; `length` is what it declares."""
    length = len(payload) if length is None else length
    if length < 126:
        head = struct.pack(">BB", first, 0x80 | length)
    elif length < 65536:
        head = struct.pack(">BBH", first, 0x80 | 126, length)
    else:
        head = struct.pack(">BBQ", first, 0x80 | 127, length)
    return head + bytes(4) + payload


def visit(port):
    link = socket.create_connection((programs.HOST, port), timeout=20)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def read_head(link):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = link.recv(1)
        assert byte, f"closed after {head!r}"
        head += byte
    return head.decode()


def enter(port):
    link = visit(port)
    link.sendall(handshake())
    assert read_head(link).startswith("HTTP/1.1 101 ")
    return link


def close_code(link):
    """The code of the close frame; frames before it are passed over. None when the connection just ends."""
    data = read_all(link)
    while data:
        length, start = data[1], 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start], "big")
        if data[0] == 0x88:
            assert not data[start + length:], "bytes after the close frame"
            return int.from_bytes(data[start:start + 2], "big") if length else 1005
        data = data[start + length:]
    return None


def state(worker):
    with urllib.request.urlopen(f"http://{programs.HOST}:{worker.ops_port}/healthz", timeout=20) as answer:
        return json.load(answer)


@pytest.fixture
def worker(house, broker, port):
    return house.worker("worker-1", port)


@pytest.fixture
def member(worker, port):
    """A socket of the same room that was there before, and must hear what is said after, and nothing else."""
    with enter(port) as link:
        yield link
        link.sendall(masked(0x81, b'{"message":"unharmed"}'))
        expected = b'\x81\x16{"message":"unharmed"}'
        heard = b""
        while len(heard) < len(expected):
            more = link.recv(len(expected) - len(heard))
            assert more, f"closed after {heard!r}"
            heard += more
        assert heard == expected
        assert worker.is_running()


BAD_HANDSHAKES = {
    "no Host": (handshake(Host=None), 400),
    "an empty Host": (handshake(Host="Host:"), 400),
    "two Hosts": (handshake("/ws/chat/hostile/", "Host: other"), 400),
    "version 8": (handshake(Version="Sec-WebSocket-Version: 8"), 426),
    "no version": (handshake(Version=None), 426),
    "two versions": (handshake("/ws/chat/hostile/", "Sec-WebSocket-Version: 13"), 426),
    "no key": (handshake(Key=None), 400),
    "two keys": (handshake("/ws/chat/hostile/", KEY), 400),
    "a short key": (handshake(Key="Sec-WebSocket-Key: c2hvcnQ="), 400),
    "no Connection: Upgrade": (handshake(Connection="Connection: close"), 400),
    "no upgrade": (handshake(Upgrade=None), 426),
    "HTTP/1.0": (handshake(version="HTTP/1.0"), 426),
    "POST": (handshake(method="POST"), 405),
    "a foreign origin": (handshake("/ws/chat/hostile/", "Origin: http://evil.example"), 403),
    "an opaque origin": (handshake("/ws/chat/hostile/", "Origin: null"), 403),
    "two origins": (handshake("/ws/chat/hostile/", "Origin: http://127.0.0.1", "Origin: http://127.0.0.1"), 403),
    "no such room": (handshake("/ws/chat/a%2Fb/"), 404),
    "a broken escape": (handshake("/ws/chat/%zz/"), 400),
    "no such address": (handshake("/ws/other/"), 404),
    "a page": (handshake("/"), 404),
    "headers of 20 KB": (handshake("/ws/chat/hostile/", "X: " + "x" * 20_000), 400),
    "120 headers": (handshake("/ws/chat/hostile/", *(f"X{n}: y" for n in range(120))), 400),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
}


@pytest.mark.parametrize("case", BAD_HANDSHAKES)
def test_a_bad_handshake_has_the_status_that_says_why(worker, port, member, case):
    data, status = BAD_HANDSHAKES[case]
    with visit(port) as link:
        link.sendall(data)
        head = read_head(link)
        assert head.startswith(f"HTTP/1.1 {status} "), head
        if "version" in case:
            assert "Sec-WebSocket-Version: 13\r\n" in head, head
        read_all(link)
    facts = state(worker)
    assert facts["responses"] == {str(status): 1}
    assert facts["sockets"] == 1 and facts["closes"] == {}


BAD_FRAMES = {
    "an unmasked frame": (b"\x81\x02hi", 1002),
    "reserved bit 1": (masked(0xc1, b"hi"), 1002),
    "reserved bit 2": (masked(0xa1, b"hi"), 1002),
    "reserved bit 3": (masked(0x91, b"hi"), 1002),
    "a reserved opcode": (masked(0x83, b"hi"), 1002),
    "a reserved control opcode": (masked(0x8b), 1002),
    "a ping of 126 bytes": (masked(0x89, b"x" * 126), 1002),
    "a close frame of 126 bytes": (masked(0x88, b"\x03\xe8" + b"x" * 124), 1002),
    "a fragmented ping": (masked(0x09), 1002),
    "a close frame of one byte": (masked(0x88, b"\x03"), 1002),
    "close code 1005": (masked(0x88, b"\x03\xed"), 1002),
    "a close reason that is not UTF-8": (masked(0x88, b"\x03\xe8\xff"), 1007),
    "a continuation of nothing": (masked(0x80, b"hi"), 1002),
    "a message inside another": (masked(0x01, b"a") + masked(0x81, b"b"), 1002),
    "text that is not UTF-8": (masked(0x81, b"\xff\xfe"), 1007),
    "text cut inside a character": (masked(0x01, b"\xe2\x82") + masked(0x80, b""), 1007),
    "half a surrogate pair": (masked(0x81, b"\xed\xa0\x80"), 1007),
    "bytes": (masked(0x82, b"hi"), 1003),
    "a declared length of 2 MiB": (masked(0x81, b"", length=2 * MESSAGE_BYTES), 1009),
    "a length with its highest bit set": (masked(0x81, b"", length=2**63), 1002),
    "fragments without end": (masked(0x01, b"x") + masked(0x00, b"x" * 100_000) * 12, 1009),
    "many tiny fragments": (masked(0x01, b"x") + masked(0x00, b"x") * (FRAGMENTS + 1), 1009),
    "many empty fragments": (masked(0x01) + masked(0x00) * (FRAGMENTS + 1), 1009),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_a_bad_frame_has_the_close_code_that_says_why(worker, port, member, case):
    data, code = BAD_FRAMES[case]
    with enter(port) as link:
        link.sendall(data)
        assert close_code(link) == code
    programs.eventually(lambda: state(worker)["sockets"] == 1, "the socket is gone")
    assert state(worker)["closes"] == {str(code): 1}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"message":7}', "[" * 100_000, '{"message":"\\ud800"}'])
def test_a_message_that_is_none_is_answered_and_the_socket_goes_on(worker, port, member, text):
    with enter(port) as link:
        link.sendall(masked(0x81, text.encode()))
        answer = link.recv(4096)
        assert answer[0] == 0x81 and b'"error"' in answer
        assert state(worker)["closes"] == {}


def test_a_handshake_that_never_ends_is_closed(house, broker, port):
    worker = house.worker("worker-1", port)
    with visit(port) as slow, visit(port) as silent:
        for byte in handshake()[:40]:
            slow.sendall(bytes([byte]))
        assert read_all(slow) == b"" and read_all(silent) == b""
    facts = state(worker)
    assert facts["handshakes_dropped"] == 2 and facts["handshakes"] == 0


def test_a_handshake_that_comes_byte_by_byte_is_understood(worker, port, member):
    with visit(port) as link:
        for byte in handshake():
            link.sendall(bytes([byte]))
        assert read_head(link).startswith("HTTP/1.1 101 ")


def test_clients_that_leave_at_any_byte_of_the_handshake_leave_nothing(worker, port, member):
    data = handshake()
    for end in range(0, len(data) + 1):
        with visit(port) as link:
            link.sendall(data[:end])
    programs.eventually(lambda: state(worker)["sockets"] == 1, "only the member is left")
    programs.eventually(lambda: state(worker)["handshakes"] == 0, "no handshake is left")


def test_random_bytes_instead_of_a_request_are_answered_or_closed(worker, port, member):
    for seed in range(100):
        noise = random.Random(seed).randbytes(2_000)
        with visit(port) as link:
            link.sendall(noise)
            link.shutdown(socket.SHUT_WR)
            answer = read_all(link)
            assert not answer or answer.startswith(b"HTTP/1.1 400 "), (seed, answer)
    programs.eventually(lambda: state(worker)["handshakes"] == 0, "no handshake is left")


def test_random_bytes_instead_of_frames_end_the_socket(worker, port, member):
    for seed in range(100):
        noise = random.Random(seed).randbytes(20_000)
        with enter(port) as link:
            link.sendall(noise)
            link.shutdown(socket.SHUT_WR)
            read_all(link)
    programs.eventually(lambda: state(worker)["sockets"] == 1, "only the member is left")


def test_clients_that_leave_at_any_byte_of_a_frame_leave_nothing(worker, port, member):
    data = masked(0x01, b"a" * 200) + masked(0x89, b"ping") + masked(0x80, b"b" * 70_000, length=70_000)
    for end in [*range(230), 1_000, len(data) - 1]:
        with enter(port) as link:
            link.sendall(data[:end])
    programs.eventually(lambda: state(worker)["sockets"] == 1, "only the member is left")
    assert set(state(worker)["closes"]) <= {"1006"}


SILENT = 5_000


def test_thousands_that_say_nothing_cost_little_and_are_closed(house, broker, port):
    """Half of them begin a request that never ends. Honest visitors are served meanwhile."""
    config = house.folder / "worker.yaml"
    config.write_text("sockets:\n  handshake_within_seconds: 20\n")
    worker = house.worker("worker-1", port, True, "--config", str(config))
    with enter(port) as honest:
        before = worker.resident_bytes()
        silent = []
        for number in range(SILENT):
            silent.append(visit(port))
            if number % 2:
                silent[-1].sendall(handshake()[:100])
        programs.eventually(lambda: state(worker)["handshakes"] == SILENT, "all are connected")
        assert worker.resident_bytes() - before < SILENT * 20_000
        with enter(port) as late:
            late.sendall(masked(0x81, b'{"message":"here"}'))
            for link in (honest, late):
                assert link.recv(100) == b'\x81\x12{"message":"here"}'
        programs.eventually(lambda: state(worker)["handshakes"] == 0, "all are closed", 60)
        assert state(worker)["handshakes_dropped"] == SILENT
        for link in silent:
            assert link.recv(1) == b""
            link.close()
        assert state(worker)["sockets"] == 1


def test_a_storm_of_connections_is_accepted_at_the_rate_and_nobody_is_refused(house, broker, port):
    config = house.folder / "worker.yaml"
    config.write_text("sockets:\n  accepts_per_second: 100\n")
    worker = house.worker("worker-1", port, True, "--config", str(config))
    links = [visit(port) for _ in range(200)]
    for link in links:
        link.sendall(handshake())
    for link in links:
        assert read_head(link).startswith("HTTP/1.1 101 ")
    facts = state(worker)
    assert facts["sockets"] == 200 and facts["accept_pauses"] > 0 and facts["handshakes_dropped"] == 0, facts
    for link in links:
        link.close()


def test_a_flood_of_tiny_frames_does_not_keep_others_waiting(worker, port, member):
    """A page is answered while a flood waits to be read, and no frame of the flood is lost. TurnTests has the order."""
    with enter(port) as flood, visit(port) as other:
        tiny = masked(0x8a) * 100_000       # Pongs nobody asked for: nothing is answered.
        flood.setblocking(False)
        sent = 0
        try:
            while sent < len(tiny):
                sent += flood.send(tiny[sent:])
        except BlockingIOError:
            pass
        other.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_head(other).startswith("HTTP/1.1 200 ")
        flood.setblocking(True)
        flood.sendall(tiny[sent:])
        flood.sendall(masked(0x88, b"\x03\xe8"))
        assert close_code(flood) == 1000


def test_abuse_of_the_worker_leaves_no_memory_behind(worker, port, member):
    def abuse():
        for data, code in BAD_FRAMES.values():
            if code == 1003:
                continue    # In order as WebSocket goes: its close frame wants an answer, for which the worker waits.
            with enter(port) as link:
                link.sendall(data)
                close_code(link)
        for data, _ in BAD_HANDSHAKES.values():
            with visit(port) as link:
                link.sendall(data)
                read_all(link)

    for _ in range(3):
        abuse()
    before = worker.resident_bytes()
    for _ in range(10):
        abuse()
    assert worker.resident_bytes() - before < GROWTH_BYTES
