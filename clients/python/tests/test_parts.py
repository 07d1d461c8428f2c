"""The parts without sockets: patterns, endpoints, policy, serializers, the guard, the clock, hostile frames."""

import fnmatch
import pathlib
import random
import re
import struct

import msgpack
import pytest

from fanfare_channels import body, guard, patterns
from fanfare_channels import protocol as p
from fanfare_channels.clock import Backoff, LinkAge
from fanfare_channels.endpoints import Endpoint, default_path, endpoints
from fanfare_channels.exceptions import Undecodable
from fanfare_channels.policy import Rules, policy
from fanfare_channels.serializers import BaseMessageSerializer, SerializerDoesNotExist, SerializersRegistry, registry

NAMES = [
    "http.request", "http.response", "http.response.x", "ws.request", "httpXrequest", "chat_1", "chat_22", "chat_x",
    "specific.abc!1", "specific.abc!22", "specific.x-y!z", "a", "aa", "ab", "b", "request", "x.request",
]  # fmt: skip


@pytest.mark.parametrize(
    "expression",
    [
        "http", "^http", r"http\.request$", r"http\.re.*", ".*request$", r"^(http|ws)\.request", r"chat_\d$",
        r"chat_\d",
        "chat_[0-9x]$", "chat_[^x]$", "a.$", r"^specific\..*!.$", r"^specific\..+!.+$", "(?:a|b)",
        fnmatch.translate("http.*"), fnmatch.translate("chat_?"), r"a\Z", "a|b$", "(?P<name>a|chat)",
    ],
)  # fmt: skip
def test_a_compiled_pattern_becomes_globs_that_match_the_same_names(expression):
    pattern = re.compile(expression)
    globs = patterns.globs(pattern)
    for name in NAMES:
        assert any(patterns.matches(glob, name) for glob in globs) == bool(pattern.match(name)), (name, globs)


@pytest.mark.parametrize(
    "expression",
    ["a+", "a*", "a{2}", "(ab)+", r"\bx", r"\s", "(?=a)", "(?!a)", "a$b", "[a-z]+", r"(a)\1", "a?", ".{3}", "("],
)
def test_a_pattern_globs_cannot_express_is_refused_and_shown(expression):
    try:
        pattern = re.compile(expression)
    except re.error:
        return
    with pytest.raises(ValueError, match=re.escape(repr(expression))):
        patterns.globs(pattern)


def test_flags_and_too_many_alternatives_are_refused():
    with pytest.raises(ValueError):
        patterns.globs(re.compile("a", re.IGNORECASE))
    with pytest.raises(ValueError):
        patterns.globs(re.compile("(a|b)" * 7))


def test_the_default_policy_is_the_protocols():
    asked = policy(
        expiry=60, group_expiry=None, capacity=100, channel_capacity=None, capacity_scope="channel", overflow=None
    )
    assert asked == {
        "capacity": 100,
        "capacity_scope": "channel",
        "expiry_milliseconds": 60_000,
        "group_expiry_milliseconds": 86_400_000,
        "group_expiry_literal": False,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"capacity": 0}, {"capacity": True}, {"capacity": "5"}, {"capacity": 10**7}, {"expiry": -1}, {"expiry": None},
        {"expiry": float("nan")}, {"group_expiry": -1}, {"channel_capacity": {"a": 0}}, {"channel_capacity": {"": 1}},
        {"channel_capacity": {str(n): 1 for n in range(65)}}, {"capacity_scope": "host"},
        {"overflow": {"*": "explode"}},
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_is_refused(change):
    good = {
        "expiry": 60, "group_expiry": None, "capacity": 100, "channel_capacity": None, "capacity_scope": "channel",
        "overflow": None,
    }  # fmt: skip
    with pytest.raises(ValueError):
        policy(**{**good, **change})


def test_the_first_pattern_that_matches_counts():
    rules = Rules({"capacity": 9, "channel_capacity": [["a*", 1], ["ab", 2]], "overflow": [["b*", "drop_oldest"]]})
    assert [rules.capacity(name) for name in ("ab", "a", "b")] == [1, 1, 9]
    assert [rules.overflow(name) for name in ("ab", "b1")] == ["reject", "drop_oldest"]


@pytest.mark.parametrize(
    "host, expected",
    [
        ("unix:/run/x.sock", "unix:/run/x.sock"), ("unix:///run/x.sock", "unix:/run/x.sock"),
        ("/run/x.sock", "unix:/run/x.sock"), ("tcp://a:1", "tcp://a:1"), ("tcp://[::1]:7", "tcp://[::1]:7"),
        ("tls://a:1", "tls://a:1"), ("tls://[::1]", "tls://[::1]:7411"),
        ("tcp://a", "tcp://a:7411"), (("a", 5), "tcp://a:5"), (["a", "5"], "tcp://a:5"), ({"host": "a"}, "tcp://a:7411"),
        ({"address": "unix:/x"}, "unix:/x"), ({"path": "/x"}, "unix:/x"), ({"host": "a", "port": 9}, "tcp://a:9"),
        (pathlib.Path("/x/y.sock"), "unix:/x/y.sock"), ({"address": pathlib.Path("/x")}, "unix:/x"),
    ],
)  # fmt: skip
def test_hosts_as_people_write_them(host, expected):
    assert str(endpoints([host], None)[0]) == expected


@pytest.mark.parametrize(
    "host",
    [
        "redis://a", "rediss://a", "tls:a:1", "tls://", "a:1", "tcp://:1", "tcp://a:0", "tcp://a:x", 5, (), {},
        {"sentinels": []},
    ],
)  # fmt: skip
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(ValueError):
        endpoints([host], None)


def test_where_a_broker_is_when_nothing_is_said(monkeypatch):
    monkeypatch.setenv("FANFARE_BROKER", "unix:/named")
    assert endpoints(None, None) == [Endpoint("/named")]
    monkeypatch.delenv("FANFARE_BROKER")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/5")
    assert default_path() == "/run/user/5/fanfare/broker.sock"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_path() == "/run/fanfare/broker.sock"
    monkeypatch.setattr("os.geteuid", lambda: 7)
    assert default_path() == "/tmp/fanfare-7/broker.sock"
    for arguments in (("unix:/x", None), ([], None), (["unix:/x"], "unix:/x")):
        with pytest.raises(ValueError):
            endpoints(*arguments)


def test_serializers_are_registered_by_name():
    class Own(BaseMessageSerializer):
        def as_bytes(self, message):
            return repr(message).encode()

        def from_bytes(self, message):
            return eval(message)

    own = SerializersRegistry()
    own.register_serializer("own", Own)
    assert own.get_serializer("own", random_prefix_length=4).deserialize(b"1234{'a': 1}") == {"a": 1}
    with pytest.raises(SerializerDoesNotExist):
        own.get_serializer("json")
    with pytest.raises(AssertionError):
        own.register_serializer("bad", object())
    assert registry.names() == ["json", "msgpack"]


def random_value(source, depth):
    kinds = ["int", "str", "bytes", "float", "none", "bool"] + (["list", "map"] * 2 if depth else [])
    kind = source.choice(kinds)
    if kind == "int":
        return source.choice([0, 1, -1, 127, 128, -32, -33, 2**31, 2**63 - 1, -(2**63), source.getrandbits(40)])
    if kind == "str":
        return "ä" * source.choice([0, 1, 15, 16, 31, 32, 255, 256, 3_000])
    if kind == "bytes":
        return b"\xc1" * source.choice([0, 1, 255, 256, 70_000])
    if kind == "list":
        return [random_value(source, depth - 1) for _ in range(source.choice([0, 1, 15, 16, 40]))]
    if kind == "map":
        return {str(n): random_value(source, depth - 1) for n in range(source.choice([0, 1, 15, 16, 40]))}
    return {"float": source.random(), "none": None, "bool": source.random() < 0.5}[kind]


@pytest.mark.parametrize("seed", range(40))
def test_messages_of_any_shape_come_back_and_the_guard_takes_them(seed):
    source = random.Random(seed)
    message = {str(n): random_value(source, 3) for n in range(5)}
    data = body.encode(message)
    guard.scan(data)
    assert body.decode(data) == message
    for cut in sorted(source.sample(range(len(data)), min(50, len(data)))):
        with pytest.raises(ValueError):
            guard.scan(data[:cut])
        with pytest.raises(Undecodable):
            body.decode(data[:cut])
    with pytest.raises(Undecodable):
        body.decode(data + b"\xc0")


@pytest.mark.parametrize("seed", range(200))
def test_no_bytes_make_a_body_raise_anything_but_undecodable(seed):
    source = random.Random(seed)
    for _ in range(100):
        likely = [0x80, 0x81, 0x91, 0xA1, 0xC1, 0xC7, 0xDD, 0xDF, 0xFF, source.getrandbits(8)]
        data = bytes(source.choice(likely) for _ in range(source.randrange(40)))
        for piece in (data, data + bytes(5_000)):
            try:
                assert isinstance(body.decode(piece), dict)
            except Undecodable:
                pass


@pytest.mark.parametrize("seed", range(100))
def test_no_bytes_make_the_reader_of_frames_raise(seed):
    source = random.Random(seed)
    operations = [2, 5, 64, 70, 71, 72, 80, 81, 82, 90, 91, 92, 93, 100, 7, 300]
    reader = p.FrameReader(p.FRAME_BYTES)
    for _ in range(100):
        fields = [source.choice(operations), *(random_value(source, 1) for _ in range(source.randrange(7)))]
        for frame in reader.feed(p.frame(fields)):
            assert frame[0] in operations
    assert reader.failure is None
    reader.feed(struct.pack(">I", 40) + bytes(source.getrandbits(8) for _ in range(40)))


def test_five_bytes_that_declare_gigabytes_cost_nothing():
    nested = b"\xdd\x00\x10\x00\x00" * 400_000
    with pytest.raises(Undecodable):
        body.decode(nested)
    reader = p.FrameReader(p.FRAME_BYTES)
    reader.feed(struct.pack(">I", len(nested)) + nested)
    assert reader.failure.code == p.MALFORMED_FRAME


def test_extensions_and_timestamps_are_no_values():
    for value in (msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2)):
        with pytest.raises(TypeError):
            body.encode({"a": value})
        with pytest.raises(Undecodable):
            body.decode(msgpack.packb({"a": value}))


def test_subclasses_of_what_may_be_sent_may_be_sent():
    class Text(str):
        pass

    class Number(int):
        pass

    class Map(dict):
        pass

    message = {Text("a"): Text("b"), "n": Number(5), "m": Map(x=1), "view": memoryview(b"v"), "array": bytearray(b"a")}
    assert body.decode(body.encode(message)) == {"a": "b", "n": 5, "m": {"x": 1}, "view": b"v", "array": b"a"}


def test_time_on_the_link_is_what_is_more_than_the_least_ever_seen():
    age = LinkAge()
    age.hear(1_000, 50.0)
    assert age.seconds(50.0) == 0
    age.hear(2_000, 53.0)
    assert age.seconds(53.0) == pytest.approx(2.0, abs=0.001)
    age.hear(3_000, 51.999)
    assert age.seconds(51.999) == 0
    age.hear(4_000, 53.0)
    assert age.seconds(53.0) == pytest.approx(0.001, abs=0.001)


def test_what_no_new_clock_came_ahead_of_has_waited_since_50_ms_after_the_last_one():
    age = LinkAge()
    assert age.seconds(10.0) == 0, "no clock was told"
    age.hear(500, 10.0)
    assert age.seconds(10.05) == pytest.approx(0), "it may have been written just now"
    assert age.seconds(10.06) == pytest.approx(0.01)
    assert age.seconds(13.0) == pytest.approx(2.95)
    age.hear(3_400, 13.0)
    assert age.seconds(13.0) == pytest.approx(0.1, abs=0.001)
    assert age.seconds(13.06) == pytest.approx(0.11, abs=0.001)


def test_backoff_doubles_up_to_its_most_and_is_jittered():
    backoff = Backoff(0.4)
    assert 0 <= backoff.next() <= 0.05
    for most in (0.05, 0.1, 0.2, 0.4, 0.4, 0.4):
        assert most / 2 <= backoff.next() <= most
    backoff = Backoff(0.4)
    backoff.longest()
    assert all(0.2 <= backoff.next() <= 0.4 for _ in range(3))
