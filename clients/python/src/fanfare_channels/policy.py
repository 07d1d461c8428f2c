"""What a session asks of its broker: capacities, expiries, and what happens at a full channel."""

from __future__ import annotations

import re
from fnmatch import translate
from typing import Any, Dict, List, Mapping, Optional, Pattern, Sequence, Tuple, Union

from . import patterns

CAPACITY_MOST = 1_000_000
PATTERNS_MOST = 64
OVERFLOWS = ("reject", "drop_newest", "drop_oldest", "disconnect")
GROUP_EXPIRY_SECONDS = 86_400

Capacities = Mapping[Union[str, Pattern[str]], int]


def milliseconds(seconds: float, name: str) -> int:
    """Whole milliseconds of a time in seconds, fractions allowed. Raises `ValueError` for a negative one."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e12:
        raise ValueError(f"{name} is a number of seconds, not {seconds!r}")
    return round(seconds * 1000)


def _capacity(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= CAPACITY_MOST:
        raise ValueError(f"{name} is a whole number from 1 to {CAPACITY_MOST}, not {value!r}")
    return value


def policy(
    *,
    expiry: float,
    group_expiry: Optional[float],
    capacity: int,
    channel_capacity: Optional[Capacities],
    capacity_scope: str,
    overflow: Optional[Mapping[str, str]],
) -> Dict[str, Any]:
    """The policy of a hello. A `group_expiry` that is given is meant literally: it ends memberships of live owners."""
    if capacity_scope not in ("channel", "process"):
        raise ValueError(f'capacity_scope is "channel" or "process", not {capacity_scope!r}')
    globs: List[Tuple[str, int]] = []
    for pattern, value in (channel_capacity or {}).items():
        value = _capacity(value, f"the capacity of {pattern!r}")
        globs.extend((glob, value) for glob in patterns.globs(pattern))
    if len(globs) > PATTERNS_MOST:
        raise ValueError(f"channel_capacity comes to {len(globs)} patterns; a broker takes {PATTERNS_MOST}")
    overflows = list((overflow or {}).items())
    for pattern, name in overflows:
        if not isinstance(pattern, str) or name not in OVERFLOWS:
            raise ValueError(f"overflow maps glob patterns to one of {OVERFLOWS}, not {pattern!r} to {name!r}")
    asked: Dict[str, Any] = {"capacity": _capacity(capacity, "capacity")}
    if globs:
        asked["channel_capacity"] = [list(pair) for pair in globs]
    asked["capacity_scope"] = capacity_scope
    asked["expiry_milliseconds"] = milliseconds(expiry, "expiry")
    life = GROUP_EXPIRY_SECONDS if group_expiry is None else group_expiry
    asked["group_expiry_milliseconds"] = milliseconds(life, "group_expiry")
    asked["group_expiry_literal"] = group_expiry is not None
    if overflows:
        asked["overflow"] = [list(pair) for pair in overflows]
    return asked


class Rules:
    """A policy in force, asked for one channel at a time."""

    def __init__(self, policy: Mapping[str, Any]) -> None:
        self._capacity: int = policy.get("capacity", 100)
        self._capacities = _compiled(policy.get("channel_capacity", ()))
        self._overflows = _compiled(policy.get("overflow", ()))
        self.is_shared = policy.get("capacity_scope") == "process"

    def capacity(self, channel: str) -> int:
        """Unread messages the channel holds; the first pattern that matches counts."""
        for matches, value in self._capacities:
            if matches(channel):
                return int(value)
        return self._capacity

    def overflow(self, channel: str) -> str:
        """What happens to a message the channel has no room for."""
        for matches, value in self._overflows:
            if matches(channel):
                return str(value)
        return "reject"


def _compiled(pairs: Sequence[Sequence[Any]]) -> List[Tuple[Any, Any]]:
    return [(re.compile(translate(glob)).match, value) for glob, value in pairs]
