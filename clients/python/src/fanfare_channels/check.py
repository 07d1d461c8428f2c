"""Looks whether a layer's settings and its broker are what they should be, and says what is wrong."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import socket
import time
from typing import Any, Callable, Dict, List, Mapping

from . import names
from . import protocol as p
from .endpoints import Endpoint
from .layer import FanfareChannelLayer

ANSWER_SECONDS = 5.0
Say = Callable[[str], None]

NOT_NEEDED = {
    "on_disconnect": "leave it out: the layer connects again by itself, and receive_or_gap tells of holes",
    "on_reconnect": "leave it out: the layer connects again by itself, and receive_or_gap tells of holes",
}
"""Options of `channels_redis` that are not here, and what to do about them."""


class Wrong(Exception):
    """Something is not as it should be; the text says what, and what to do."""


def check(backend: Callable[..., Any], config: Mapping[str, Any], alias: str, say: Say) -> None:
    """Makes a layer, connects it, and passes a message each way. Raises `Wrong`."""
    layer = _made(backend, config, alias)
    try:
        _check_connection(layer, say)
        _check_policy(layer, say)
        asyncio.run(_check_messages(layer, say))
        _tell_who_else_is_there(layer, say)
    finally:
        layer.close_sync()


def _made(backend: Callable[..., Any], config: Mapping[str, Any], alias: str) -> FanfareChannelLayer:
    _check_options(backend, config, alias)
    try:
        layer = backend(**config)
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise Wrong(f"the settings of {alias!r} cannot be used: {error}") from error
    if not isinstance(layer, FanfareChannelLayer):
        raise Wrong(f"{alias!r} is a {type(layer).__module__}.{type(layer).__qualname__}, no Fanfare layer")
    return layer


def _check_options(backend: Callable[..., Any], config: Mapping[str, Any], alias: str) -> None:
    parameters = inspect.signature(backend).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in config:
        if option in parameters:
            continue
        near = difflib.get_close_matches(str(option), parameters, 1)
        advice = f"is {near[0]!r} meant?" if near else f"there are {', '.join(sorted(parameters))}"
        raise Wrong(f"CONFIG of {alias!r} has an unknown option {option!r}: {NOT_NEEDED.get(option, advice)}")


def _check_connection(layer: FanfareChannelLayer, say: Say) -> None:
    say(f"looking for a broker at {', '.join(map(str, layer.configuration.endpoints))}")
    try:
        welcome = layer.check_connection()
    except ConnectionError as error:
        raise Wrong("\n".join([str(error), *(_advice(endpoint, layer) for endpoint in layer.configuration.endpoints)])) from error
    say(f"connected to {welcome['broker']}, session {welcome['session']}, namespace {layer.prefix!r}")


def _advice(endpoint: Endpoint, layer: FanfareChannelLayer) -> str:
    """What to do about an endpoint with no broker behind it."""
    try:
        endpoint._replace(is_tls=False).dial(layer.configuration.security).close()
    except PermissionError:
        return f"This user may not write to {endpoint.path}: give its group that right, or run as a user who has it"
    except socket.gaierror:
        return f"There is no host {endpoint.host!r}: correct hosts or url"
    except OSError:
        return f"Start one (fanfare-broker --listen {endpoint}), or correct hosts or url"
    redis = " (6379 is Redis's port)" if endpoint.port == 6379 else ""
    return f"Something listens at {endpoint}{redis}: if it is no Fanfare broker, correct hosts or url"


def _check_policy(layer: FanfareChannelLayer, say: Say) -> None:
    """Says where the broker's caps have changed what was asked for."""
    asked, granted = layer.configuration.policy, layer.hub().welcome["policy"]
    for key, value in asked.items():
        if granted.get(key) != value:
            say(f"note: {key} is {granted.get(key)!r}, not {value!r}: the broker's own limit counts")
    say(f"capacity {granted['capacity']}, expiry {granted['expiry_milliseconds'] / 1000:g} s")


def _tell_who_else_is_there(layer: FanfareChannelLayer, say: Say) -> None:
    """Processes with another prefix never meet this one, and are not shown to it: 0 where there should be some."""
    query = {"namespace": layer.prefix, "limit": 1}
    total = layer.hub().call_in_thread(p.INSPECT, ("sessions", query), again=True)["total"]
    say(f"other processes connected with the prefix {layer.prefix!r}: {total - 1}")
    if total == 1:
        say("note: processes with another prefix share nothing with this one")


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
