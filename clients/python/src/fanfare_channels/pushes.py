"""What a broker pushes: messages, memberships, holes. See `proto/PROTOCOL.md`, section 6; all in stream order."""

from __future__ import annotations

import logging
import math
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from . import protocol as p
from . import requests
from .configuration import Configuration
from .exceptions import BrokerRefused, BrokerUnavailable
from .hub import HubBase
from .mailbox import Gap, Mailbox, Waiting, bytes_of
from .ports import LoopPort
from .protocol import Frame

CHANNEL_BYTES = 64 * 1_048_576
"""Body bytes that wait in one channel; beyond them it is full."""
SWEEP_SECONDS = 0.005
"""A burst that expires bit by bit is looked at that often."""
REJOIN_SECONDS = 5.0
"""When memberships are asked for again that a broker had no room for."""
SHARED_MOST = 65_536
"""Memberships of channels of no process that are remembered; see `remember_shared`."""


class HandOut(NamedTuple):
    """A message of a normal channel, and what gives it back to its place."""

    session: object
    channel: str
    body: bytes
    order: int
    deadline: int
    expires: float
    trace: Optional[Dict[str, str]]


class Reader:
    """A `RECEIVE` that waits at the broker. Without a future it was cancelled, and the broker has not said so yet."""

    __slots__ = ("channel", "future", "port")

    def __init__(self, channel: str, port: Optional[LoopPort], future: Any) -> None:
        self.channel = channel
        self.port = port
        self.future = future


class Listener:
    """Hears the answer of a request no task and no thread waits for."""

    __slots__ = ("set",)

    def __init__(self, hear: Callable[[Any], None]) -> None:
        self.set = hear


class Pushes(HubBase):
    """The mailboxes of this process's channels, its groups, and its receives of normal channels."""

    def __init__(self, configuration: Configuration, node: str) -> None:
        super().__init__(configuration, node)
        self.groups: Dict[str, Dict[str, Mailbox]] = {}
        # Channels of no process that were put into groups here, and until when they are in them.
        self.shared: Dict[Tuple[str, str], float] = {}
        # Groups a new session found no room in for all that were in them, and when they are tried again.
        self.unjoined: Set[str] = set()
        self.rejoin_at: Optional[float] = None
        self.readers: Dict[int, Reader] = {}
        self.unread = 0
        self.next_expiry: Optional[float] = None
        self.gaps_heard: Dict[str, int] = {}
        self.undecodable = 0
        self._handlers: Dict[int, Callable[[Frame, float], None]] = {
            p.DELIVER: self._deliver,
            p.GROUP_DELIVER: self._group_deliver,
            p.HAND_OUT: self._hand_out,
            p.CLOCK: lambda fields, now: self.age.hear(fields[1], now),
            p.ERROR: lambda fields, now: self.heard_error(fields),
            p.RESULT: lambda fields, now: self.answer(fields[1], fields[2]),
            p.PING: lambda fields, now: self.pongs.append(requests.pong(fields[1])),
            p.PONG: lambda fields, now: self._ponged(fields[1]),
            p.GAP: self._gap,
            p.MEMBERS: self._members,
            p.FLUSHED: self._flushed,
            p.GOAWAY: self._goaway,
        }

    def handle(self, fields: Frame, now: float) -> None:
        handler = self._handlers.get(fields[0])
        if handler is not None:
            handler(fields, now)

    def mailbox(self, channel: str) -> Mailbox:
        """The mailbox of a channel of this process, made when it is first needed."""
        box = self.mailboxes.get(channel)
        if box is None:
            box = Mailbox(channel, self.rules.capacity(channel), self.rules.overflow(channel))
            self.mailboxes[channel] = box
        return box

    # MARK: Messages

    def _deliver(self, fields: Frame, now: float) -> None:
        box = self.mailboxes.get(fields[1]) or self.mailbox(fields[1])
        if box.is_closing:
            return
        expires = now + fields[3] / 1000 - self.age.seconds(now)
        trace = fields[4].get("trace") if len(fields) > 4 else None
        message: Waiting = (expires, fields[2], None, False, trace)
        if box.waiters and not box.items and self._hand_over(box, message):
            box.taken += 1
            self.dirty.add(box)
            if box.taken * 4 >= box.capacity or self.rules.is_shared:
                self.must_report = True
            return
        box.append(message)
        self.unread += 1
        if box.waiters:
            self.wake(box)
        if box.overflow == "drop_oldest":
            self._lose_surplus(box)
        if self.next_expiry is None or expires < self.next_expiry:
            self._expire_at(expires)

    def _group_deliver(self, fields: Frame, now: float) -> None:
        _, group, body, remaining = fields[:4]
        options = fields[4] if len(fields) > 4 else {}
        exclude = options.get("exclude", ())
        expires = now + remaining / 1000 - self.age.seconds(now)
        message: Waiting = (expires, body, group, True, options.get("trace"))
        members = list(self.groups.get(group, {}).values())
        if exclude:
            members = [box for box in members if box.channel not in exclude]
        accepted = 0
        is_shared = self.rules.is_shared
        for box in members:
            # A reader that waits takes it before anybody could count it.
            if not is_shared and box.waiters and not box.items and self._hand_over(box, message):
                accepted += 1
            elif self._keep_for(box, message, group):
                accepted += 1
        if self.next_expiry is None or expires < self.next_expiry:
            self._expire_at(expires)
        if "outcome" in options:
            self.post(requests.outcome(options["outcome"], accepted, len(members) - accepted))

    def _hand_over(self, box: Mailbox, message: Waiting) -> bool:
        """Gives a message straight to the reader that waits longest, if it belongs to the loop that is served."""
        port, future = box.waiters[0]
        if port is not self.current or future.done():
            return False
        box.waiters.popleft()
        port.pending -= 1
        future.set_result(message)
        return True

    def _keep_for(self, box: Mailbox, message: Waiting, group: str) -> bool:
        """Lets a group message wait for a member, if that has room."""
        waiting = self.unread if self.rules.is_shared else box.unread
        size = bytes_of(message)
        if (waiting >= box.capacity or box.bytes + size > CHANNEL_BYTES) and not self._make_room(box, size, group):
            return False
        box.append(message)
        self.unread += 1
        if box.waiters:
            self.wake(box)
        else:
            self.dirty.add(box)
            # Direct senders hear of a full channel from the broker, which learns of group messages from here.
            if box.unread * 2 >= box.capacity or self.rules.is_shared:
                self.must_report = True
        return True

    def put_back(self, channel: str, message: Waiting) -> None:
        """Returns a message that was handed over to a reader that was cancelled: to the head, counted as held."""
        box = self.mailbox(channel)
        box.items.appendleft((*message[:3], True, message[4]))
        box.unread += 1
        box.bytes += bytes_of(message)
        box.held += 1
        self.unread += 1
        self.dirty.add(box)
        self.wake(box)
        if self.next_expiry is None or message[0] < self.next_expiry:
            self._expire_at(message[0])

    def _hand_out(self, fields: Frame, now: float) -> None:
        self.answered = fields[1]
        reader = self.readers.pop(fields[1], None)
        if reader is None:
            return
        expires = now + fields[5] / 1000 - self.age.seconds(now)
        trace = fields[6].get("trace") if len(fields) > 6 else None
        hand_out = HandOut(self.session, reader.channel, fields[2], fields[3], fields[4], expires, trace)
        if reader.future is None or not self.give(reader.port, reader.future, hand_out):
            # Cancelled while the message was on its way: it goes back to the head of its queue.
            self.give_back(hand_out)

    def give_back(self, hand_out: HandOut) -> None:
        """Returns a message to its queue, unless the session it was handed out in is over."""
        if hand_out.session is self.session:
            _, channel, body, order, deadline, _, trace = hand_out
            self.post(requests.give_back(None, channel, body, order, deadline, trace))

    def return_result(self, result: Any) -> None:
        if isinstance(result, HandOut):
            self.give_back(result)
            self.transmit_corked()

    def forget_closed(self) -> bool:
        found = super().forget_closed()
        if found:
            # What one was told of somebody else may be waiting for.
            for box in list(self.mailboxes.values()):
                if box.items:
                    self.wake(box)
        return found

    def refused(self, id: int, failure: Exception) -> None:
        reader = self.readers.pop(id, None)
        if reader is not None and reader.future is not None:
            self.give(reader.port, reader.future, failure)

    def wake(self, box: Mailbox) -> None:
        """Tells who waits longest that there is something."""
        while box.waiters:
            port, future = box.waiters.popleft()
            if self.give(port, future, None):
                return

    # MARK: Holes and full channels

    def _gap(self, fields: Frame, now: float) -> None:
        _, name, count, reason = fields[:4]
        closed = bool(fields[4].get("closed", False)) if len(fields) > 4 else False
        word = p.REASONS[reason]
        if name is None:
            self.gaps_heard[word] = self.gaps_heard.get(word, 0) + count
            for box in list(self.mailboxes.values()):
                self._missed(box, Gap(box.channel, count, word), is_counted=False)
            return
        box = self.mailbox(name)
        if closed:
            self.discard(box)
        self._missed(box, Gap(name, count, word, closed))
        self.forget_idle(box)

    def _missed(self, box: Mailbox, gap: Gap, is_counted: bool = True) -> None:
        if is_counted:
            self.gaps_heard[gap.reason] = self.gaps_heard.get(gap.reason, 0) + gap.count
        box.note(gap)
        if box.is_watched:
            self.wake(box)

    def drop(self, channel: str, group: Optional[str], count: int, reason: int) -> None:
        """Counts messages that were lost here; the broker is told with the next report."""
        self.drops.append((channel, group, count, reason))

    def _make_room(self, box: Mailbox, size: int, group: str) -> bool:
        """Does what the overflow policy of a full member says. `False`: the message is not for it."""
        if box.overflow == "drop_oldest":
            while box.unread and (
                (self.unread if self.rules.is_shared else box.unread) >= box.capacity
                or box.bytes + size > CHANNEL_BYTES
            ):
                self._lose_oldest(box, 1)
            if (self.unread if self.rules.is_shared else box.unread) < box.capacity and size <= CHANNEL_BYTES:
                return True
        self.drop(box.channel, group, 1, p.FULL)
        if box.overflow == "disconnect":
            self.ask_to_close(box)
            self.discard(box)
            self._missed(box, Gap(box.channel, 1, "full", True))
        else:
            self._missed(box, Gap(box.channel, 1, "full"))
        return False

    def _lose_surplus(self, box: Mailbox) -> None:
        """Lets the oldest messages fall until the channel, or its process, is within its capacity."""
        waiting = self.unread if self.rules.is_shared else box.unread
        if waiting > box.capacity:
            self._lose_oldest(box, waiting - box.capacity)

    def _lose_oldest(self, box: Mailbox, count: int) -> None:
        left = [count]

        def is_lost(_: Waiting) -> bool:
            left[0] -= 1
            return left[0] >= 0

        self.lose(box, p.FULL, is_lost)

    def lose(self, box: Mailbox, reason: int, is_lost: Callable[[Waiting], bool]) -> None:
        """Puts holes in the place of messages that are lost, and counts them."""
        lost = box.lose(reason, is_lost)
        self.unread -= len(lost)
        for message in lost:
            self.drop(box.channel, message[2], 1, reason)
        if lost:
            self.dirty.add(box)

    def ask_to_close(self, box: Mailbox) -> None:
        """Has the broker forget a channel. What it still sends there until it answers is lost, and counted by it."""
        box.is_closing = True

        def closed() -> None:
            box.is_closing = False
            self.forget_idle(box)

        if self.has_session:
            self.last_id += 1
            self.calls[self.last_id] = (None, None, closed)
            self.corked.extend(self.report())
            self.post(requests.close_channels(self.last_id, [box.channel]))
        else:
            closed()

    def discard(self, box: Mailbox) -> None:
        """Takes a closed channel out of its groups and lets fall what waits in it.

        The broker has counted the messages it knew of; those only this process knew of are counted here.
        """
        for group in list(box.groups):
            self.leave(box.channel, group)
        lost = box.lose(p.OWNER_GONE, lambda _: True)
        self.unread -= len(lost)
        for message in lost:
            if message[3]:
                self.drop(box.channel, message[2], 1, p.OWNER_GONE)
        box.forget_account()
        self.dirty.discard(box)

    def forget_idle(self, box: Mailbox) -> None:
        if box.is_idle and self.mailboxes.get(box.channel) is box:
            del self.mailboxes[box.channel]

    # MARK: Groups

    def join(self, channel: str, group: str, until: Optional[float] = None) -> None:
        box = self.mailbox(channel)
        if not box.is_closing:
            box.groups[group] = until
            self.groups.setdefault(group, {})[channel] = box

    def remember_shared(self, channel: str, group: str, until: float) -> None:
        """A channel of no process was added to a group: a broker that has forgotten everything is told again.

        What was added longest ago is forgotten when there are too many.
        """
        self.shared.pop((group, channel), None)
        if len(self.shared) >= SHARED_MOST:
            del self.shared[next(iter(self.shared))]
        self.shared[group, channel] = until

    def leave(self, channel: str, group: str) -> None:
        self.shared.pop((group, channel), None)
        members = self.groups.get(group)
        box = members.pop(channel, None) if members else None
        if members is not None and not members:
            del self.groups[group]
        if box is not None:
            box.groups.pop(group, None)
            self.forget_idle(box)

    def _members(self, fields: Frame, now: float) -> None:
        for channel in fields[2]:
            self.join(channel, fields[1])
        for channel in fields[3]:
            self.leave(channel, fields[1])

    def _flushed(self, fields: Frame, now: float) -> None:
        for box in list(self.mailboxes.values()):
            box.flush()
            self.forget_idle(box)
        self.unread = 0
        self.groups.clear()
        self.shared.clear()
        self.dirty.clear()
        self.drops.clear()
        self.post(requests.outcome(fields[1], 0, 0))

    # MARK: The session

    def _ponged(self, id: int) -> None:
        self.answered = id
        if id == self.asking_id:
            self.asking_id = 0

    def _goaway(self, fields: Frame, now: float) -> None:
        """The broker is about to stop and comes back, or an operator asks this process to leave and stay away."""
        _, within, reason = fields[:3]
        if len(fields) > 3 and fields[3].get("drain", False):
            self.leave_at = now + within / 1000
            self.journal.log(
                logging.WARNING, "an operator asks this process to leave the broker within %d ms: %s", within, reason
            )
            if self.keeper is not None:
                self.keeper.wake()
        else:
            self.last_word = f"the broker stops: {reason}"
            if self.link is not None:
                self.link.is_ending = True
            self.journal.log(logging.INFO, "the broker stops within %d ms: %s", within, reason)

    # MARK: Time

    def _expire_at(self, expires: float) -> None:
        """Remembers when the next message expires. The keeper looks twice a second; sooner, it has to be woken."""
        self.next_expiry = expires
        if self.keeper is not None and expires - time.monotonic() < 0.6:
            self.keeper.wake()

    def keep_time(self, now: float) -> None:
        """Called by the keeper: turns what has expired into holes, and sees to reports nobody else sends."""
        with self.lock:
            self.forget_closed()
            self.take_over_requests()
            if self.next_expiry is not None and self.next_expiry <= now:
                self._expire(now)
            if self.rejoin_at is not None and self.rejoin_at <= now:
                self._rejoin(now)
            if self.report_due is not None and self.report_due <= now:
                self.report_due = None
                self.report_is_urgent = False
            if (self.dirty or self.drops or self.owes_report) and self.report_due is None:
                self.must_report = True
                self.transmit_corked()
            elif self.corked and now - self.heard > 0.5:
                # A loop that gathered them was closed before it wrote.
                self.transmit_corked()
            self.kick()

    def _expire(self, now: float) -> None:
        self.next_expiry = None
        earliest: List[float] = []
        for box in list(self.mailboxes.values()):
            if not box.unread:
                continue
            deadline = box.earliest_deadline()
            if deadline is not None and deadline <= now:
                self.lose(box, p.EXPIRED, lambda message: message[0] <= now)
                if box.is_watched and box.items:
                    self.wake(box)
                self.forget_idle(box)
                deadline = box.earliest_deadline()
            if deadline is not None:
                earliest.append(deadline)
        if earliest:
            self.next_expiry = max(min(earliest), now + SWEEP_SECONDS)

    def _register_groups(self, now: float) -> List[Tuple[str, List[str], Optional[int]]]:
        """Memberships to add again: the group, its channels, and what is left of their literal lives."""
        found: List[Tuple[str, List[str], Optional[int]]] = []
        for group, members in self.groups.items():
            lives: Dict[Optional[int], List[str]] = {}
            for channel, box in members.items():
                until = box.groups.get(group)
                life = None if until is None else max(math.ceil(until - now), 0) * 1000
                lives.setdefault(life, []).append(channel)
            for life, channels in lives.items():
                for start in range(0, len(channels), self.names_per_frame):
                    found.append((group, channels[start : start + self.names_per_frame], life))
        return found

    def _register_shared(self, now: float, only: Optional[Set[str]] = None) -> None:
        """Adds channels of no process to their groups again, for what is left of their lives; all groups, or `only`."""
        lives: Dict[Tuple[str, int], List[str]] = {}
        for (group, channel), until in list(self.shared.items()):
            if until <= now:
                del self.shared[group, channel]
            elif only is None or group in only:
                lives.setdefault((group, math.ceil(until - now)), []).append(channel)
        for (group, seconds), channels in lives.items():
            for start in range(0, len(channels), self.names_per_frame):
                self._add_again(group, channels[start : start + self.names_per_frame], seconds * 1000)

    def _add_again(self, group: str, channels: List[str], life: Optional[int]) -> None:
        self.last_id += 1
        listener = Listener(lambda result: self._added_again(group, channels, result))
        self.calls[self.last_id] = (None, listener, None)
        self.corked.append(requests.group_add(self.last_id, group, channels, life))

    def _added_again(self, group: str, channels: List[str], result: Any) -> None:
        """What the broker refuses for good is no membership any more; what it has no room for is tried again."""
        if not isinstance(result, Exception) or isinstance(result, BrokerUnavailable):
            return
        may_come = isinstance(result, BrokerRefused) and result.retry
        if group not in self.unjoined:
            what = "trying again" if may_come else "they are in it no more"
            text = "the broker does not take %d members of the group %s back: %s; %s"
            self.journal.log(logging.WARNING, text, len(channels), group, result, what)
        if not may_come:
            for channel in channels:
                self.leave(channel, group)
            return
        self.unjoined.add(group)
        if self.rejoin_at is None:
            self.rejoin_at = time.monotonic() + REJOIN_SECONDS
            if self.keeper is not None:
                self.keeper.wake()

    def _rejoin(self, now: float) -> None:
        """Asks again for all memberships of groups that were refused some; those there are stay as they are."""
        self.rejoin_at = None
        if not self.has_session:
            return
        for group, channels, life in self._register_groups(now):
            if group in self.unjoined:
                self._add_again(group, channels, life)
        self._register_shared(now, self.unjoined)
        self.transmit_corked()

    def register(self, is_new_epoch: bool) -> None:
        """Tells a new session what this process has: memberships, what waits unread, receives that wait."""
        if self.was_connected:
            for box in list(self.mailboxes.values()):
                # What was lost nobody can count; each channel is told once.
                self._missed(box, Gap(box.channel, 0, "owner_gone"))
        now = time.monotonic()
        self.unjoined.clear()
        self.rejoin_at = None
        for group, channels, life in self._register_groups(now):
            self._add_again(group, channels, life)
        if is_new_epoch:
            self._register_shared(now)
        for box in self.mailboxes.values():
            box.is_closing = False
            box.capacity = self.rules.capacity(box.channel)
            box.overflow = self.rules.overflow(box.channel)
            if box.needs_report:
                self.dirty.add(box)
        # Behind the memberships: a report about channels the broker does not know says nothing to it.
        self.corked.extend(self.report())
        for id, reader in list(self.readers.items()):
            if reader.future is None:
                del self.readers[id]
            else:
                self.corked.append(requests.receive(id, reader.channel))
