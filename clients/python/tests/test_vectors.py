"""The golden vectors, which the Swift side is held to as well."""

import math
import struct

import pytest
import vectors

from fanfare_channels import body, guard, requests
from fanfare_channels import protocol as p
from fanfare_channels.exceptions import Undecodable

ALL = ("opening.txt", "requests.txt", "replies.txt", "invalid-frames.txt", "invalid-fields.txt")


def bits(value):
    """A value that compares equal only to itself: NaN with NaN, 0.0 not with -0.0, 1 not with True."""
    if isinstance(value, float):
        return ("nan",) if math.isnan(value) else ("double", struct.pack(">d", value))
    if isinstance(value, list):
        return [bits(item) for item in value]
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    return (type(value).__name__, value)


def write(meaning):
    """The frame of a request's meaning, through the functions the client writes with."""
    operation, id = meaning["operation"], meaning.get("id")
    options = meaning.get("options", {})
    if operation == "HELLO":
        keys = {key: meaning.get(key) for key in ("client", "name", "role", "namespace", "policy")}
        for key in ("node", "attributes", "token", "capabilities", "resume", "received"):
            if key in meaning:
                keys[key] = meaning[key]
        return requests.hello(**keys)
    if operation == "PING":
        return requests.ping(id)
    if operation == "PONG":
        return requests.pong(id)
    if operation == "GOODBYE":
        return requests.goodbye()
    if operation == "SEND":
        return requests.send(id, meaning["channel"], meaning["body"], **options)
    if operation == "RECEIVE":
        return requests.receive(id, meaning["channel"], meaning.get("count", 1))
    if operation == "CANCEL":
        return requests.cancel(id, meaning["target"])
    if operation == "GIVE_BACK":
        fields = (meaning[key] for key in ("channel", "body", "order", "deadline"))
        return requests.give_back(id, *fields, **options)
    if operation == "REPORT":
        return requests.report(meaning["received"], meaning["taken"], meaning["dropped"])
    if operation == "OPEN_CHANNELS":
        return requests.open_channels(id, meaning["channels"])
    if operation == "CLOSE_CHANNELS":
        return requests.close_channels(id, meaning["channels"])
    if operation == "GROUP_ADD":
        return requests.group_add(id, meaning["group"], meaning["channels"], options.get("group_expiry_milliseconds"))
    if operation == "GROUP_DISCARD":
        return requests.group_discard(id, meaning["group"], meaning["channels"])
    if operation == "GROUP_SEND":
        return requests.group_send(id, meaning["group"], meaning["body"], **options)
    if operation == "OUTCOME":
        return requests.outcome(meaning["token"], meaning["accepted"], meaning["dropped"])
    if operation == "FLUSH":
        return requests.flush(id)
    if operation == "INSPECT":
        return requests.inspect(id, meaning["subject"], meaning["query"])
    return None


# What this client never writes.
NOT_WRITTEN = {"TAIL", "ADMIN"}


def is_written(vector):
    return vector.get("canonical") != "no" and vector["json"]["operation"] not in NOT_WRITTEN


@pytest.mark.parametrize("vector", vectors.of_kind("request", "opening.txt", "requests.txt", where=is_written))
def test_a_request_is_written_as_its_vector(vector):
    assert write(vector["json"]).hex() == vector["hex"].hex()


def read_reply(fields):
    """The meaning of a decoded reply."""
    names = {
        p.WELCOME: (),
        p.ERROR: ("id", "code", "text", "retry"),
        p.RESULT: ("id", "value"),
        p.DELIVER: ("channel", "body", "remaining"),
        p.HAND_OUT: ("id", "body", "order", "deadline", "remaining"),
        p.GAP: ("name", "count", "reason"),
        p.GROUP_DELIVER: ("group", "body", "remaining"),
        p.MEMBERS: ("group", "added", "removed"),
        p.FLUSHED: ("token",),
        p.TAILED: ("id", "kind", "name", "namespace", "body", "skipped"),
        p.GOAWAY: ("within", "reason"),
        p.PING: ("id",),
        p.PONG: ("id",),
        p.CLOCK: ("milliseconds",),
    }
    operation = {number: name for name, number in vectors.OPERATIONS.items()}[fields[0]]
    if fields[0] == p.ACK:
        return {"operation": operation, "ids": fields[1:]}
    if fields[0] == p.WELCOME:
        return {"operation": operation, **fields[1]}
    meaning = {"operation": operation}
    for name, value in zip(names[fields[0]], fields[1:]):
        if value is not None or name == "value":
            meaning[name] = value
    extra = fields[1 + len(names[fields[0]]) :]
    known = {"closed", "exclude", "outcome", "drain", "trace"}
    options = {key: value for key, value in (extra[0] if extra else {}).items() if key in known}
    if options:
        meaning["options"] = options
    return meaning


@pytest.mark.parametrize("vector", vectors.of_kind("reply", "opening.txt", "replies.txt"))
@pytest.mark.parametrize("piece", [1, 3, 1_000_000])
def test_a_reply_is_read_as_what_it_means_whatever_the_pieces(vector, piece):
    reader = p.FrameReader(int(vector.get("limit", p.FRAME_BYTES)))
    frames = []
    for start in range(0, len(vector["hex"]), piece):
        frames += reader.feed(vector["hex"][start : start + piece])
    assert reader.failure is None
    [fields] = frames
    found = read_reply(fields)
    if found["operation"] == "WELCOME":
        # Keys of later brokers are skipped by who reads the welcome, not by the reader of frames; so is a refusal to
        # resume that was spelled out.
        found = {key: found[key] for key in vector["json"]}
        found["policy"] = {key: found["policy"][key] for key in vector["json"]["policy"]}
        found["limits"] = {key: found["limits"][key] for key in vector["json"]["limits"]}
    assert bits(found) == bits(vector["json"])


@pytest.mark.parametrize("vector", vectors.of_kind("reply", *ALL, where=lambda vector: "error" in vector))
def test_an_invalid_reply_is_refused_with_its_code_and_id(vector):
    reader = p.FrameReader(int(vector.get("limit", p.FRAME_BYTES)))
    frames = reader.feed(vector["hex"])
    if vector["closes"] == "yes":
        assert frames == []
        assert reader.failure.code == vectors.CODES[vector["error"]]
        assert reader.failure.closes
    else:
        assert reader.failure is None
        [[operation, id, code, _, _]] = frames
        assert operation == p.ERROR
        assert code == vectors.CODES[vector["error"]]
        assert id == (int(vector["id"]) if "id" in vector else None)


@pytest.mark.parametrize("vector", vectors.of_kind("request", "invalid-frames.txt"))
def test_the_rules_of_framing_hold_for_any_frame(vector):
    reader = p.FrameReader(int(vector.get("limit", p.FRAME_BYTES)))
    reader.feed(vector["hex"])
    assert reader.failure is not None, "an invalid frame was accepted"
    assert reader.failure.code == vectors.CODES[vector["error"]]


@pytest.mark.parametrize("vector", vectors.of_kind("body", "bodies.txt"))
@pytest.mark.parametrize("is_scanned", [False, True])
def test_a_body_is_read_as_what_it_means_or_refused(vector, is_scanned, monkeypatch):
    monkeypatch.setattr(guard, "SCAN_FROM_BYTES", -1 if is_scanned else 10**9)
    if "error" in vector:
        with pytest.raises(Undecodable):
            body.decode_value(vector["hex"])
    else:
        assert bits(body.decode_value(vector["hex"])) == bits(vector["json"])


def is_message(vector):
    return vector.get("canonical") != "no" and isinstance(vector.get("json"), dict)


@pytest.mark.parametrize("vector", vectors.of_kind("body", "bodies.txt", where=is_message))
def test_a_message_is_written_as_its_vector(vector):
    assert body.encode(vector["json"]) == vector["hex"]
