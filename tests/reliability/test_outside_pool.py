"""What psycopg's tests ask of a queue before a pool, asked of both gates; the names are theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from servingclient.settings import Pool, Queue
from servingclient.transport.pool import lane_life_s
from tests.transport.gates import COLOURS, check_books, limiter


@pytest.fixture(params=list(COLOURS))
def full(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A gate with one place, which is taken, and room for three who wait."""
    driven = COLOURS[request.param](limiter(1), Queue(max_calls=3))
    assert driven.arrive().state == "inside"
    yield driven
    driven.close()


def states(*callers: Any) -> list[str]:
    return [caller.state for caller in callers]


def test_queue_size(full: Any) -> None:
    waiting = [full.arrive() for _ in range(3)]
    assert full.arrive().state == "full"
    assert states(*waiting) == ["waits"] * 3
    full.gate.leave()
    full.settle()
    assert full.arrive().state == "waits", "who went in made room for one"


def test_queue_timeout(full: Any) -> None:
    hurried, patient = full.arrive(full.now_s + 1.0), full.arrive(full.now_s + 10.0)
    full.advance(1.5)
    assert states(hurried, patient) == ["late", "waits"]
    check_books(full.gate, 1, 1)


def test_dead_client(full: Any) -> None:
    """Who gave up waiting is not given the place that comes after."""
    gone, patient = full.arrive(full.now_s + 1.0), full.arrive(full.now_s + 10.0)
    full.advance(2.0)
    full.gate.leave()
    full.settle()
    assert states(gone, patient) == ["late", "inside"]
    full.gate.leave()
    check_books(full.gate, 0, 0)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_cancellation_in_queue(full: Any, which: int) -> None:
    waiting = [full.arrive() for _ in range(3)]
    full.cancel(waiting.pop(which))
    check_books(full.gate, 1, 2)
    for caller in waiting:
        full.gate.leave()
        full.settle()
        assert caller.state == "inside"
    full.gate.leave()
    check_books(full.gate, 0, 0)


def test_cancelled_waiter_assigned_conn_is_reclaimed(full: Any) -> None:
    """The turn comes in the instant its waiter goes: it is the next one's."""
    first, second = full.arrive(), full.arrive()
    full.leave_and_cancel(first)
    full.settle()
    assert states(first, second) == ["gone", "inside"]
    full.gate.leave()
    check_books(full.gate, 0, 0)
    assert full.arrive().state == "inside", "the place is there for the next"


def test_closed_queue(full: Any) -> None:
    waiting = [full.arrive() for _ in range(3)]
    full.gate.refuse()
    full.settle()
    assert states(*waiting) == ["closed"] * 3
    assert full.arrive().state == "closed"
    full.gate.leave()
    check_books(full.gate, 0, 0)


def test_jitter() -> None:
    """Lanes do not all end at once: 300 s, a fifth more or less."""
    lives_s = [lane_life_s(Pool(max_age_s=300.0)) for _ in range(2000)]
    assert 240.0 <= min(lives_s) < 250.0
    assert 350.0 < max(lives_s) <= 360.0
    assert 290.0 < sum(lives_s) / len(lives_s) < 310.0
