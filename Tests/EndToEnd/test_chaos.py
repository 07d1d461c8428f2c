"""The scenarios of scripts/soak, each a few seconds short: real faults, every message accounted for."""
import asyncio
import pathlib
import random
import sys
import time

import pytest

sys.path.append(str(pathlib.Path(__file__).parents[2] / "scripts"))

from chaos import scenarios
from chaos.ledger import ACCEPTED, Ledger
from chaos.report import Skipped
from chaos.size import SHORT
from chaos.stage import Stage

SEED = 7
# Those of the measurements compare times; here only what they count matters.
NAMES = [*scenarios.SCENARIOS, "restart-10000"]


@pytest.mark.parametrize("name", NAMES)
def test_every_message_is_accounted_for(house, name):
    stage = Stage(house, random.Random(f"{name} {SEED}"))

    async def run():
        try:
            await scenarios.ALL[name](stage, SHORT)
        except Skipped as skipped:
            pytest.skip(str(skipped))
        finally:
            await stage.abandon()

    asyncio.run(run())
    assert not stage.ledger.violations, "\n".join(stage.ledger.violations)
    assert stage.ledger.counts["delivered"] > 0


# The books themselves: they must notice.


@pytest.fixture
def books():
    """A ledger with one member and one publisher, who has sent five messages that were accepted."""
    ledger = Ledger()
    seat, publisher = ledger.seat("room", "worker-1"), ledger.publisher("room")
    for _ in range(5):
        publisher.settle(publisher.next(), ACCEPTED)
    return ledger, seat, publisher


def heard(ledger, seat, *numbers):
    for number in numbers:
        ledger.hear(seat, 0, number)
    return ledger


def test_books_in_which_all_is_heard_once_are_balanced(books):
    ledger, seat, _ = books
    heard(ledger, seat, 1, 2, 3, 4, 5).reconcile()
    assert not ledger.violations and ledger.counts["missed"] == 0
    assert ledger.counts["accepted"] == ledger.counts["delivered"] == 5


@pytest.mark.parametrize(
    "numbers, kind", [([1, 2, 2], "doubled"), ([1, 3, 2], "out_of_order"), ([1, 2, 6], "reached room")]
)
def test_books_notice_what_comes_twice_late_or_from_nowhere(books, numbers, kind):
    ledger, seat, _ = books
    [violation] = heard(ledger, seat, *numbers).violations
    assert kind in violation


@pytest.mark.parametrize("numbers", [[2, 3, 4, 5], [1, 2, 4, 5], [1, 2, 3], []])
def test_books_notice_a_hole_at_the_start_within_and_at_the_end(books, numbers):
    ledger, seat, _ = books
    heard(ledger, seat, *numbers).reconcile()
    assert ledger.counts["holes"] == 5 - len(numbers)


def test_a_disturbance_explains_only_what_was_under_way_in_it(books):
    ledger, seat, publisher = books
    heard(ledger, seat, 1, 3)
    with ledger.disturbance():
        publisher.settle(publisher.next(), ACCEPTED)
    publisher.settle(publisher.next(), ACCEPTED)
    publisher.settle(publisher.next(), ACCEPTED)
    heard(ledger, seat, 8).reconcile()
    # 2 was passed over before it began, 7 was sent after it had ended; 4, 5 and 6 may be lost.
    assert (ledger.counts["gap"], ledger.counts["holes"]) == (3, 2)


@pytest.mark.parametrize("is_told", [True, False])
def test_where_members_are_told_of_gaps_one_that_was_not_is_noticed(books, is_told):
    ledger, seat, _ = books
    ledger.tells = True
    heard(ledger, seat, 1, 2, 3, 4)
    with ledger.disturbance():
        if is_told:
            seat.told_at = time.monotonic()
    ledger.reconcile()
    assert ledger.counts["gap"] == 1
    assert len(ledger.violations) == (0 if is_told else 1)


def test_a_disturbance_of_one_worker_explains_nothing_of_another(books):
    ledger, seat, _ = books
    with ledger.disturbance({"worker-2"}):
        heard(ledger, seat, 1, 2, 3, 5).reconcile()
    assert (ledger.counts["gap"], ledger.counts["holes"]) == (0, 1)


def test_a_member_that_left_misses_only_what_was_sent_before(books):
    ledger, seat, publisher = books
    heard(ledger, seat, 1, 2, 3)
    ledger.leave(seat, 1006)
    publisher.settle(publisher.next(), ACCEPTED)
    ledger.reconcile()
    assert (ledger.counts["tail"], ledger.counts["holes"]) == (2, 0)


def test_a_message_nobody_heard_is_refused_or_has_vanished(books):
    ledger, seat, publisher = books
    heard(ledger, seat, 1, 2, 3, 4, 5)
    publisher.next()
    publisher.next()
    publisher.refusals = 1
    ledger.reconcile()
    assert ledger.counts["refused"] == 1
    [violation] = ledger.violations
    assert "1 messages of publisher 0 vanished" in violation
