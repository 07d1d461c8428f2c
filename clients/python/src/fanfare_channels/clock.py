"""Time on the link, and time between two attempts."""

from __future__ import annotations

import random
from typing import Optional

CLOCK_INTERVAL_SECONDS = 0.05
"""How long after a `CLOCK` the broker writes messages without telling the time again."""


class LinkAge:
    """How long what arrives has been on its way: the broker's clock in the stream against this process's own.

    The two clocks have nothing in common but their pace. The smallest difference ever seen stands for a link without
    delay; whatever is more is time spent in sockets while this process, or the network, stood still.
    """

    __slots__ = ("_last", "_seconds", "_smallest")

    def __init__(self) -> None:
        self._smallest: Optional[float] = None
        self._last = 0.0
        # To take off the life of what comes right behind the last clock.
        self._seconds = 0.0

    def hear(self, broker_milliseconds: int, now: float) -> None:
        """Takes note of a `CLOCK`; `now` is this process's monotonic clock, in seconds."""
        difference = now - broker_milliseconds / 1000
        if self._smallest is None:
            self._smallest = difference
        else:
            # Clocks of two machines drift apart by some ten parts in a million; the memory of the smallest follows.
            self._smallest = min(self._smallest + max(0.0, now - self._last) / 10_000, difference)
        self._last = now
        # The broker's clock is cut to milliseconds: less than one is no delay.
        age = difference - self._smallest
        self._seconds = age if age >= 0.001 else 0.0

    def seconds(self, now: float) -> float:
        """Seconds to take off the life of what is read at `now`.

        What was read long after the last clock has waited: the broker would have told the time ahead of what it wrote
        so long after it.
        """
        if self._smallest is None:
            return 0.0
        return self._seconds + max(0.0, now - self._last - CLOCK_INTERVAL_SECONDS)


class Backoff:
    """Seconds to wait before the next attempt.

    After a link that worked a random 0 ... 50 ms; then doubled from 50 ms up to `most`, times a random half to whole.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._step = 0.0

    def longest(self) -> None:
        """Who was refused for what it is need not ask often."""
        self._step = self._most

    def next(self) -> float:
        step = self._step
        if step == 0:
            self._step = 0.05
            return random.SystemRandom().uniform(0.0, 0.05)
        self._step = min(step * 2, self._most)
        return step * random.SystemRandom().uniform(0.5, 1.0)
