"""Bytes nobody honest would send to a broker: a documented answer, and it and everybody else unharmed."""
import struct

import msgpack
import pytest

import wire

FRAME_TOO_LARGE, MALFORMED, HELLO_EXPECTED, HELLO_REPEATED, UNSUPPORTED, BAD_HELLO = 1, 2, 3, 4, 5, 6
UNKNOWN_OPERATION, BAD_REQUEST, BAD_NAME, NOT_OWNER = 10, 11, 12, 22
GROWTH_BYTES = 16 * 1024 * 1024     # What repeated abuse may add for good: allocator slack, never the sizes declared.
ROUNDS = 50


def framed(payload):
    return struct.pack(">I", len(payload)) + payload


FATAL = {
    "a length of 4 GiB": (b"\xff\xff\xff\xff", FRAME_TOO_LARGE),
    "a length of nothing": (b"\x00\x00\x00\x00", FRAME_TOO_LARGE),
    "a list of 4 Gi elements": (framed(b"\xdd\xff\xff\xff\xff"), MALFORMED),
    "a map of 4 Gi entries": (framed(b"\x92\x0a\xdf\xff\xff\xff\xff"), MALFORMED),
    "a text of 4 GiB": (framed(b"\x92\x0a\xdb\xff\xff\xff\xff"), MALFORMED),
    "binary of 4 GiB": (framed(b"\x92\x0a\xc6\xff\xff\xff\xff"), MALFORMED),
    "lists nested 1000 deep": (framed(b"\x91" * 1000 + b"\xc0"), MALFORMED),
    "a byte after the value": (framed(msgpack.packb([wire.PING, 1]) + b"\xc0"), MALFORMED),
    "text that is not UTF-8": (framed(b"\x92\x0a\xa2\xff\xfe"), MALFORMED),
    "an extension": (framed(msgpack.packb([wire.PING, msgpack.ExtType(1, b"x")])), MALFORMED),
    "the unused byte c1": (framed(b"\x92\x02\xc1"), MALFORMED),
    "a value that is no list": (framed(msgpack.packb({"a": 1})), MALFORMED),
}
WRONG = {
    "an unknown operation": (wire.frame(63, 7), UNKNOWN_OPERATION),
    "a second hello": (wire.hello(), HELLO_REPEATED),
    "a channel that is a number": (wire.frame(wire.SEND, 7, 42, b"\x80"), BAD_REQUEST),
    "a body that is text": (wire.frame(wire.SEND, 7, "news", "text"), BAD_REQUEST),
    "a missing field": (wire.frame(wire.SEND, 7), BAD_REQUEST),
    "options that are a list": (wire.frame(wire.SEND, 7, "news", b"\x80", [1]), BAD_REQUEST),
    "a receive of 0 messages": (wire.frame(wire.RECEIVE, 7, "news", 0), BAD_REQUEST),
    "members that are no list": (wire.frame(wire.GROUP_ADD, 7, "group", "news"), BAD_REQUEST),
    "a name with a space": (wire.frame(wire.SEND, 7, "two words", b"\x80"), BAD_NAME),
    "a name of 100 bytes": (wire.frame(wire.SEND, 7, "x" * 100, b"\x80"), BAD_NAME),
    "somebody else's channel": (wire.frame(wire.RECEIVE, 7, "somebody!1", 1), NOT_OWNER),
    "an unknown subject": (wire.frame(wire.INSPECT, 7, "weather", {}), BAD_REQUEST),
}
BAD_FIRST_FRAMES = {
    "another operation": (wire.frame(wire.PING, 1), HELLO_EXPECTED),
    "another protocol": (wire.hello(protocol=99), UNSUPPORTED),
    "a name that is a number": (wire.hello(name=7), BAD_HELLO),
    "an unknown role": (wire.hello(role="emperor"), BAD_HELLO),
    "a long attribute": (wire.hello(attributes={"host": "x" * 300}), BAD_HELLO),
    "more than 4096 bytes": (wire.hello(name="x" * 5000), FRAME_TOO_LARGE),
}


@pytest.fixture
def bystander(house, broker):
    """An honest client that was there before, and must still be served after."""
    with wire.Wire(house.socket, name="bystander") as honest:
        yield honest
        honest.send("honest", {"n": 1})
        assert honest.receive("honest") == {"n": 1}
        assert honest.status()["pid"] == broker.pid


def read_all(link):
    received = b""
    while more := link.recv(65536):
        received += more
    return received


def frames(data):
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        yield msgpack.unpackb(data[4:end])
        data = data[end:]


@pytest.mark.parametrize("case", FATAL)
def test_a_stream_that_cannot_be_trusted_is_answered_and_closed(house, bystander, case):
    data, code = FATAL[case]
    with wire.Wire(house.socket) as client:
        client.link.sendall(data)
        error = client.read()
        assert (error[0], error[1], error[2], error[4]) == (wire.ERROR, None, code, False), error
        assert client.read() == b""


@pytest.mark.parametrize("case", BAD_FIRST_FRAMES)
def test_a_bad_first_frame_is_answered_and_closed(house, bystander, case):
    data, code = BAD_FIRST_FRAMES[case]
    with wire.dial(house.socket) as link:
        link.sendall(data)
        [error] = frames(read_all(link))
        assert (error[0], error[2]) == (wire.ERROR, code), error


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_answered_and_the_connection_goes_on(house, bystander, case):
    data, code = WRONG[case]
    with wire.Wire(house.socket) as client:
        client.link.sendall(data)
        error = client.read()
        assert (error[0], error[2]) == (wire.ERROR, code), error
        assert error[1] in {HELLO_REPEATED: [None], UNKNOWN_OPERATION: [None, 7]}.get(code, [7]), error
        assert client.ask(wire.PING) is None


def test_silence_instead_of_a_hello_is_closed(house, broker):
    """Also when everybody else has left before: the watch over silence goes on."""
    with wire.dial(house.socket) as link:
        [error] = frames(read_all(link))
        assert error[:3] == [wire.ERROR, None, HELLO_EXPECTED], error


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH", "CONNECT"])
def test_http_is_told_what_this_port_is(house, bystander, method):
    with wire.dial(house.socket) as link:
        link.sendall(f"{method} / HTTP/1.1\r\nHost: broker\r\n\r\n".encode())
        head, _, body = read_all(link).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert len(body.decode().strip().splitlines()) == 1 and b"anfare" in body


def test_a_frame_that_comes_byte_by_byte_is_understood(house, bystander):
    with wire.dial(house.socket) as link:
        for byte in wire.hello():
            link.sendall(bytes([byte]))
        length = int.from_bytes(link.recv(4), "big")
        assert msgpack.unpackb(link.recv(length))[0] == wire.WELCOME


def test_abuse_leaves_no_memory_behind(house, broker, bystander):
    def abuse():
        for data, _ in FATAL.values():
            with wire.Wire(house.socket) as client:
                client.link.sendall(data)
                while client.read():
                    pass

    abuse()
    before = broker.resident_bytes()
    for _ in range(ROUNDS):
        abuse()
    assert broker.resident_bytes() - before < GROWTH_BYTES


def test_declared_bytes_that_never_come_cost_nothing(house, broker, bystander):
    before = broker.resident_bytes()
    clients = [wire.Wire(house.socket) for _ in range(ROUNDS * 2)]
    for client in clients:
        client.link.sendall(struct.pack(">I", client.welcome["limits"]["frame_bytes"]) + b"\x93\x0a\xc0")
    bystander.ask(wire.PING)
    assert broker.resident_bytes() - before < GROWTH_BYTES
    for client in clients:
        client.link.close()
