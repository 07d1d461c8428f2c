"""Giving those who wait what was found for them, in their own loop or thread."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Callable, Dict, List, Optional

from .ports import Link, LoopPort


class Waiting:
    """The loops a hub has met. The lock guards everything a hub has."""

    def __init__(self) -> None:
        self.renew_lock()
        self.link: Optional[Link] = None
        self.ports: Dict[asyncio.AbstractEventLoop, LoopPort] = {}
        # The loop that watches the link for all, the one that is being served now, and those to be woken behind it.
        self.holder: Optional[LoopPort] = None
        self.current: Optional[LoopPort] = None
        self.kicked: List[LoopPort] = []

    def serve(self, link: Link, port: Optional[LoopPort]) -> None:
        raise NotImplementedError

    def renew_lock(self) -> None:
        """A lock nobody holds. It knows its owner, so that a thread can ask whether that is itself."""
        self.lock = threading.RLock()
        self.is_inside: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined]  # As `Condition` asks.

    def check_outside(self) -> None:
        """Raises `RuntimeError` in a thread that holds the lock already, whose work here is half done.

        It was interrupted by a signal handler, or by a finalizer that the garbage collector ran, and that one calls.
        """
        if self.is_inside():
            raise RuntimeError(
                "a signal handler or a finalizer has interrupted this thread in a call of the layer, and calls it: "
                "send with send_sync(..., wait=False) or group_send_sync(..., wait=False) there, or in another thread"
            )

    def port(self, loop: asyncio.AbstractEventLoop) -> LoopPort:
        """The port of the running loop. The first loop to ask watches the link from then on, until it is closed."""
        port = self.ports.get(loop)
        if port is None:
            self.forget_closed()
            port = self.ports[loop] = LoopPort(loop)
        if self.holder is None or self.holder.loop.is_closed():
            self.holder = port
        if self.link is not None and port.link is not self.link:
            port.watch(self.link, self.serve)
        return port

    def forget_closed(self) -> bool:
        """Forgets loops that were closed. What one had not taken yet goes back; returns whether there was any."""
        found = False
        for loop in [loop for loop in self.ports if loop.is_closed()]:
            outbox = self.ports.pop(loop).outbox
            found = found or bool(outbox)
            for _, result in outbox:
                self.return_result(result)
        return found

    def give(self, port: Optional[LoopPort], waiter: Any, result: Any) -> bool:
        """Gives a waiter its result. `False`: it does not wait any more."""
        if port is None:
            if waiter is not None:
                waiter.set(result)
            return True
        port.pending -= 1
        if waiter.done():
            return False
        if port is self.current:
            waiter.set_result(result)
            return True
        if port.loop.is_closed():
            return False
        port.outbox.append((waiter, result))
        if not port.is_kicked:
            port.is_kicked = True
            self.kicked.append(port)
        return True

    def kick(self) -> None:
        """Wakes the loops something was found for, once each."""
        while self.kicked:
            kicked, self.kicked = self.kicked, []
            for port in kicked:
                port.is_kicked = False
                try:
                    port.loop.call_soon_threadsafe(self.empty, port)
                except RuntimeError:
                    # It was closed a moment ago: what it was told others may have to hear.
                    self.forget_closed()

    def empty(self, port: LoopPort) -> None:
        """Gives the tasks of a loop what other threads found for them, in that loop's thread."""
        with self.lock:
            outbox, port.outbox = port.outbox, []
            for waiter, result in outbox:
                if not waiter.done():
                    waiter.set_result(result)
                else:
                    self.return_result(result)

    def return_result(self, result: Any) -> None:
        """A result that found nobody; a message among them goes back to its queue."""
