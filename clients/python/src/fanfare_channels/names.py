"""Names of channels and groups: `proto/PROTOCOL.md`, section 2."""

from __future__ import annotations

import re
import secrets
from typing import Any, Set

NAME_BYTES = 99
NODE_CHARACTERS = 10
"""Random characters of a node: 36**10 of them."""

_NORMAL = re.compile(r"[a-zA-Z0-9._-]+")
_PROCESS = re.compile(r"(?:[a-zA-Z0-9._-]+\.)?[a-zA-Z0-9_-]{1,40}![a-zA-Z0-9._-]+")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_KNOWN_MOST = 16_384


def new_node() -> str:
    """A node nobody else has: the part of a process channel's name that says whose it is."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(NODE_CHARACTERS))


def is_normal(name: Any) -> bool:
    """Whether this may name a group, a namespace, or a channel anybody may read."""
    return isinstance(name, str) and len(name) <= NAME_BYTES and _NORMAL.fullmatch(name) is not None


def is_process(name: Any) -> bool:
    """Whether this may name a channel of one process."""
    return isinstance(name, str) and len(name) <= NAME_BYTES and _PROCESS.fullmatch(name) is not None


class Names:
    """Checks names, and remembers those it has found good."""

    def __init__(self) -> None:
        self._channels: Set[str] = set()
        self._groups: Set[str] = set()

    def check_channel(self, name: str) -> None:
        """Raises `TypeError` unless `name` may name a channel."""
        # A type that cannot be hashed is no name either, and `in` would say so less clearly.
        if type(name) is str and name in self._channels:
            return
        if not (is_normal(name) or is_process(name)):
            raise TypeError(
                f"{name!r} is no channel name: fewer than 100 ASCII letters, digits, hyphens, underscores or periods, "
                'and for a channel of one process "!" once, between its node and a local part'
            )
        if len(self._channels) >= _KNOWN_MOST:
            self._channels.clear()
        self._channels.add(name)

    def check_group(self, name: str) -> None:
        """Raises `TypeError` unless `name` may name a group."""
        if type(name) is str and name in self._groups:
            return
        if not is_normal(name):
            raise TypeError(
                f"{name!r} is no group name: fewer than 100 ASCII letters, digits, hyphens, underscores or periods"
            )
        if len(self._groups) >= _KNOWN_MOST:
            self._groups.clear()
        self._groups.add(name)
