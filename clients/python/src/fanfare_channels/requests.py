"""The frames this client writes: `proto/PROTOCOL.md`, sections 3 and 5. Options and keys at their default are left out.

`id` is `None` where no answer is wanted.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from . import protocol as p
from .protocol import frame

Id = Optional[int]


def hello(
    *,
    client: str,
    name: str,
    role: str,
    namespace: str,
    policy: Dict[str, Any],
    node: Optional[str] = None,
    attributes: Optional[Dict[str, str]] = None,
    token: Optional[str] = None,
    capabilities: Sequence[str] = (),
    resume: Optional[bytes] = None,
    received: int = 0,
) -> bytes:
    keys: Dict[str, Any] = {"protocol": p.VERSION, "client": client, "name": name, "role": role, "namespace": namespace}
    if node is not None:
        keys["node"] = node
    keys["policy"] = policy
    if attributes:
        keys["attributes"] = attributes
    if token is not None:
        keys["token"] = token
    if capabilities:
        keys["capabilities"] = list(capabilities)
    if resume is not None:
        keys["resume"] = resume
        keys["received"] = received
    return frame((p.HELLO, keys))


def ping(id: int) -> bytes:
    return frame((p.PING, id))


def pong(id: int) -> bytes:
    return frame((p.PONG, id))


def goodbye() -> bytes:
    return frame((p.GOODBYE,))


def send_options(expiry_milliseconds: Optional[int], trace: Optional[Dict[str, str]] = None) -> Tuple[Any, ...]:
    """The options of a `SEND`, as the fields that follow the body."""
    return group_send_options(expiry_milliseconds, trace=trace)


def group_send_options(
    expiry_milliseconds: Optional[int] = None,
    exclude: Sequence[str] = (),
    outcome: bool = False,
    trace: Optional[Dict[str, str]] = None,
) -> Tuple[Any, ...]:
    """The options of a `GROUP_SEND`, as the fields that follow the body."""
    options: Dict[str, Any] = {}
    if expiry_milliseconds is not None:
        options["expiry_milliseconds"] = expiry_milliseconds
    if exclude:
        options["exclude"] = list(exclude)
    if outcome:
        options["outcome"] = True
    if trace:
        options["trace"] = trace
    return (options,) if options else ()


def send(
    id: Id,
    channel: str,
    body: bytes,
    expiry_milliseconds: Optional[int] = None,
    trace: Optional[Dict[str, str]] = None,
) -> bytes:
    return frame((p.SEND, id, channel, body, *send_options(expiry_milliseconds, trace)))


def receive(id: int, channel: str, count: int = 1) -> bytes:
    return frame((p.RECEIVE, id, channel) if count == 1 else (p.RECEIVE, id, channel, count))


def cancel(id: int, target: int) -> bytes:
    return frame((p.CANCEL, id, target))


def give_back(
    id: Id, channel: str, body: bytes, order: int, deadline: int, trace: Optional[Dict[str, str]] = None
) -> bytes:
    return frame((p.GIVE_BACK, id, channel, body, order, deadline, *group_send_options(trace=trace)))


def report(received: int, taken: Iterable[Sequence[Any]], dropped: Iterable[Sequence[Any]]) -> bytes:
    return frame((p.REPORT, received, list(taken), list(dropped)))


def open_channels(id: Id, channels: Iterable[Sequence[Any]]) -> bytes:
    return frame((p.OPEN_CHANNELS, id, list(channels)))


def close_channels(id: Id, channels: List[str]) -> bytes:
    return frame((p.CLOSE_CHANNELS, id, channels))


def group_add(id: Id, group: str, channels: List[str], group_expiry_milliseconds: Optional[int] = None) -> bytes:
    if group_expiry_milliseconds is None:
        return frame((p.GROUP_ADD, id, group, channels))
    return frame((p.GROUP_ADD, id, group, channels, {"group_expiry_milliseconds": group_expiry_milliseconds}))


def group_discard(id: Id, group: str, channels: List[str]) -> bytes:
    return frame((p.GROUP_DISCARD, id, group, channels))


def group_send(id: Id, group: str, body: bytes, **options: Any) -> bytes:
    return frame((p.GROUP_SEND, id, group, body, *group_send_options(**options)))


def outcome(token: int, accepted: int, dropped: int) -> bytes:
    return frame((p.OUTCOME, token, accepted, dropped))


def flush(id: int) -> bytes:
    return frame((p.FLUSH, id))


def inspect(id: int, subject: str, query: Dict[str, Any]) -> bytes:
    return frame((p.INSPECT, id, subject, query))
