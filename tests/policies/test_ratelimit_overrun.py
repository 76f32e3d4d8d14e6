"""How often an API has to refuse a client that listens, by the way in which it tells its limit."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import pytest

from servingclient.emulator.external_limit import Window, headers
from servingclient.policies.ratelimit import Bucket
from servingclient.settings import RateLimit

LIMIT = 30
WALL_S = 1_700_000_000.0
CALLS = 300
AT_ONCE = 16


def played(style: str, took_s: float, window_s: float, *, aligned: bool) -> tuple[int, float]:
    """Calls that were refused of 300 that sixteen workers make, and how long it took."""
    bucket, window = Bucket(RateLimit()), Window()
    events: list[tuple[float, int, Callable[[float], None]]] = []
    order = itertools.count()
    left = CALLS
    refused = 0

    def at(when_s: float, act: Callable[[float], None]) -> None:
        heapq.heappush(events, (when_s, next(order), act))

    def work(now_s: float) -> None:
        if left > 0:
            at(now_s + bucket.reserve(now_s), send)

    def send(now_s: float) -> None:
        at(now_s + took_s / 2, serve)

    def serve(now_s: float) -> None:
        nonlocal left, refused
        if aligned and now_s >= window._ends_s:  # to the clock, and not to the first request
            window._ends_s, window._used = (now_s // window_s + 1) * window_s, 0
        standing = window.take(LIMIT, window_s, now_s)
        left -= not standing.refused
        refused += standing.refused
        lines = headers(style, LIMIT, window_s, standing, WALL_S + now_s)
        reply = [(name.encode(), text.encode()) for name, text in lines]
        status = 429 if standing.refused else 200
        at(now_s + took_s / 2, lambda at_s: learn(at_s, status, reply))

    def learn(now_s: float, status: int, reply: list[tuple[bytes, bytes]]) -> None:
        bucket.learn(status, reply, now_s, WALL_S + now_s)
        work(now_s)

    for _ in range(AT_ONCE):
        at(0.37, work)
    now_s = 0.0
    while events and left > 0:
        now_s, _, act = heapq.heappop(events)
        act(now_s)
    assert left <= 0
    return refused, now_s


@pytest.mark.parametrize("aligned", [True, False], ids=["by the clock", "from the first request"])
@pytest.mark.parametrize("window_s", [1.0, 10.0])
@pytest.mark.parametrize("took_s", [0.002, 0.05, 0.3])
@pytest.mark.parametrize("style", ["ietf", "ietf_07", "ietf_03", "x_seconds", "x_epoch"])
def test_who_is_told_is_not_refused(
    style: str, took_s: float, window_s: float, aligned: bool
) -> None:
    refused, ended_s = played(style, took_s, window_s, aligned=aligned)
    assert refused == 0
    assert ended_s <= 2 * CALLS / LIMIT * window_s  # half of what it would take, at the worst
