"""Channel patterns as Python users write them, globs and compiled ones, as the globs a broker understands."""

from __future__ import annotations

import fnmatch
import re
from itertools import product
from typing import List, Optional, Pattern, Union

GLOB_BYTES = 256
_EXPANSIONS_MOST = 64
_CLASSES = {"d": "[0-9]", "w": "[a-zA-Z0-9_]"}


def globs(pattern: Union[str, Pattern[str]]) -> List[str]:
    """The globs that match what `pattern` matches: itself, or what a compiled pattern comes to.

    A compiled pattern is used as Channels uses it, with `match`: it need not reach the end of the name. Raises
    `ValueError` for one that globs cannot express: the broker judges names, and it does not know Python's patterns.
    """
    if isinstance(pattern, str):
        found = [pattern]
    else:
        found = _Translator(pattern).globs()
    for glob in found:
        if not glob or len(glob.encode()) > GLOB_BYTES:
            raise ValueError(f"a channel pattern has 1 to {GLOB_BYTES} bytes, unlike {glob!r}")
    return found


class _Translator:
    """Reads a regular expression of literals, `.`, `.*`, `.+`, classes, groups of alternatives, and anchors."""

    def __init__(self, pattern: Pattern[str]) -> None:
        self._pattern = pattern
        self._text = pattern.pattern
        self._place = 0

    def globs(self) -> List[str]:
        if self._pattern.flags & ~(re.UNICODE | re.DOTALL | re.ASCII):
            self._refuse("its flags")
        found = self._alternatives(is_outermost=True)
        if self._place < len(self._text):
            self._refuse(f"{self._text[self._place :]!r}")
        return [self._tidy(glob) for glob in found]

    def _tidy(self, glob: str) -> str:
        # `match` does not ask for the end of the name, a glob does.
        glob = glob[:-1] if glob.endswith("\0") else glob + "*"
        if "\0" in glob:
            self._refuse("an end before the end")
        return re.sub(r"\*+", "*", glob)

    def _alternatives(self, is_outermost: bool = False) -> List[str]:
        found = self._sequence(is_outermost)
        while self._peek() == "|":
            self._place += 1
            found = found + self._sequence(is_outermost)
            if len(found) > _EXPANSIONS_MOST:
                self._refuse("so many alternatives")
        return found

    def _sequence(self, is_outermost: bool) -> List[str]:
        found = [""]
        if is_outermost and self._peek() == "^":
            self._place += 1
        while self._peek() not in (None, "|", ")"):
            item = self._item()
            found = ["".join(pair) for pair in product(found, item)]
            if len(found) > _EXPANSIONS_MOST:
                self._refuse("so many alternatives")
        return found

    def _item(self) -> List[str]:
        character = self._text[self._place]
        self._place += 1
        if character == "(":
            return self._group()
        if character == "$":
            return ["\0"]
        if character == ".":
            return [self._repeated()]
        if character == "[":
            item = self._class()
        elif character == "\\":
            item = self._escaped()
        elif character in "*+?{}^":
            return self._refuse(f"{character!r}")
        else:
            item = character
        if self._peek() in ("*", "+", "?", "{"):
            self._refuse(f"{self._peek()!r} behind anything but a dot")
        return [item]

    def _repeated(self) -> str:
        """A dot, with what may follow it."""
        sign = self._peek()
        if sign in ("?", "{"):
            self._refuse(f"'.{sign}'")
        if sign not in ("*", "+"):
            return "?"
        self._place += 1
        # Whether it takes as much or as little as it can makes no difference to what is matched.
        if self._peek() == "?":
            self._place += 1
        return "*" if sign == "*" else "?*"

    def _group(self) -> List[str]:
        if self._peek() == "?":
            start = re.match(r"\?(s?):|\?P<\w+>", self._text[self._place :])
            if start is None:
                self._refuse("a group of that kind")
                return []
            self._place += start.end()
        found = self._alternatives()
        if self._peek() != ")":
            self._refuse("a group without end")
        self._place += 1
        if self._peek() in ("*", "+", "?", "{"):
            self._refuse("a repeated group")
        return found

    def _escaped(self) -> str:
        character = self._text[self._place]
        self._place += 1
        if character in _CLASSES:
            return _CLASSES[character]
        if character in "Zz":
            return "\0"
        if character.isalnum():
            self._refuse(f"'\\{character}'")
        return character

    def _class(self) -> str:
        end = self._text.find("]", self._place + 1)
        inside = self._text[self._place : end]
        if end < 0 or "\\" in inside or "[" in inside:
            self._refuse("that class")
        self._place = end + 1
        return f"[!{inside[1:]}]" if inside.startswith("^") else f"[{inside}]"

    def _peek(self) -> Optional[str]:
        return self._text[self._place] if self._place < len(self._text) else None

    def _refuse(self, what: str) -> List[str]:
        raise ValueError(
            f"the channel pattern {self._text!r} cannot be said as a glob because of {what}; "
            'write it as one or several globs, such as "http.*"'
        )


def matches(glob: str, name: str) -> bool:
    """Whether a broker finds that `glob` matches `name`."""
    return fnmatch.fnmatchcase(name, glob)
