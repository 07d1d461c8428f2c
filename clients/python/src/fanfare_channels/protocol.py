"""Frames to values and back: `proto/PROTOCOL.md` is normative, `proto/vectors` are its examples. No sockets here."""

from __future__ import annotations

from struct import Struct
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import msgpack

from . import guard

VERSION = 1
CLOCK_CAPABILITY = "clock"
RESUME_CAPABILITY = "resume"

HELLO, PING, PONG, GOODBYE, CLOCK = 1, 2, 3, 4, 5
SEND, RECEIVE, CANCEL, GIVE_BACK, REPORT, OPEN_CHANNELS, CLOSE_CHANNELS = 10, 11, 12, 13, 14, 15, 16
GROUP_ADD, GROUP_DISCARD, GROUP_SEND, OUTCOME = 20, 21, 22, 23
FLUSH, INSPECT, TAIL, ADMIN = 30, 31, 32, 33
WELCOME, ACK, ERROR, RESULT = 64, 70, 71, 72
DELIVER, HAND_OUT, GAP, GROUP_DELIVER, MEMBERS, FLUSHED, TAILED, GOAWAY = 80, 81, 82, 90, 91, 92, 93, 100

FRAME_TOO_LARGE, MALFORMED_FRAME, UNKNOWN_OPERATION, BAD_REQUEST = 1, 2, 10, 11
ERROR_CODES = frozenset([*range(1, 16), *range(20, 25), *range(30, 34)])
FULL, EXPIRED, OWNER_GONE, TOO_LARGE, LINK_OVERFLOW, UNDECODABLE, FLUSHED_AWAY, INJECTED = range(1, 9)
REASONS = {
    FULL: "full",
    EXPIRED: "expired",
    OWNER_GONE: "owner_gone",
    TOO_LARGE: "too_large",
    LINK_OVERFLOW: "link_overflow",
    UNDECODABLE: "undecodable",
    FLUSHED_AWAY: "flushed",
    INJECTED: "injected",
}

_OF_CLIENTS = frozenset([HELLO, GOODBYE, *range(SEND, ADMIN + 1)])
HELLO_FRAME_BYTES = 4_096
WELCOME_FRAME_BYTES = 16_384
"""Of the first frame of a broker, at most: a welcome repeats the policy of the hello, and says more besides."""
TRACE_ENTRIES, TRACE_BYTES = 4, 512
"""Of a trace context, keys and values together, at most (section 5.16)."""
RESUME_TOKEN_BYTES = 64
"""Of a resume token, at most."""
FRAME_BYTES = 2 * 1_048_576 + 65_536
_ID_MOST = 2**53 - 1
INT_MOST = 2**63 - 1

Frame = List[Any]
_length = Struct(">I").pack
_pack = msgpack.packb
_unpack = msgpack.unpackb


def frame(fields: Union[Tuple[Any, ...], List[Any]]) -> bytes:
    """A frame: the length, then the array of `fields`, whose first is the operation."""
    payload: bytes = _pack(fields)
    return _length(len(payload)) + payload


class ProtocolError(Exception):
    """What came in is not the protocol. `closes`: the stream cannot go on; `id`: the request it answered, if known."""

    def __init__(self, code: int, text: str, id: Optional[int] = None, closes: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.id = id
        self.closes = closes


class FrameReader:
    """Cuts a stream into frames, whatever the pieces it comes in, and checks each before it passes it on.

    Memory grows with the bytes that came, never with a length that was declared.
    """

    def __init__(self, limit: int = HELLO_FRAME_BYTES) -> None:
        self.limit = limit
        self.failure: Optional[ProtocolError] = None
        self._pieces: List[bytes] = []
        self._have = 0
        self._need = 4

    def feed(self, data: bytes) -> List[Frame]:
        """The frames that are complete with `data`, decoded.

        After an error that ends the stream, `failure` is set, and what came before it is returned. A reply whose
        fields are wrong becomes an `ERROR` for the request it answers.
        """
        if self._pieces:
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._pieces)
            self._pieces = []
        frames: List[Frame] = []
        position, end = 0, len(data)
        need = 4
        while end - position >= 4:
            length = int.from_bytes(data[position : position + 4], "big")
            if not 0 < length <= self.limit:
                text = f"a frame of {length} bytes; the limit is {self.limit}"
                self.failure = ProtocolError(FRAME_TOO_LARGE, text, closes=True)
                return frames
            need = 4 + length
            if end - position < need:
                break
            try:
                frames.append(decode(data[position + 4 : position + need]))
            except ProtocolError as error:
                if error.closes:
                    self.failure = error
                    return frames
                frames.append([ERROR, error.id, error.code, str(error), False])
            position += need
            need = 4
        if position < end:
            rest = data[position:]
            self._pieces = [rest]
            self._have = len(rest)
        else:
            self._have = 0
        self._need = need
        return frames


def decode(payload: bytes) -> Frame:
    """The fields of one frame from the broker, checked. Raises `ProtocolError`."""
    try:
        if len(payload) > guard.SCAN_FROM_BYTES:
            guard.scan(payload)
        fields = _unpack(payload, strict_map_key=False)
    except Exception as error:
        raise ProtocolError(MALFORMED_FRAME, str(error), closes=True) from None
    if type(fields) is not list or not fields or not _is_count(fields[0]):
        raise ProtocolError(MALFORMED_FRAME, "a frame is an array that begins with an operation", closes=True)
    shape = _SHAPES.get(fields[0])
    if shape is None:
        _scan(payload)
        id = None if fields[0] in _OF_CLIENTS else _id_of(fields)
        raise ProtocolError(UNKNOWN_OPERATION, f"unknown operation {fields[0]}", id)
    length, is_valid = shape
    if len(fields) != length and fields[0] != ACK:
        # More than expected, or options: anything may be in there, nested and extended.
        _scan(payload)
    try:
        if is_valid(fields):
            return fields
    except (IndexError, TypeError, AttributeError):
        pass
    _scan(payload)
    raise ProtocolError(BAD_REQUEST, f"operation {fields[0]} with wrong fields", _id_of(fields))


def _scan(payload: bytes) -> None:
    try:
        guard.scan(payload)
    except ValueError as error:
        raise ProtocolError(MALFORMED_FRAME, str(error), closes=True) from None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= INT_MOST


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 < value <= _ID_MOST


def _id_of(fields: Frame) -> Optional[int]:
    """The id of the request a frame answers: in the next field of those that have one."""
    if len(fields) > 1 and fields[0] not in (ACK, DELIVER, GAP, GROUP_DELIVER, MEMBERS, FLUSHED, GOAWAY, CLOCK):
        return fields[1] if _is_id(fields[1]) else None
    return None


def _options(fields: Frame, place: int) -> Dict[str, Any]:
    """The option map, which may be left out."""
    if len(fields) <= place:
        return {}
    options = fields[place]
    if type(options) is not dict or not all(type(key) is str for key in options):
        raise TypeError("options")
    return options


def fits_trace(trace: Dict[str, str]) -> bool:
    """Whether a map of text to text is within the bounds of a trace context."""
    size = sum(len(key.encode()) + len(value.encode()) for key, value in trace.items())
    return len(trace) <= TRACE_ENTRIES and size <= TRACE_BYTES


def _traced(options: Dict[str, Any]) -> bool:
    """Whether the option `trace`, if it is there, is a trace context."""
    if "trace" not in options:
        return True
    trace = options["trace"]
    if type(trace) is not dict or not _texts([*trace, *trace.values()]) or not fits_trace(trace):
        return False
    if not trace:
        del options["trace"]
    return True


def _texts(value: Any) -> bool:
    return type(value) is list and all(type(item) is str for item in value)


def _ack(fields: Frame) -> bool:
    return len(fields) > 1 and all(type(id) is int and 0 < id <= _ID_MOST for id in fields[1:])


def _error(fields: Frame) -> bool:
    if fields[2] not in ERROR_CODES and _is_count(fields[2]):
        fields[3] = f"error {fields[2]}: {fields[3]}"
        fields[2] = BAD_REQUEST
    return (
        (fields[1] is None or _is_id(fields[1]))
        and _is_count(fields[2])
        and type(fields[3]) is str
        and (type(fields[4]) is bool)
    )


def is_value(value: Any) -> bool:
    """Whether this is a value of the protocol: texts as keys, integers of 64 bits, no extensions."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and is_value(item) for key, item in value.items())
    if kind is list:
        return all(map(is_value, value))
    return kind in (str, bytes, bool, float, type(None)) or (kind is int and value <= INT_MOST)


def _result(fields: Frame) -> bool:
    return _is_id(fields[1]) and is_value(fields[2])


def _deliver(fields: Frame) -> bool:
    good = type(fields[1]) is str and type(fields[2]) is bytes and _is_count(fields[3])
    return good and (len(fields) == 4 or _traced(_options(fields, 4)))


def _hand_out(fields: Frame) -> bool:
    good = _is_id(fields[1]) and type(fields[2]) is bytes
    good = good and _is_count(fields[3]) and _is_count(fields[4]) and _is_count(fields[5])
    return good and (len(fields) == 6 or _traced(_options(fields, 6)))


def _gap(fields: Frame) -> bool:
    named = fields[1] is None or type(fields[1]) is str
    closed = _options(fields, 4).get("closed", False)
    return named and _is_count(fields[2]) and fields[3] in REASONS and type(closed) is bool


def _group_deliver(fields: Frame) -> bool:
    if not (type(fields[1]) is str and type(fields[2]) is bytes and _is_count(fields[3])):
        return False
    if len(fields) == 4:
        return True
    options = _options(fields, 4)
    good = _texts(options.get("exclude", [])) and ("outcome" not in options or _is_count(options["outcome"]))
    return good and _traced(options)


def _members(fields: Frame) -> bool:
    return type(fields[1]) is str and _texts(fields[2]) and _texts(fields[3])


def _tailed(fields: Frame) -> bool:
    good = _is_id(fields[1]) and fields[2] in ("channel", "group") and _texts(fields[3:5])
    return good and type(fields[5]) is bytes and _is_count(fields[6])


_LIMITS = ("frame_bytes", "body_bytes", "names_per_frame", "ping_after_milliseconds", "silence_milliseconds")


def _welcome(fields: Frame) -> bool:
    keys = fields[1]
    return (
        is_value(keys)
        and all(_is_count(keys.get(key)) for key in ("protocol", "session", "epoch"))
        and type(keys.get("broker")) is str
        and _texts(keys.get("capabilities"))
        and type(keys.get("policy")) is dict
        and type(keys.get("limits")) is dict
        and all(_is_count(keys["limits"].get(key)) for key in _LIMITS)
        and ("resume_token" not in keys or _resumption(keys))
    )


def _resumption(keys: Dict[str, Any]) -> bool:
    token, resumed = keys["resume_token"], keys.get("resumed", False)
    return (
        type(token) is bytes
        and 0 < len(token) <= RESUME_TOKEN_BYTES
        and _is_count(keys.get("grace_milliseconds", 0))
        and type(resumed) is bool
        and (not resumed or _is_count(keys.get("requests")))
    )


def _goaway(fields: Frame) -> bool:
    return _is_count(fields[1]) and type(fields[2]) is str and type(_options(fields, 3).get("drain", False)) is bool


# By operation: fields of a frame without options, and whether they are what they should be.
_SHAPES: Dict[int, Tuple[int, Callable[[Frame], bool]]] = {
    PING: (2, lambda fields: _is_id(fields[1])),
    PONG: (2, lambda fields: _is_id(fields[1])),
    CLOCK: (2, lambda fields: _is_count(fields[1])),
    WELCOME: (2, _welcome),
    ACK: (2, _ack),
    ERROR: (5, _error),
    RESULT: (3, _result),
    DELIVER: (4, _deliver),
    HAND_OUT: (6, _hand_out),
    GAP: (4, _gap),
    GROUP_DELIVER: (4, _group_deliver),
    MEMBERS: (4, _members),
    FLUSHED: (2, lambda fields: _is_count(fields[1])),
    TAILED: (7, _tailed),
    GOAWAY: (3, _goaway),
}
