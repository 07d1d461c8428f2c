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
import logging
import os
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import protocol as p
from . import requests
from .clock import LinkAge
from .configuration import Configuration
from .exceptions import BrokerUnavailable, ChannelFull, refusal
from .journal import Journal
from .keeper import Keeper
from .policy import Rules
from .ports import NOT_NOW, Link, LoopPort, ThreadWait
from .protocol import Frame, frame
from .resuming import ENDS_SESSION, UNCOUNTED, UNREPORTED_BYTES_MOST, Unconfirmed
from .writing import Writing

READ_BYTES = 65_536
"""One read of the socket."""
UNSENT_BYTES_MOST = 64 * 1_048_576
"""What may wait for a broker that does not read; beyond it a send fails with `ChannelFull`."""
WAITING_MOST = 10_000
WAITING_BYTES_MOST = 64 * 1_048_576
"""Calls, and bytes of messages in them, that may wait for a link; beyond them a call fails at once."""

Action = Callable[[], None]
# The port of a future's loop and the future; no port and a ThreadWait; or neither, where nobody waits.
Waiter = Tuple[Optional[LoopPort], Any]


def message_bytes(operation: int, rest: Tuple[Any, ...]) -> int:
    """Bytes of the message in a request."""
    return len(rest[1]) if operation in (p.SEND, p.GROUP_SEND) else 0


def _has_left(waiter: Waiter) -> bool:
    port, wait = waiter
    return bool(wait.is_done if port is None else wait.done())


class HubBase(Writing):
    """The connection, and calls and their answers."""

    def __init__(self, configuration: Configuration, node: str) -> None:
        super().__init__()
        self.configuration = configuration
        self.journal = Journal(configuration.logger)
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
        # Who waits for a link, whether for longer than the next attempt, and with how many bytes.
        self.arrivals: List[Tuple[Waiter, bool, int]] = []
        self.waiting_bytes = 0
        # How long the session outlives its link, and until when it does.
        self.grace = 0.0
        self.away_until = 0.0
        # Names a session that was given up, until there is another.
        self.given_up_token: Optional[bytes] = None
        # The session has no future: the broker, or this process, has said so.
        self.is_final = False
        # Stands for the session; the id answered last, and bytes that were read since the last report.
        self.session = object()
        self.answered = 0
        self.unreported_bytes = 0
        # When an operator wants this process gone, and why it may not come back.
        self.leave_at: Optional[float] = None
        self.left: Optional[str] = None
        self.calls: Dict[int, Tuple[Optional[LoopPort], Any, Optional[Action]]] = {}

    # What a subclass knows of messages.
    next_expiry: Optional[float]
    rejoin_at: Optional[float]

    def handle(self, fields: Frame, now: float) -> None:
        raise NotImplementedError

    def keep_time(self, now: float) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def leave_for_good(self) -> None:
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
        self.check_outside()
        with self.lock:
            link = self.link
            if link is None:
                return None
            port = self.holder
            if port is None or port.loop is not loop or port.link is not link:
                port = self.port(loop)
            if link.unsent:
                self.check_room(link)
            self.last_id = id = self.last_id + 1
            future = loop.create_future()
            port.pending += 1
            calls = self.calls
            calls[id] = (port, future, action)
            self.write(frame((operation, id) + rest), port, len(calls) > 1)
        return future

    def check_room(self, link: Link) -> None:
        """Raises `ChannelFull` while too much waits for a broker that does not read."""
        if len(link.unsent) > UNSENT_BYTES_MOST:
            raise ChannelFull("the broker does not read: more than 64 MiB wait for it")

    async def call(
        self, operation: int, rest: Tuple[Any, ...], action: Optional[Action] = None, again: bool = False
    ) -> Any:
        """Sends a request and waits for its answer: the value, or `None` for an acknowledgement.

        Without a link: fails with `BrokerUnavailable` when the next attempt to get one does, or after the configured
        time if there is one. `again`: the request may be repeated, so it is until it is answered or its own configured
        time is over.
        """
        loop = asyncio.get_running_loop()
        deadline = self.deadline(again)
        while True:
            future = self.submit(loop, operation, rest, action)
            if future is None:
                await self.ready(loop, deadline, message_bytes(operation, rest))
                continue
            result = await future
            if not isinstance(result, Exception):
                return result
            if not (again and isinstance(result, BrokerUnavailable) and self.is_in_time(deadline)):
                raise result

    def deadline(self, again: bool) -> Optional[float]:
        """Until when a call that may be repeated, or one that may not, waits for a link; `None`: one attempt."""
        patience = self.configuration.patience if again else self.configuration.send_patience
        return time.monotonic() + patience if again or patience > 0 else None

    @staticmethod
    def is_in_time(deadline: Optional[float]) -> bool:
        return deadline is not None and time.monotonic() < deadline

    async def ready(self, loop: asyncio.AbstractEventLoop, deadline: Optional[float], size: int = 0) -> None:
        """Returns when there is a link; without a deadline the next attempt decides. Who came first is told first."""
        with self.lock:
            if self.link is not None:
                return
            self.check_can_wait(deadline, size)
            self.start()
            port = self.port(loop)
            future = loop.create_future()
            port.pending += 1
            self.wait_in_line((port, future), deadline is not None, size)
        wait = None if deadline is None else max(deadline - time.monotonic(), 0)
        try:
            result = await asyncio.wait_for(future, wait)
        except asyncio.TimeoutError:
            raise self.unavailable() from None
        if result is not None:
            raise result

    def check_can_wait(self, deadline: Optional[float], size: int = 0) -> None:
        if self.stopped:
            raise BrokerUnavailable(self.left or "this layer was closed")
        if sys.is_finalizing():
            # Other threads stand still for ever now, the keeper too; to start one may never return.
            raise BrokerUnavailable("there is no link to the broker, and the interpreter is ending")
        if (deadline is None and self.failures > 0) or not self.is_in_time(deadline or float("inf")):
            raise self.unavailable()
        if self._is_crowded(size):
            self.forget_arrivals()
            if self._is_crowded(size):
                waiting = f"{len(self.arrivals)} calls with {self.waiting_bytes} bytes"
                raise BrokerUnavailable(f"{waiting} wait for the broker already: {self.last_failure}")

    def _is_crowded(self, size: int) -> bool:
        return len(self.arrivals) >= WAITING_MOST or self.waiting_bytes + size > WAITING_BYTES_MOST

    def wait_in_line(self, waiter: Waiter, is_patient: bool, size: int) -> None:
        self.arrivals.append((waiter, is_patient, size))
        self.waiting_bytes += size

    def forget_arrivals(self) -> None:
        """Forgets who has stopped waiting for a link."""
        self.arrivals = [item for item in self.arrivals if not _has_left(item[0])]
        self.waiting_bytes = sum(item[2] for item in self.arrivals)

    def unavailable(self) -> BrokerUnavailable:
        return BrokerUnavailable(f"the broker is not reachable: {self.last_failure}")

    def start(self) -> None:
        """Starts the keeper thread, which connects. `BrokerUnavailable` if the process may have no more threads."""
        if self.keeper is not None or self.stopped:
            return
        keeper: Optional[Keeper] = None
        try:
            keeper = Keeper(self)
            keeper.start()
        except (OSError, RuntimeError) as error:
            if keeper is not None:
                keeper.abandon()
            raise BrokerUnavailable(f"the thread that connects cannot be started: {error}") from error
        self.keeper = keeper

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
            except NOT_NOW:
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
                operation = fields[0]
                if operation == p.ACK:
                    self.received += len(fields) - 1
                    self.answered = fields[-1]
                    for id in fields[1:]:
                        entry = calls.pop(id, None)
                        if entry is not None:
                            if entry[2] is not None:
                                entry[2]()
                            self.give(entry[0], entry[1], None)
                else:
                    if operation not in UNCOUNTED:
                        self.received += 1
                    self.handle(fields, now)
        finally:
            self.current = None
        if link.reader.failure is not None:
            self.is_final = True
            self.post(requests.goodbye())
            self.transmit_corked()
            self.broken(link, f"the broker broke the protocol: {link.reader.failure}")
            return
        if self.resume_token is not None:
            batches = self.unconfirmed.batches
            if batches and batches[0][0] < self.answered:
                self.unconfirmed.confirm(self.answered)
            self.unreported_bytes += len(data)
            if self.unreported_bytes > UNREPORTED_BYTES_MOST:
                self.unreported_bytes = 0
                self.must_report = True
        if self.corked or self.must_report or self.pongs:
            self.transmit_corked()
        if self.report_due is None and (self.dirty or self.owes_report):
            self.report_soon(port, False)
        if self.kicked:
            self.kick()

    def answer(self, id: int, result: Any) -> None:
        """Ends a call with a value or an exception."""
        self.answered = id
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
            self.is_final |= code in ENDS_SESSION
            self.journal.log(logging.INFO, "the broker refused: %s", text)

    # MARK: The link comes and goes

    def broken(self, link: Link, reason: str) -> None:
        """Ends a link. The keeper dials again, and the session goes on over the next link if it can."""
        if self.link is not link:
            return
        self.link = None
        self.failures = 0
        self.last_failure = reason
        self.last_word = None
        link.end()
        self.uncork_by = None
        self.pongs.clear()
        if not self.stopped:
            self.journal.log(logging.INFO, "the link to the broker broke: %s", reason)
        if self.resume_token is None or self.stopped or self.is_final:
            self.session_over(reason)
        else:
            # Twice: a broker that starts again begins the grace anew.
            self.away_until = time.monotonic() + self.grace * 2
            # What has gathered is kept for the next link.
            self.transmit_corked()
        if self.keeper is not None:
            self.keeper.wake()

    def give_up_session(self) -> None:
        """Called by the keeper, while there is no link: what could go on can so for a limited time only."""
        with self.lock:
            if self.link is None and self.resume_token is not None and time.monotonic() >= self.away_until:
                self.session_over(self.last_failure)

    def session_over(self, reason: str) -> None:
        """The broker knows nothing of this process any more: calls in flight fail, once."""
        self.given_up_token = self.resume_token or self.given_up_token
        self.resume_token = None
        self.session = object()
        self.unconfirmed = Unconfirmed()
        self.received = self.reported = self.asking_id = self.unreported_bytes = 0
        self.corked.clear()
        self.dirty.clear()
        self.drops.clear()
        self.report_is_urgent = self.must_report = False
        calls, self.calls = self.calls, {}
        self.lost()
        for port, waiter, _ in calls.values():
            # Each has its own: one that is raised by many carries the tracebacks of all who had it before.
            self.give(port, waiter, BrokerUnavailable(f"the link to the broker broke: {reason}"))
        self.kick()

    def lost(self) -> None:
        """The session is over."""
        for box in self.mailboxes.values():
            box.forget_session()

    def attempt_failed(self, reason: str) -> None:
        """Called by the keeper: who does not want to wait longer is told."""
        with self.lock:
            self.failures += 1
            self.last_failure = reason
            for waiter, is_patient, _ in self.arrivals:
                if not is_patient:
                    self.give(*waiter, self.unavailable())
            self.arrivals = [item for item in self.arrivals if item[1]]
            self.forget_arrivals()
            self.kick()

    def resumption(self) -> Tuple[Optional[bytes], int]:
        """What the next hello says of an earlier session: its token, and what has arrived of it.

        Of one that was given up, more has arrived than there can be: a broker that still has it ends it then, and
        lets this process have its node.
        """
        with self.lock:
            if self.resume_token is None:
                return self.given_up_token, p.INT_MOST
            return self.resume_token, self.received

    def connected(self, link: Link, welcome: Dict[str, Any]) -> None:
        """Called by the keeper: takes a new link into use, and goes on with the session or registers again."""
        with self.lock:
            if self.stopped:
                link.end()
                return
            again: Optional[bytes] = None
            if self.resume_token is not None:
                if welcome.get("resumed"):
                    again = self.unconfirmed.resume(welcome["requests"])
                if again is None:
                    self.session_over("the broker did not go on with the session")
                    if welcome.get("resumed"):
                        self._refuse(link)
                        return
            is_new_epoch = welcome["epoch"] != self.welcome.get("epoch")
            self.link = link
            self.welcome = welcome
            self.rules = Rules(welcome["policy"])
            limits = welcome["limits"]
            self.body_bytes = limits["body_bytes"]
            self.names_per_frame = max(limits["names_per_frame"], 1)
            link.reader.limit = limits["frame_bytes"]
            self.age = LinkAge()
            self.heard = time.monotonic()
            self.failures = 0
            self.is_final = False
            self.given_up_token = None
            self.grace = welcome.get("grace_milliseconds", 0) / 1000
            self.resume_token = welcome.get("resume_token") if self.grace > 0 else None
            if again is None:
                self.register(is_new_epoch)
            else:
                link.unsent += again
                self.drain(link)
            self.was_connected = True
            self.transmit_corked()
            for port in list(self.ports.values()):
                if port.pending > 0 or port is self.holder:
                    try:
                        port.loop.call_soon_threadsafe(self.watch_again, port)
                    except RuntimeError:
                        pass
            arrivals, self.arrivals, self.waiting_bytes = self.arrivals, [], 0
            for waiter, _, _ in arrivals:
                self.give(*waiter, None)
            self.kick()

    def _refuse(self, link: Link) -> None:
        """The broker says it has taken requests that were never written: it cannot be gone on with."""
        try:
            link.socket.send(requests.goodbye())
        except OSError:
            pass
        link.end()

    def watch_again(self, port: LoopPort) -> None:
        with self.lock:
            if self.link is not None and port.link is not self.link:
                port.watch(self.link, self.serve)

    def register(self, is_new_epoch: bool) -> None:
        raise NotImplementedError

    def abandon(self) -> None:
        """In the child of a fork: forgets everything of the parent's, whose connection goes on."""
        self.stopped = True
        self.renew_lock()
        link, self.link = self.link, None
        if link is not None:
            link.is_dead = True
            link.socket.close()
        if self.keeper is not None:
            self.keeper.abandon()
            self.keeper = None
