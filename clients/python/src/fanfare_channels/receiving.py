"""Receiving, for tasks; calls, for threads; and the end of a hub."""

from __future__ import annotations

import asyncio
import logging
import select
import time
from typing import Any, Optional, Tuple

from . import protocol as p
from . import requests
from .exceptions import BrokerUnavailable
from .hub import Action, message_bytes
from .mailbox import Gap, Item, Mailbox
from .ports import LoopPort, ThreadWait
from .protocol import frame
from .pushes import HandOut, Pushes, Reader

FINISH_SECONDS = 2.0
"""How long what was sent without waiting may take to be written when the layer is closed, or the process ends."""
FINISH_CHECK_SECONDS = 0.1
LEADER_SECONDS = 0.1
"""A thread that reads the link looks that often whether its answer has come another way."""


class Hub(Pushes):
    """Everything a layer needs of its session."""

    # MARK: Channels of this process

    async def take(self, channel: str, hears_gaps: bool = False) -> Item:
        """The next message of a channel of this process, or a hole in its order for who wants to hear of them."""
        loop = asyncio.get_running_loop()
        while True:
            item, future = self.look(channel, loop, hears_gaps)
            if future is not None:
                try:
                    result = await future
                except asyncio.CancelledError:
                    self.leave_line(channel, loop, future)
                    raise
                item = self.found(channel, result)
            if item is not None:
                return item

    def look(
        self, channel: str, loop: asyncio.AbstractEventLoop, hears_gaps: bool = False
    ) -> Tuple[Optional[Item], Optional[asyncio.Future[Any]]]:
        """What stands first in a channel of this process, or a future to wait for, whose result goes to `found`.

        Who stops waiting says so with `leave_line`.
        """
        self.check_outside()
        with self.lock:
            if self.stopped:
                raise BrokerUnavailable(self.left or "this layer was closed")
            box = self.mailboxes.get(channel)
            if box is None:
                box = self.mailbox(channel)
            if hears_gaps:
                box.is_watched = True
            if box.items:
                item = self._pop(box, hears_gaps)
                if item is not None:
                    return item, None
                # It may have been forgotten: nothing is left in it.
                self.mailboxes[channel] = box
            port = self._here(loop)
            future = loop.create_future()
            port.pending += 1
            box.waiters.append((port, future))
            return None, future

    def found(self, channel: str, result: Any) -> Optional[Item]:
        """The message a future brought; `None` when it only brought word of one, or one that has expired since."""
        if type(result) is tuple:
            message: Item = result
            if result[0] > time.monotonic():
                return message
            # It has expired since it was handed over: this loop was busy.
            with self.lock:
                self.drop(channel, result[2], 1, p.EXPIRED)
                self.report_soon(self.holder_here(), False)
        elif result is not None:
            raise result
        return None

    def _here(self, loop: asyncio.AbstractEventLoop) -> LoopPort:
        port = self.holder
        if port is None or port.loop is not loop or port.link is not self.link:
            port = self.port(loop)
        if self.keeper is None:
            self.start()
        return port

    def leave_line(self, channel: str, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
        """A task waits no more. What it had just been given goes back; what it had been told of is told the next."""
        with self.lock:
            box = self.mailboxes.get(channel)
            port = self.ports.get(loop)
            try:
                if box is None or port is None:
                    raise ValueError
                box.waiters.remove((port, future))
                port.pending -= 1
            except ValueError:
                result = future.result() if future.done() and not future.cancelled() else None
                if type(result) is tuple:
                    self.put_back(channel, result)
                    self.report_soon(port, False)
                elif box is not None and box.items:
                    self.wake(box)
                self.kick()
            if box is not None:
                self.forget_idle(box)

    def _pop(self, box: Mailbox, hears_gaps: bool) -> Optional[Item]:
        """What stands first, unless it has expired: then it is a hole, and counted."""
        now = time.monotonic()
        items = box.items
        while items:
            item = items[0]
            if isinstance(item, Gap):
                items.popleft()
                if hears_gaps:
                    return item
                continue
            if item[0] <= now:
                self.lose(box, p.EXPIRED, lambda message: message[0] <= now)
                items = box.items
                self.report_soon(self.holder_here(), False)
                continue
            items.popleft()
            was = box.unread
            box.settle(item)
            self.unread -= 1
            self.dirty.add(box)
            # A channel that is half full has senders who wait for room: they need not wait for the timer.
            is_urgent = was * 2 >= box.capacity or box.taken * 4 >= box.capacity or self.rules.is_shared
            if is_urgent or self.report_due is None:
                self.report_soon(self.holder_here(), is_urgent)
            return item
        return None

    def holder_here(self) -> Optional[LoopPort]:
        """The port of the loop that runs in this thread."""
        try:
            return self.ports.get(asyncio.get_running_loop())
        except RuntimeError:
            return None

    # MARK: Channels anybody may read

    async def take_shared(self, channel: str) -> HandOut:
        """The next message of a normal channel that is handed to this task."""
        self.check_outside()
        loop = asyncio.get_running_loop()
        while True:
            with self.lock:
                if self.stopped:
                    raise BrokerUnavailable(self.left or "this layer was closed")
                port = self._here(loop)
                self.last_id = id = self.last_id + 1
                future = loop.create_future()
                port.pending += 1
                self.readers[id] = Reader(channel, port, future)
                if self.has_session:
                    self.write(frame((p.RECEIVE, id, channel)), port, bool(self.calls))
            try:
                result = await future
            except asyncio.CancelledError:
                self._cancel(id, port, future)
                raise
            if isinstance(result, Exception):
                raise result
            hand_out: HandOut = result
            if hand_out.expires > time.monotonic():
                return hand_out
            # It expired on the way: the broker counts it as such when it comes back, and the wait goes on.
            with self.lock:
                self.give_back(hand_out)

    def _cancel(self, id: int, port: LoopPort, future: asyncio.Future[Any]) -> None:
        """A task waits no more. A message that comes all the same goes back."""
        with self.lock:
            if future.done() and not future.cancelled():
                self.return_result(future.result())
                return
            reader = self.readers.get(id)
            if reader is None:
                return
            port.pending -= 1
            reader.future = None
            if not self.has_session:
                del self.readers[id]
                return
            self.last_id += 1
            self.calls[self.last_id] = (None, None, lambda: self._forget_reader(id))
            self.write(requests.cancel(self.last_id, id), port, False)

    def _forget_reader(self, id: int) -> None:
        self.readers.pop(id, None)

    def count_undecodable(self, channel: str) -> None:
        """Counts a message that was taken and could not be read."""
        with self.lock:
            self.undecodable += 1
            if self.has_session:
                self.drop(channel, None, 1, p.UNDECODABLE)
                self.report_soon(self.holder_here(), False)

    # MARK: Threads

    def call_in_thread(
        self, operation: int, rest: Tuple[Any, ...], action: Optional[Action] = None, again: bool = False
    ) -> Any:
        """`call` for a thread: blocks until the answer has come. May be called where a loop runs, which then stands."""
        self.check_outside()
        deadline = self.deadline(again)
        while True:
            wait = ThreadWait()
            try:
                with self.lock:
                    link = self.link
                    if link is not None:
                        self.check_room(link)
                        self.last_id += 1
                        self.calls[self.last_id] = (None, wait, action)
                        self._line_up(wait)
                        self.write(frame((operation, self.last_id) + rest), None, False)
                        self.kick()
                if link is not None:
                    self._await(wait)
            finally:
                # Also when a signal handler raises, as those of Celery's time limits and of Ctrl-C do.
                self._step_back(wait)
            if link is None:
                self.ready_in_thread(deadline, message_bytes(operation, rest))
                continue
            result = wait.result
            if not isinstance(result, Exception):
                return result
            if not (again and isinstance(result, BrokerUnavailable) and self.is_in_time(deadline)):
                raise result

    def send_in_thread(self, operation: int, rest: Tuple[Any, ...]) -> None:
        """Writes a request that wants no answer. Raises `BrokerUnavailable` when there is no link to write it to."""
        if self.is_inside():
            return self.hand_over_request(frame((operation, None) + rest))
        deadline = self.deadline(False)
        while True:
            with self.lock:
                if self.link is not None:
                    self.check_room(self.link)
                    self.write(frame((operation, None) + rest), None, False)
                    return
            self.ready_in_thread(deadline, message_bytes(operation, rest))

    def ready_in_thread(self, deadline: Optional[float], size: int = 0) -> None:
        """`ready` for a thread."""
        self.check_outside()
        wait = ThreadWait()
        with self.lock:
            if self.link is not None:
                return
            self.check_can_wait(deadline, size)
            self.start()
            self.wait_in_line((None, wait), deadline is not None, size)
        while not wait.is_done:
            if deadline is not None and time.monotonic() >= deadline:
                wait.is_done = True
                raise self.unavailable()
            wait.gate.acquire(timeout=LEADER_SECONDS)
        if wait.result is not None:
            raise wait.result

    def _line_up(self, wait: ThreadWait) -> None:
        """The first thread that waits reads the link for all; the lock is held."""
        wait.leads = not self.threads
        self.threads.append(wait)

    def _await(self, wait: ThreadWait) -> None:
        while not wait.is_done:
            if not wait.leads:
                wait.gate.acquire()
                continue
            link = self.link
            if link is None:
                # The answer was given when the link broke, or is about to be.
                wait.gate.acquire(timeout=LEADER_SECONDS)
                continue
            # The keeper need not read while a thread does.
            self.served = time.monotonic()
            if self._is_readable(link.socket.fileno()):
                self.serve(link, None)

    def _step_back(self, wait: ThreadWait) -> None:
        """A thread waits no more; the one behind it leads now."""
        with self.lock:
            if wait in self.threads:
                self.threads.remove(wait)
            if wait.leads and self.threads:
                self.threads[0].leads = True
                self.threads[0].wake()

    def _is_readable(self, descriptor: int) -> bool:
        if descriptor < 0:
            return False
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(LEADER_SECONDS * 1000))

    # MARK: The end

    def leave_for_good(self) -> None:
        """An operator wants this process gone: the layer of this hub begins no session again."""
        self.left = "an operator has asked this process to leave the broker; restart it to come back"
        self.journal.log(logging.WARNING, "%s", self.left)
        self.close()

    def finish(self, deadline: float) -> None:
        """Blocks until what was sent without waiting has been written, at the latest until `deadline`."""
        while True:
            with self.lock:
                self.take_over_requests()
                link = self.link
                if link is not None and not link.is_dead:
                    self.drain(link)
                if link is None or not link.unsent or link.is_dead:
                    return
                waiting = len(link.unsent)
                poll = select.poll()
                poll.register(link.socket.fileno(), select.POLLOUT)
            left = deadline - time.monotonic()
            if left <= 0:
                # Not through the journal: the process may be about to end.
                self.configuration.logger.warning("the broker does not read: %d bytes for it are lost", waiting)
                return
            poll.poll(min(left, FINISH_CHECK_SECONDS) * 1000)

    def close(self, within: float = FINISH_SECONDS) -> None:
        """Says goodbye, behind what was sent without waiting if the broker takes that within so many seconds.

        Who waits is told; nothing can be sent or received any more. In the middle of a call of the same thread, which
        a signal handler has interrupted, it is left to the keeper.
        """
        if self.is_inside():
            if self.keeper is not None:
                self.keeper.stop()
            return
        if not self.stopped:
            self.finish(time.monotonic() + within)
        with self.lock:
            if self.stopped:
                return
            self.stopped = True
            reason = self.left or "this layer was closed"
            self.last_failure = reason
            link = self.link
            if link is not None:
                self.corked.append(requests.goodbye())
                self.transmit_corked()
                if self.link is link:
                    has_said = not link.unsent
                    self.broken(link, reason)
                    if has_said:
                        self.given_up_token = None
            elif self.resume_token is not None:
                self.session_over(reason)
            for box in self.mailboxes.values():
                while box.waiters:
                    self.give(*box.waiters.popleft(), BrokerUnavailable(reason))
            for reader in self.readers.values():
                if reader.future is not None:
                    self.give(reader.port, reader.future, BrokerUnavailable(reason))
            self.readers.clear()
            for waiter, _, _ in self.arrivals:
                self.give(*waiter, BrokerUnavailable(reason))
            self.arrivals.clear()
            self.kick()
        if self.keeper is not None:
            self.keeper.stop()
