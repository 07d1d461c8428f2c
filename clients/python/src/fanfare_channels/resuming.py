"""What a session needs to go on over another link: `proto/PROTOCOL.md`, section 8.2."""

from __future__ import annotations

from collections import deque
from typing import Deque, Optional, Tuple

from . import protocol as p

UNCOUNTED = frozenset([p.PING, p.CLOCK, p.GOAWAY, p.WELCOME])
"""What a broker writes and does not count; an `ACK` counts once for each id in it."""
ENDS_SESSION = frozenset([1, 2, 3, 5, 6, 7, 9, 33])
"""The errors after which a session does not outlive its link."""
UNREPORTED_BYTES_MOST = 512 * 1_024
"""The broker keeps replies until they are reported as arrived, and bears 1 MiB of them."""
BATCHES_MOST = 256
BYTES_MOST = 1_048_576


class Unconfirmed:
    """Requests that were written and that the broker may not have taken yet, as they were written, in order.

    They are kept by the batch, which is one write. A request with an id has a higher one than all that were written
    before it, so an answer tells that every batch before the one it belongs to was taken.
    """

    __slots__ = ("batches", "bytes", "taken")

    def __init__(self) -> None:
        # The highest id when it was written, how many requests are in it, and their bytes.
        self.batches: Deque[Tuple[int, int, bytes]] = deque()
        self.bytes = 0
        # Requests of the session before these.
        self.taken = 0

    @property
    def is_long(self) -> bool:
        """Whether an answer should be asked for, so that the first of them can be forgotten."""
        return len(self.batches) > BATCHES_MOST or self.bytes > BYTES_MOST

    def keep(self, last_id: int, count: int, data: bytes) -> None:
        self.batches.append((last_id, count, data))
        self.bytes += len(data)

    def confirm(self, id: int) -> None:
        """Forgets what was written before the request with this id, which has been answered."""
        batches = self.batches
        while batches and batches[0][0] < id:
            _, count, data = batches.popleft()
            self.taken += count
            self.bytes -= len(data)

    def resume(self, taken: int) -> Optional[bytes]:
        """Forgets all but what follows the first `taken` requests of the session, and returns that.

        `None`: the broker cannot have taken so many, or so few.
        """
        batches = self.batches
        while batches and self.taken + batches[0][1] <= taken:
            _, count, data = batches.popleft()
            self.taken += count
            self.bytes -= len(data)
        skipped = taken - self.taken
        if skipped < 0 or (skipped and not batches):
            return None
        if skipped:
            last_id, count, data = batches[0]
            rest = _behind(data, skipped)
            batches[0] = (last_id, count - skipped, rest)
            self.bytes -= len(data) - len(rest)
            self.taken = taken
        return b"".join(data for _, _, data in batches)


def _behind(frames: bytes, count: int) -> bytes:
    """`frames` without the first `count` of them."""
    position = 0
    for _ in range(count):
        position += 4 + int.from_bytes(frames[position : position + 4], "big")
    return frames[position:]
