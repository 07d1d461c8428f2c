"""Who waits for something from the hub: tasks of event loops, and threads."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from typing import Any, Callable, List, Optional, Set, Tuple

from .protocol import FrameReader

NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket that does not block raises when there is nothing to read, or no room."""


GOOD_SECONDS = 1.0
"""A link that lived so long was a good one."""


class Link:
    """One connection with a broker: its socket, what is not written yet, and which loops watch it."""

    def __init__(self, connection: socket.socket, reader: FrameReader) -> None:
        self.socket = connection
        self.reader = reader
        self.unsent = bytearray()
        self.watchers: Set[LoopPort] = set()
        self.is_dead = False
        self.began = time.monotonic()
        # Whether the broker has said that it goes: it comes back, so who looks for it need not be patient.
        self.is_ending = False
        connection.setblocking(False)

    @property
    def is_good(self) -> bool:
        """Whether its end is news: links that end soon after their welcome, each time, are looked for ever less."""
        return self.is_ending or time.monotonic() - self.began >= GOOD_SECONDS

    def end(self) -> None:
        """Shuts the connection. Each loop that watches it sees that, and stops; the last one closes the socket."""
        self.is_dead = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.release(None)

    def release(self, port: Optional[LoopPort]) -> None:
        """A loop watches no more. The descriptor must not be used again before all have stopped."""
        self.watchers = {other for other in self.watchers if other is not port and not other.loop.is_closed()}
        if self.is_dead and not self.watchers:
            self.socket.close()


class LoopPort:
    """What the hub knows of one event loop. Its methods run in that loop's thread."""

    __slots__ = ("is_able", "is_kicked", "link", "loop", "outbox", "pending")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.link: Optional[Link] = None
        # Futures of this loop that wait for the hub.
        self.pending = 0
        # What other threads found for them, given to the loop in one piece.
        self.outbox: List[Tuple[Any, Any]] = []
        self.is_kicked = False
        # Whether the loop can watch descriptors; the proactor of Windows cannot.
        self.is_able = True

    def watch(self, link: Link, serve: Callable[[Link, LoopPort], None]) -> None:
        """Calls `serve` whenever the link can be read, from now on."""
        self.unwatch()
        if link.is_dead or not self.is_able:
            return
        try:
            self.loop.add_reader(link.socket, serve, link, self)
        except NotImplementedError:
            self.is_able = False
            return
        self.link = link
        link.watchers.add(self)

    def unwatch(self) -> None:
        link, self.link = self.link, None
        if link is not None:
            self.loop.remove_reader(link.socket)
            link.release(self)


class ThreadWait:
    """A thread that waits for one answer. While it leads, it reads the link itself."""

    __slots__ = ("gate", "is_done", "leads", "result")

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.is_done = False
        self.leads = False
        self.result: Any = None

    def set(self, result: Any) -> None:
        self.result = result
        self.is_done = True
        self.wake()

    def wake(self) -> None:
        if self.gate.locked():
            try:
                self.gate.release()
            except RuntimeError:
                pass
