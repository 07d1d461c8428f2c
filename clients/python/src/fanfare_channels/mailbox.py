"""One process channel of this process: what arrived and nobody took yet, and who waits for it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple, Union

from . import protocol as p


@dataclass(frozen=True)
class Gap:
    """A hole in what a channel got: that many messages are missing at this place, and why.

    `count` is 0 when nobody knows how many. `closed`: the broker has closed the channel, it is in no group any more.
    """

    channel: str
    count: int
    reason: str
    closed: bool = False


# A message that waits: when it expires, its body, the group it came through, whether the broker learns of it by what
# reports call "held", and the trace context that came with it. A direct message is counted by the broker until it is reported taken; a message of an
# earlier session, or of a group, is not.
Waiting = Tuple[float, bytes, Optional[str], bool, Optional[Dict[str, str]]]
Item = Union[Waiting, Gap]


def bytes_of(message: Waiting) -> int:
    """What a message counts for where bytes are bounded."""
    return len(message[1]) if message[4] is None else len(message[1]) + p.TRACE_BYTES


class Mailbox:
    """All changes happen under the hub's lock."""

    __slots__ = (
        "bytes",
        "capacity",
        "channel",
        "groups",
        "held",
        "is_closing",
        "is_watched",
        "items",
        "overflow",
        "reported_held",
        "taken",
        "unread",
        "waiters",
    )

    def __init__(self, channel: str, capacity: int, overflow: str) -> None:
        self.channel = channel
        self.capacity = capacity
        self.overflow = overflow
        self.items: Deque[Item] = deque()
        # A loop's port and a future of that loop, longest waiting first.
        self.waiters: Deque[Tuple[Any, Any]] = deque()
        self.unread = 0
        self.bytes = 0
        self.held = 0
        self.taken = 0
        self.reported_held = 0
        # With a literal group expiry: when each membership ends; otherwise None.
        self.groups: Dict[str, Optional[float]] = {}
        self.is_watched = False
        self.is_closing = False

    @property
    def needs_report(self) -> bool:
        return self.taken > 0 or self.held != self.reported_held

    @property
    def is_idle(self) -> bool:
        """Whether forgetting it loses nothing."""
        return not (
            self.items or self.waiters or self.groups or self.is_watched or self.is_closing or self.needs_report
        )

    def append(self, message: Waiting) -> None:
        self.items.append(message)
        self.unread += 1
        self.bytes += bytes_of(message)
        if message[3]:
            self.held += 1

    def settle(self, message: Waiting) -> None:
        """Takes a message that has left the items off the account."""
        self.unread -= 1
        self.bytes -= bytes_of(message)
        if message[3]:
            self.held -= 1
        else:
            self.taken += 1

    def note(self, gap: Gap) -> None:
        """Notes a hole behind what has arrived, if anybody reads this channel who wants to hear of holes.

        Between two messages there is one for each reason at most, so that they do not gather without end.
        """
        if not self.is_watched:
            return
        for index in range(len(self.items) - 1, -1, -1):
            known = self.items[index]
            if not isinstance(known, Gap):
                break
            if known.reason == gap.reason and (known.count == 0) == (gap.count == 0):
                both = Gap(self.channel, known.count + gap.count, gap.reason, known.closed or gap.closed)
                self.items[index] = both
                return
        self.items.append(gap)

    def lose(self, reason: int, is_lost: Callable[[Waiting], bool]) -> List[Waiting]:
        """Puts a hole in the place of each message that is lost, and returns those."""
        lost: List[Waiting] = []
        before = self.items
        self.items = deque()
        for item in before:
            if isinstance(item, Gap):
                self.note(item)
            elif is_lost(item):
                lost.append(item)
                self.settle(item)
                self.note(Gap(self.channel, 1, p.REASONS[reason]))
            else:
                self.items.append(item)
        return lost

    def forget_session(self) -> None:
        """The link is gone: the next session knows nothing of what waits here."""
        self.taken = self.reported_held = 0
        self.held = self.unread
        self.items = deque(item if isinstance(item, Gap) else (*item[:3], True, item[4]) for item in self.items)

    def forget_account(self) -> None:
        """The broker has closed its account of this channel."""
        self.taken = self.reported_held = 0

    def flush(self) -> None:
        """Forgets everything but who waits; the broker has forgotten it too."""
        self.items.clear()
        self.unread = self.bytes = self.held = self.taken = self.reported_held = 0
        self.groups.clear()

    def earliest_deadline(self) -> Optional[float]:
        return min((item[0] for item in self.items if not isinstance(item, Gap)), default=None)
