"""The session of one layer in one process: one connection, whatever loops and threads use it.

```
 tasks of any loop ──┐  submit: under the lock, straight    ┌── the loop that called first watches the socket and
 threads (…_sync)  ──┼─ to the socket; what one loop turn ──┼── hands out what comes; other loops and threads watch
 the keeper thread ──┘  gathers goes in one write           └── while they wait; the keeper when nobody does
```

Everything that can be read at once is read by whoever wakes first, under the lock, and given to those who wait: at
once if they belong to the same loop, otherwise with one wake-up for each loop. Messages stay in their mailbox until a
receive takes them, so a cancelled one loses nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import protocol as p
from .clock import LinkAge
from .configuration import Configuration
from .exceptions import BrokerUnavailable, ChannelFull, refusal
from .keeper import Keeper
from .policy import Rules
from .ports import Link, LoopPort, ThreadWait
from .protocol import Frame, frame
from .writing import Writing

READ_BYTES = 65_536
"""One read of the socket."""
UNSENT_BYTES_MOST = 64 * 1_048_576
"""What may wait for a broker that does not read; beyond it a send fails with `ChannelFull`."""

Action = Callable[[], None]
# The port of a future's loop and the future; no port and a ThreadWait; or neither, where nobody waits.
Waiter = Tuple[Optional[LoopPort], Any]


class HubBase(Writing):
    """The connection, and calls and their answers."""

    def __init__(self, configuration: Configuration, node: str) -> None:
        super().__init__()
        self.configuration = configuration
        self.node = node
        self.pid = os.getpid()
        self.welcome: Dict[str, Any] = {}
        self.rules = Rules(configuration.policy)
        self.body_bytes = 2 * 1_048_576
        self.age = LinkAge()
        # When something was last heard of the broker, and when a thread last waited for it.
        self.heard = self.served = 0.0
        self.reads = 0
        self.stopped = False
        self.was_connected = False
        self.last_failure = "not connected yet"
        self.last_word: Optional[str] = None
        # Attempts that failed since there was a link.
        self.failures = 0
        self.threads: List[ThreadWait] = []
        # Who waits for a link, and whether for longer than the next attempt.
        self.arrivals: List[Tuple[Waiter, bool]] = []

        self.last_id = 0
        self.calls: Dict[int, Tuple[Optional[LoopPort], Any, Optional[Action]]] = {}

    # What a subclass knows of messages.
    next_expiry: Optional[float]

    def handle(self, fields: Frame, now: float) -> None:
        raise NotImplementedError

    def keep_time(self, now: float) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def refused(self, id: int, failure: Exception) -> None:
        raise NotImplementedError

    # MARK: Calls

    def submit(
        self, loop: asyncio.AbstractEventLoop, operation: int, rest: Tuple[Any, ...], action: Optional[Action] = None
    ) -> Optional[asyncio.Future[Any]]:
        """Sends a request and returns the future of its answer; `None` without a link.

        The answer is `None`, a value, or an exception. `action` runs when it passes, in the order of the stream.
        """
        with self.lock:
            link = self.link
            if link is None:
                return None
            port = self.holder
            if port is None or port.loop is not loop or port.link is not link:
                port = self.port(loop)
            if len(link.unsent) > UNSENT_BYTES_MOST:
                raise ChannelFull("the broker does not read: more than 64 MiB wait for it")
            self.last_id = id = self.last_id + 1
            future = loop.create_future()
            port.pending += 1
            calls = self.calls
            calls[id] = (port, future, action)
            self.write(frame((operation, id) + rest), port, len(calls) > 1)
        return future

    async def call(
        self, operation: int, rest: Tuple[Any, ...], action: Optional[Action] = None, again: bool = False
    ) -> Any:
        """Sends a request and waits for its answer: the value, or `None` for an acknowledgement.

        Without a link: fails with `BrokerUnavailable` when the next attempt to get one does. `again`: the request may
        be repeated, so it is until it is answered or the configured time is over.
        """
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + self.configuration.patience
        while True:
            future = self.submit(loop, operation, rest, action)
            if future is None:
                await self.ready(loop, deadline if again else None)
                continue
            result = await future
            if not isinstance(result, Exception):
                return result
            if not (again and isinstance(result, BrokerUnavailable) and time.monotonic() < deadline):
                raise result

    async def ready(self, loop: asyncio.AbstractEventLoop, deadline: Optional[float]) -> None:
        """Returns when there is a link; without a deadline the next attempt decides."""
        with self.lock:
            if self.link is not None:
                return
            self.check_can_wait(deadline)
            port = self.port(loop)
            future = loop.create_future()
            port.pending += 1
            self.arrivals.append(((port, future), deadline is not None))
            self.start()
        wait = None if deadline is None else max(deadline - time.monotonic(), 0)
        try:
            result = await asyncio.wait_for(future, wait)
        except asyncio.TimeoutError:
            raise self.unavailable() from None
        if result is not None:
            raise result

    def check_can_wait(self, deadline: Optional[float]) -> None:
        if self.stopped:
            raise BrokerUnavailable("this layer was closed")
        if deadline is None and self.failures > 0:
            raise self.unavailable()

    def unavailable(self) -> BrokerUnavailable:
        return BrokerUnavailable(f"the broker is not reachable: {self.last_failure}")

    def start(self) -> None:
        """Starts the keeper thread, which connects."""
        if self.keeper is None and not self.stopped:
            self.keeper = Keeper(self)
            self.keeper.start()

    # MARK: Reading

    def serve(self, link: Link, port: Optional[LoopPort]) -> None:
        """Reads what has come and gives it to those who wait. Called by loops, threads that lead, and the keeper."""
        with self.lock:
            if link.is_dead:
                if port is not None and port.link is link:
                    port.unwatch()
                return
            try:
                data = link.socket.recv(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                # Somebody else was faster. A loop that waits for nothing leaves the link to the others.
                if port is not None and port is not self.holder and port.pending <= 0:
                    port.unwatch()
                return
            except OSError as error:
                self.broken(link, str(error))
                return
            if not data:
                self.broken(link, self.last_word or "the broker closed the connection")
                return
            self.accept(link, data, port)

    def accept(self, link: Link, data: bytes, port: Optional[LoopPort]) -> None:
        self.reads += 1
        self.heard = now = time.monotonic()
        self.current = port
        calls = self.calls
        try:
            for fields in link.reader.feed(data):
                if fields[0] == p.ACK:
                    for id in fields[1:]:
                        entry = calls.pop(id, None)
                        if entry is not None:
                            if entry[2] is not None:
                                entry[2]()
                            self.give(entry[0], entry[1], None)
                else:
                    if p.DELIVER <= fields[0] <= p.FLUSHED:
                        self.pushes += 1
                    self.handle(fields, now)
        finally:
            self.current = None
        if link.reader.failure is not None:
            self.broken(link, f"the broker broke the protocol: {link.reader.failure}")
        elif self.corked or self.must_report:
            self.transmit_corked()
        if self.dirty and self.report_due is None:
            self.report_soon(port, False)
        if self.kicked:
            self.kick()

    def answer(self, id: int, result: Any) -> None:
        """Ends a call with a value or an exception."""
        entry = self.calls.pop(id, None)
        if entry is None:
            if isinstance(result, Exception):
                self.refused(id, result)
            return
        port, waiter, action = entry
        if action is not None and not isinstance(result, Exception):
            action()
        self.give(port, waiter, result)

    def heard_error(self, fields: Frame) -> None:
        _, id, code, text, retry = fields
        if id is not None:
            self.answer(id, refusal(code, text, retry))
        else:
            self.last_word = text
            self.configuration.logger.info("the broker refused: %s", text)

    # MARK: The link comes and goes

    def broken(self, link: Link, reason: str) -> None:
        """Ends a link: calls in flight fail, once. The keeper dials again."""
        if self.link is not link:
            return
        self.link = None
        self.failures = 0
        self.last_failure = reason
        self.last_word = None
        link.end()
        self.corked.clear()
        self.dirty.clear()
        self.drops.clear()
        self.report_is_urgent = self.must_report = False
        self.uncork_by = None
        calls, self.calls = self.calls, {}
        failure = BrokerUnavailable(f"the link to the broker broke: {reason}")
        self.lost()
        for port, waiter, _ in calls.values():
            self.give(port, waiter, failure)
        self.kick()
        if self.keeper is not None:
            self.keeper.wake()
        if not self.stopped:
            self.configuration.logger.info("the link to the broker broke: %s", reason)

    def lost(self) -> None:
        """The session is over."""
        for box in self.mailboxes.values():
            box.forget_session()

    def attempt_failed(self, reason: str) -> None:
        """Called by the keeper: who does not want to wait longer is told."""
        with self.lock:
            self.failures += 1
            self.last_failure = reason
            arrivals, self.arrivals = self.arrivals, []
            for waiter, is_patient in arrivals:
                if is_patient:
                    self.arrivals.append((waiter, True))
                else:
                    self.give(*waiter, self.unavailable())
            self.kick()

    def connected(self, link: Link, welcome: Dict[str, Any]) -> None:
        """Called by the keeper: takes a new link into use and registers again what was registered."""
        with self.lock:
            if self.stopped:
                link.end()
                return
            self.link = link
            self.welcome = welcome
            self.rules = Rules(welcome["policy"])
            limits = welcome["limits"]
            self.body_bytes = limits["body_bytes"]
            self.names_per_frame = max(limits["names_per_frame"], 1)
            link.reader.limit = limits["frame_bytes"]
            self.age = LinkAge()
            self.pushes = 0
            self.heard = time.monotonic()
            self.failures = 0
            self.register()
            self.was_connected = True
            self.transmit_corked()
            for port in list(self.ports.values()):
                if port.pending > 0 or port is self.holder:
                    try:
                        port.loop.call_soon_threadsafe(self.watch_again, port)
                    except RuntimeError:
                        pass
            arrivals, self.arrivals = self.arrivals, []
            for waiter, _ in arrivals:
                self.give(*waiter, None)
            self.kick()

    def watch_again(self, port: LoopPort) -> None:
        with self.lock:
            if self.link is not None and port.link is not self.link:
                port.watch(self.link, self.serve)

    def register(self) -> None:
        raise NotImplementedError

    def abandon(self) -> None:
        """In the child of a fork: forgets everything of the parent's, whose connection goes on."""
        self.stopped = True
        self.lock = threading.Lock()
        link, self.link = self.link, None
        if link is not None:
            link.is_dead = True
            link.socket.close()
        if self.keeper is not None:
            self.keeper.abandon()
            self.keeper = None
