"""Messages to bytes and back: one MessagePack map, with exactly the types of the channel layer specification."""

from __future__ import annotations

from typing import Any, Dict, List, NoReturn, Union

import msgpack

from . import guard
from .exceptions import MessageTooLarge, Undecodable

Message = Dict[str, Any]

_SCALARS = frozenset({str, bytes, bool, float, type(None)})
_INT_LEAST, _INT_MOST = -(2**63), 2**63 - 1
_pack = msgpack.packb
_unpack = msgpack.unpackb


def encode(message: Message) -> bytes:
    """The bytes of a message.

    Raises `TypeError` for a value or key of a type that is not allowed, `OverflowError` for an integer beyond 64 bits,
    `ValueError` for text that is no Unicode and for more than 16 containers inside each other, each with the path of
    the offending key; `MessageTooLarge` for more elements than any reader accepts.
    """
    for key, value in message.items():
        if type(key) is not str and not isinstance(key, str):
            _refuse(message)
        kind = type(value)
        if kind in _SCALARS:
            continue
        if kind is int:
            if not _INT_LEAST <= value <= _INT_MOST:
                _refuse(message)
        else:
            _check(value, [key])
    try:
        packed: bytes = _pack(message)
    except (TypeError, ValueError, OverflowError):
        _refuse(message)
        raise
    if len(packed) > guard.ELEMENTS:
        try:
            guard.scan(packed)
        except ValueError as error:
            raise MessageTooLarge(str(error)) from None
    return packed


def decode(body: bytes) -> Message:
    """The message of a body, a new one for each call. Raises `Undecodable`."""
    try:
        if len(body) > guard.SCAN_FROM_BYTES:
            guard.scan(body)
        message = _unpack(body, strict_map_key=False)
    except Exception as error:
        raise Undecodable(str(error)) from None
    if type(message) is not dict:
        raise Undecodable(f"a message is a map, this is {type(message).__name__}")
    for key, item in message.items():
        if type(key) is not str:
            raise Undecodable("a key that is no text")
        if type(item) not in _SCALARS:
            _check_decoded(item, 2)
    return message


def decode_value(data: Union[bytes, memoryview]) -> Any:
    """The value of one MessagePack value. Raises `Undecodable` for what no message may hold."""
    try:
        if len(data) > guard.SCAN_FROM_BYTES:
            guard.scan(data)
        value = _unpack(data, strict_map_key=False)
    except Exception as error:
        raise Undecodable(str(error)) from None
    _check_decoded(value, 1)
    return value


def _check_decoded(value: Any, depth: int) -> None:
    kind = type(value)
    if kind in _SCALARS:
        return
    if kind is int:
        if value > _INT_MOST:
            raise Undecodable("an integer beyond 64 bits")
        return
    if kind is not dict and kind is not list:
        raise Undecodable(f"a value of type {kind.__name__}")
    if depth > guard.NESTING:
        raise Undecodable(f"more than {guard.NESTING} containers inside each other")
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise Undecodable("a key that is no text")
            _check_decoded(item, depth + 1)
    else:
        for item in value:
            _check_decoded(item, depth + 1)


def _check(value: Any, path: List[Any]) -> None:
    """Refuses what `value` must not hold; `path` leads to it from the message, and is as long as it is deep."""
    kind = type(value)
    if kind in _SCALARS:
        return
    if isinstance(value, int):
        if not _INT_LEAST <= value <= _INT_MOST:
            raise OverflowError(f"{_spell(path)}: {value} is no integer of 64 bits with sign")
        return
    if isinstance(value, (dict, list, tuple)) and not isinstance(value, (msgpack.ExtType, msgpack.Timestamp)):
        if len(path) >= guard.NESTING:
            raise ValueError(f"{_spell(path)}: more than {guard.NESTING} containers inside each other")
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            if isinstance(value, dict) and not isinstance(key, str):
                _refuse_key(key, path)
            if type(item) not in _SCALARS:
                _check(item, [*path, key])
        return
    if not isinstance(value, (str, bytes, float, bytearray, memoryview)):
        raise TypeError(
            f"{_spell(path)}: a value of type {kind.__module__}.{kind.__qualname__} cannot be sent; "
            "a message holds str, bytes, int, float, bool, None, lists, and dicts with str keys"
        )


def _refuse(message: Message) -> None:
    """Raises the error that shows where a message is wrong, if it is in the types, numbers or texts."""
    for key, value in message.items():
        if not isinstance(key, str):
            _refuse_key(key, [])
        _check(value, [key])
    _check_text(message, [])


def _check_text(value: Any, path: List[Any]) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{_spell(path)}: the text is no Unicode: {error}") from None
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, [*path, key])
            _check_text(item, [*path, key])
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_text(item, [*path, index])


def _refuse_key(key: Any, path: List[Any]) -> NoReturn:
    raise TypeError(f"{_spell(path)}: the key {key!r} is of type {type(key).__name__}; keys are str")


def _spell(path: List[Any]) -> str:
    return "message" + "".join(f"[{step!a}]" for step in path)
