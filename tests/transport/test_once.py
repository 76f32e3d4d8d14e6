"""What happens once: whoever is interrupted on the way, nobody else waits in vain."""

from __future__ import annotations

import threading

import pytest

from servingclient._once import Once
from tests.points import Points

WITHIN = "_once"


def waiters(once: Once, count: int = 3) -> list[threading.Thread]:
    """Threads that wait without an end to it."""
    threads = [threading.Thread(target=once.wait, args=(60.0,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def came_through(threads: list[threading.Thread]) -> bool:
    for thread in threads:
        thread.join(5.0)
    return not any(thread.is_alive() for thread in threads)


def test_all_who_wait_come_through() -> None:
    once = Once()
    threads = waiters(once)
    once.set()
    once.set()
    assert came_through(threads)
    assert once.wait(0.0)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.01])
def test_who_waits_in_vain_is_told(seconds: float) -> None:
    assert Once().wait(seconds) is False


def test_it_may_be_waited_for_without_end() -> None:
    once = Once()
    thread = threading.Thread(target=once.wait, args=(float("inf"),))
    thread.start()
    once.set()
    assert came_through([thread])


def test_an_interrupt_at_any_point_of_waiting_holds_up_nobody() -> None:
    points = 0
    while True:
        once, strike = Once(), Points(points + 1, within=WITHIN)
        behind: list[threading.Thread] = []

        def happens(once: Once = once, behind: list[threading.Thread] = behind) -> None:
            behind += waiters(once)  # who comes through first opens it for them
            once.set()

        soon = threading.Timer(0.01, happens)
        soon.start()
        strike.during(lambda once=once: once.wait(5.0))  # type: ignore[misc]
        soon.join()
        assert came_through(behind), strike.struck
        if not strike.struck:
            break
        points += 1
    assert points >= 3


def test_who_is_interrupted_setting_it_sets_it_once_more() -> None:
    once, strike = Once(), Points(2, within=WITHIN)
    threads = waiters(once)
    strike.during(once.set)
    assert strike.struck
    once.set()
    assert came_through(threads)


def test_a_signal_handler_may_set_it_amid_the_wait() -> None:
    points = 0
    while True:
        once = Once()
        strike = Points(points + 1, act=once.set, within=WITHIN)
        strike.during(lambda once=once: once.wait(0.01))  # type: ignore[misc]
        assert once.wait(0.0) is bool(strike.struck)
        if not strike.struck:
            break
        points += 1
    assert points >= 2
