"""The books: every message has a publisher and a number; what each member heard is held against what was sent.

A member must hear each publisher's numbers once and in order. A number it misses is explained, or a violation:

- gap: the member heard nothing later of that publisher until a disturbance of its worker or broker had begun, and the
  message was sent before that disturbance was over; where workers tell their members of gaps, it must have been told
- tail: it was under way when the member's own connection ended
- hole: none of these; it must be covered by a drop that the broker or a worker counted

A message that nobody heard counts once, at its publisher: refused, unknown (its connection broke before the answer), or
within a disturbance. Anything else has vanished.
"""
import bisect
import collections
import contextlib
import time
from array import array

PENDING, ACCEPTED, REFUSED, UNKNOWN = range(4)
NEVER = float("inf")


class Publisher:
    """One source of numbered messages to one room, numbered from 1."""

    def __init__(self, index, room):
        self.index, self.room = index, room
        self.sent_at, self.heard_at = array("d", [0.0]), array("d", [0.0])
        self.fates = bytearray(1)
        self.refusals = 0       # Answers that say "not sent" without saying which.
        self.checked = 0

    @property
    def count(self):
        return len(self.fates) - 1

    def next(self):
        self.sent_at.append(time.monotonic())
        self.heard_at.append(0.0)
        self.fates.append(PENDING)
        return self.count

    def settle(self, number, fate):
        self.fates[number] = fate

    def lose(self, first):
        """The connection broke: nobody will say what became of those still without an answer."""
        for number in range(max(1, first), self.count + 1):
            if self.fates[number] == PENDING and not self.heard_at[number]:
                self.fates[number] = UNKNOWN

    def first_since(self, moment):
        return max(1, bisect.bisect_left(self.sent_at, moment))

    def last_until(self, moment):
        return bisect.bisect_right(self.sent_at, moment) - 1


class Seat:
    """One connection of one member."""

    def __init__(self, room, worker):
        self.room, self.worker = room, worker
        self.joined_at, self.left_at, self.code = time.monotonic(), None, None
        self.told_at = 0.0      # When it was last told that it may have missed something.
        self.last, self.holes = {}, []


class Disturbance:
    """A time in which messages may be lost, because the scenario broke something that promises no more."""

    def __init__(self, workers):
        self.since, self.until, self.workers = time.monotonic(), NEVER, workers

    def explains(self, worker, sent_at, next_heard_at):
        reaches = self.workers is None or worker is None or worker in self.workers
        return reaches and sent_at <= self.until and next_heard_at >= self.since


class Ledger:
    def __init__(self):
        self.publishers, self.seats, self.disturbances = [], [], []
        self.counts, self.violations = collections.Counter(), []
        self.example = ""       # The first delivery that is missing without a gap.
        self.tells = False      # Whether members are told of gaps.

    def publisher(self, room):
        self.publishers.append(Publisher(len(self.publishers), room))
        return self.publishers[-1]

    def seat(self, room, worker):
        self.seats.append(Seat(room, worker))
        return self.seats[-1]

    @contextlib.contextmanager
    def disturbance(self, workers=None):
        """Messages may be lost by members of these workers, all when left out, until the block has ended."""
        disturbance = Disturbance(workers)
        self.disturbances.append(disturbance)
        try:
            yield
        finally:
            disturbance.until = time.monotonic()

    def violate(self, what):
        self.counts["violations"] += 1
        if len(self.violations) < 20:
            self.violations.append(what)

    def hear(self, seat, index, number):
        publisher, now = self.publishers[index], time.monotonic()
        self.counts["delivered"] += 1
        if publisher.room != seat.room or number > publisher.count:
            return self.violate(f"message {number} of publisher {index} reached room {seat.room}")
        last = seat.last.get(index, 0)
        if number > last:
            if number > last + 1:
                seat.holes.append((publisher, last + 1, number - 1, now))
            seat.last[index] = number
        else:
            missed = any(hole[0] is publisher and hole[1] <= number <= hole[2] for hole in seat.holes)
            name = "out_of_order" if missed else "doubled"
            self.counts[name] += 1
            self.violate(f"{name}: message {number} of publisher {index} after {last}, worker {seat.worker}")
        if not publisher.heard_at[number]:
            publisher.heard_at[number] = now

    def leave(self, seat, code):
        if seat.left_at is None:
            seat.left_at, seat.code = time.monotonic(), code

    def reconcile(self):
        """Closes the books over all that was sent so far; who is still there must have heard all of it by now."""
        by_room = collections.defaultdict(list)
        for publisher in self.publishers:
            by_room[publisher.room].append(publisher)
        for seat in self.seats:
            self._check_seat(seat, by_room[seat.room])
        for publisher in self.publishers:
            self._check_publisher(publisher)
        self.seats = [seat for seat in self.seats if seat.left_at is None]
        for seat in self.seats:
            seat.holes, seat.joined_at = [], time.monotonic()
        self.disturbances = [disturbance for disturbance in self.disturbances if disturbance.until == NEVER]

    def _check_seat(self, seat, publishers):
        end = NEVER if seat.left_at is None else seat.left_at
        tails = [(each, seat.last.get(each.index, 0) + 1, each.last_until(end), None) for each in publishers]
        for publisher, first, final, next_heard_at in [*seat.holes, *tails]:
            for number in range(max(first, publisher.first_since(seat.joined_at)), final + 1):
                if publisher.fates[number] == ACCEPTED or publisher.heard_at[number]:
                    self._missed(seat, publisher, number, next_heard_at)

    def _missed(self, seat, publisher, number, next_heard_at):
        self.counts["missed"] += 1
        if next_heard_at is None and seat.left_at is not None:
            self.counts["tail_slow" if seat.code == 1013 else "tail"] += 1
        elif causes := self._causes(seat.worker, publisher.sent_at[number], next_heard_at or NEVER):
            self.counts["gap"] += 1
            if self.tells and seat.told_at < min(cause.since for cause in causes):
                self.violate(f"member of {seat.worker} misses {number} of publisher {publisher.index}, not told")
        else:
            self.counts["holes"] += 1
            if not self.example:
                self.example = (
                    f"a member of room {seat.room} on {seat.worker} misses {number} of publisher {publisher.index},"
                    f" sent at {publisher.sent_at[number]:.3f}; joined {seat.joined_at:.3f}, next heard {next_heard_at}"
                )

    def _causes(self, worker, sent_at, next_heard_at):
        return [each for each in self.disturbances if each.explains(worker, sent_at, next_heard_at)]

    def _check_publisher(self, publisher):
        vanished, next_heard_at = [], NEVER
        for number in range(publisher.count, publisher.checked, -1):
            self.counts["sent"] += 1
            fate, heard_at = publisher.fates[number], publisher.heard_at[number]
            next_heard_at = heard_at or next_heard_at
            if fate == REFUSED:
                self.counts["refused"] += 1
                if heard_at:
                    self.violate(f"message {number} of publisher {publisher.index} was refused and yet delivered")
            elif heard_at or fate == ACCEPTED:
                self.counts["accepted"] += 1
            elif fate == UNKNOWN:
                self.counts["unknown"] += 1
            else:
                vanished.append((number, bool(self._causes(None, publisher.sent_at[number], next_heard_at))))
        publisher.checked = publisher.count
        refused = min(publisher.refusals, len(vanished))
        unexplained = sum(not explained for _, explained in vanished)
        self.counts["refused"] += refused
        self.counts["unknown"] += len(vanished) - refused
        publisher.refusals = 0
        if unexplained > refused:
            self.violate(f"{unexplained - refused} messages of publisher {publisher.index} vanished: {vanished[:3]}")
