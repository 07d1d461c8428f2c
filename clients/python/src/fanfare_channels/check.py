"""Looks whether a layer's settings and its broker are what they should be, and says what is wrong."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Callable, Dict, List

from . import names
from .layer import FanfareChannelLayer

ANSWER_SECONDS = 5.0
Say = Callable[[str], None]


class Wrong(Exception):
    """Something is not as it should be; the text says what, and what to do."""


def check(make: Callable[[], Any], alias: str, say: Say) -> None:
    """Makes a layer, connects it, and passes a message each way. Raises `Wrong`."""
    layer = _made(make, alias)
    try:
        _check_connection(layer, say)
        _check_policy(layer, say)
        asyncio.run(_check_messages(layer, say))
    finally:
        layer.close_sync()


def _made(make: Callable[[], Any], alias: str) -> FanfareChannelLayer:
    try:
        layer = make()
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise Wrong(f"the settings of {alias!r} cannot be used: {error}") from error
    if not isinstance(layer, FanfareChannelLayer):
        raise Wrong(f"{alias!r} is a {type(layer).__module__}.{type(layer).__qualname__}, no Fanfare layer")
    return layer


def _check_connection(layer: FanfareChannelLayer, say: Say) -> None:
    say(f"looking for a broker at {', '.join(map(str, layer.configuration.endpoints))}")
    try:
        welcome = layer.check_connection(ANSWER_SECONDS)
    except ConnectionError as error:
        raise Wrong(
            f"{error}\nStart one (fanfare-broker --listen {layer.configuration.endpoints[0]}), or correct hosts or url"
        ) from error
    say(f"connected to {welcome['broker']}, session {welcome['session']}, namespace {layer.prefix!r}")


def _check_policy(layer: FanfareChannelLayer, say: Say) -> None:
    """Says where the broker's caps have changed what was asked for."""
    asked, granted = layer.configuration.policy, layer.hub().welcome["policy"]
    for key, value in asked.items():
        if granted.get(key) != value:
            say(f"note: {key} is {granted.get(key)!r}, not {value!r}: the broker's own limit counts")
    say(f"capacity {granted['capacity']}, expiry {granted['expiry_milliseconds'] / 1000:g} s")


async def _check_messages(layer: FanfareChannelLayer, say: Say) -> None:
    message = {"type": "fanfare.check", "bytes": b"\x00", "number": 2**40, "list": [None, True, 0.5]}
    channel, group = await layer.new_channel("check"), f"check-{names.new_node()}"
    try:
        await layer.send(channel, message)
    except Exception as error:
        raise Wrong(f"a message with every kind of value could not be sent: {type(error).__name__}: {error}") from error
    await _expect(layer, channel, message, "a message to a channel of this process")
    await layer.group_add(group, channel)
    outcome = await layer.group_send(group, message, outcome=True)
    await _expect(layer, channel, message, f"a message to a group, of which the broker says {outcome}")
    await layer.group_discard(group, channel)
    taken: List[float] = []
    for _ in range(200):
        started = time.perf_counter()
        await layer.send(channel, message)
        await layer.receive(channel)
        taken.append(time.perf_counter() - started)
    say(f"send and receive take {sorted(taken)[100] * 1e6:.0f} us")


async def _expect(layer: FanfareChannelLayer, channel: str, message: Dict[str, Any], what: str) -> None:
    try:
        found = await asyncio.wait_for(layer.receive(channel), ANSWER_SECONDS)
    except asyncio.TimeoutError:
        missed = layer.statistics()
        raise Wrong(f"{what} did not arrive within {ANSWER_SECONDS:g} s; this process knows {missed}") from None
    if found != message:
        raise Wrong(f"{what} arrived as {found!r} instead of {message!r}; is the serializer at fault?")
