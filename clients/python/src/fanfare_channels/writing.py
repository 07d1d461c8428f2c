"""Writing to the broker: what one loop turn gathers leaves in one piece, behind a report of what was taken."""

from __future__ import annotations

import time
from collections import deque
from typing import Deque, Dict, List, Optional, Set, Tuple

from . import requests
from .exceptions import BrokerUnavailable, ChannelFull
from .keeper import Keeper
from .mailbox import Mailbox
from .ports import NOT_NOW, Link, LoopPort
from .resuming import Unconfirmed
from .waiting import Waiting

REPORT_SECONDS = 0.05
"""The protocol's bound for telling the broker what readers took."""
HANDED_OVER_MOST = 1_000
"""Requests that may wait for the keeper because their threads were in the middle of another."""


class Writing(Waiting):
    """Frames on their way to the socket, and the account of what readers took."""

    def __init__(self) -> None:
        super().__init__()
        self.keeper: Optional[Keeper] = None
        self.names_per_frame = 4_096
        self.last_id = 0
        # While there is a session that can go on over another link: its token, and what both sides count.
        self.resume_token: Optional[bytes] = None
        self.received = self.reported = 0
        self.unconfirmed = Unconfirmed()
        # The id of a ping whose answer will confirm requests; 0 when none is on its way.
        self.asking_id = 0
        # Answers to pings, which are no requests.
        self.pongs: List[bytes] = []
        # Frames that leave with the next write, and the loop that has promised one at the end of its turn.
        self.corked: List[bytes] = []
        self.uncork_by: Optional[LoopPort] = None
        self.mailboxes: Dict[str, Mailbox] = {}
        self.dirty: Set[Mailbox] = set()
        self.drops: List[Tuple[str, Optional[str], int, int]] = []
        # Requests of threads that were in the middle of another; nobody needs the lock to add to them.
        self.handed_over: Deque[bytes] = deque()
        # When the timer that reports what is dirty goes off; whether a report leaves at the end of this loop turn.
        self.report_due: Optional[float] = None
        self.report_is_urgent = False
        # Whether what is dirty matters to senders: somebody's room is running out. Else the timer is soon enough.
        self.must_report = False

    def broken(self, link: Link, reason: str) -> None:
        raise NotImplementedError

    @property
    def has_session(self) -> bool:
        """Whether the broker knows this process: also for a while after the link broke, if it can be resumed."""
        return self.link is not None or self.resume_token is not None

    @property
    def owes_report(self) -> bool:
        """Whether the broker keeps replies that have arrived."""
        return self.received != self.reported and self.resume_token is not None

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for the broker to read. May be asked without the lock, though the link may go."""
        link = self.link
        return link is not None and bool(link.unsent)

    def post(self, data: bytes) -> None:
        """Gathers a frame that wants no answer; it leaves with the next write."""
        if self.has_session:
            self.corked.append(data)

    def hand_over_request(self, data: bytes) -> None:
        """Leaves a request that wants no answer to the keeper: for a thread that `check_outside` would turn away.

        It leaves behind what the thread was about to write. Raises `BrokerUnavailable` without a link, `ChannelFull`
        when too many wait.
        """
        if self.link is None:
            raise BrokerUnavailable("the broker is not reachable from within another call")
        if len(self.handed_over) >= HANDED_OVER_MOST:
            raise ChannelFull(f"{HANDED_OVER_MOST} messages sent from within other calls wait already")
        self.handed_over.append(data)
        if self.keeper is not None:
            self.keeper.wake()

    def take_over_requests(self) -> None:
        """Writes what was handed over."""
        if self.handed_over:
            while self.handed_over:
                self.post(self.handed_over.popleft())
            self.transmit_corked()

    def write(self, data: bytes, port: Optional[LoopPort], can_wait: bool) -> None:
        """Writes now, or with everything else of this loop turn when other requests are on their way anyway."""
        if port is not None and (can_wait or self.corked):
            self.corked.append(data)
            # Each loop sees to its own: another may have been closed before it came to write.
            if self.uncork_by is not port:
                self.uncork_by = port
                port.loop.call_soon(self.uncork)
            return
        self.corked.append(data)
        self.transmit_corked()

    def uncork(self) -> None:
        with self.lock:
            self.uncork_by = None
            self.transmit_corked()

    def transmit_corked(self) -> None:
        """Writes what has gathered, behind one report of what was taken if that makes room that may be missed.

        Without a link it is kept for the next, if the session can go on over that.
        """
        corked = self.corked
        if self.must_report or self.drops:
            corked[:0] = self.report()
        if not corked and not self.pongs:
            return
        data = corked[0] if len(corked) == 1 else b"".join(corked)
        if self.resume_token is not None and corked:
            if self.asking_id == 0 and self.unconfirmed.is_long:
                self.asking_id = self.last_id = self.last_id + 1
                corked.append(requests.ping(self.asking_id))
                data += corked[-1]
            self.unconfirmed.keep(self.last_id, len(corked), data)
        corked.clear()
        if self.pongs:
            data = b"".join(self.pongs) + data
            self.pongs.clear()
        link = self.link
        if link is None:
            return
        if link.unsent:
            link.unsent += data
            return
        try:
            count = link.socket.send(data)
        except NOT_NOW:
            count = 0
        except OSError as error:
            self.broken(link, str(error))
            return
        if count < len(data):
            link.unsent += data[count:]
            if self.keeper is not None:
                self.keeper.wake()

    def transmit_unsent(self, link: Link) -> None:
        """Writes what the socket did not take before. Called by the keeper."""
        with self.lock:
            self.drain(link)

    def drain(self, link: Link) -> None:
        try:
            while link.unsent and not link.is_dead:
                del link.unsent[: link.socket.send(link.unsent)]
        except NOT_NOW:
            pass
        except OSError as error:
            self.broken(link, str(error))

    def report(self) -> List[bytes]:
        """Frames that say what was taken and dropped since the last time, and what has arrived."""
        self.report_is_urgent = self.must_report = False
        taken: List[Tuple[str, int, int]] = []
        for box in self.dirty:
            if box.needs_report:
                taken.append((box.channel, box.taken, box.held))
                box.taken = 0
                box.reported_held = box.held
            if box.is_idle and self.mailboxes.get(box.channel) is box:
                del self.mailboxes[box.channel]
        self.dirty.clear()
        drops, self.drops = self.drops, []
        most = max(self.names_per_frame // 2, 1)
        frames: List[bytes] = []
        received = 0 if self.resume_token is None else self.received
        for start in range(0, max(len(taken), len(drops), int(self.owes_report)), most):
            frames.append(requests.report(received, taken[start : start + most], drops[start : start + most]))
        self.reported = self.received
        return frames

    def report_soon(self, port: Optional[LoopPort], is_urgent: bool) -> None:
        """Sees to it that what is dirty is reported: at the end of this loop turn, or within the protocol's bound."""
        self.must_report |= is_urgent
        if is_urgent and not self.report_is_urgent and port is not None:
            self.report_is_urgent = True
            port.loop.call_soon(self.uncork)
        elif self.report_due is None:
            self.report_due = time.monotonic() + (0 if is_urgent else REPORT_SECONDS)
            if port is not None:
                port.loop.call_later(REPORT_SECONDS, self.report_now)
            elif self.keeper is not None:
                self.keeper.wake()

    def report_now(self) -> None:
        with self.lock:
            self.report_due = None
            self.must_report = bool(self.dirty) or self.owes_report
            self.transmit_corked()
