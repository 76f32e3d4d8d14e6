"""The emulator's own queue, played through in virtual time, against what a plan says of it."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from servingclient.capacity import closed_loop, waits
from servingclient.emulator import capacity
from servingclient.emulator.endpoints import EndpointSpec


class World:
    """What happens when: the emulator's clock stands still in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slots: int) -> None:
        self.now_s = 0.0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        monkeypatch.setattr(capacity, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        spec = EndpointSpec(name="busy", slots=slots, queue=1_000_000)
        self.queue = capacity.Capacity(spec)

    def at(self, time_s: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time_s, next(self._order), happens))

    def run(self) -> None:
        while self._events:
            self.now_s, _, happens = heapq.heappop(self._events)
            happens()

    def call(self, service_s: float, done: Callable[[float], None]) -> None:
        """A request now; ``done`` is told how long it waited, when it is answered."""
        came_s = self.now_s

        def start(start_s: float) -> None:
            end_s = start_s + service_s
            self.at(end_s, lambda: self.queue.release(end_s))
            self.at(end_s, lambda: done(start_s - came_s))

        assert self.queue.admit(start)


@pytest.mark.parametrize(("slots", "busy"), [(1, 0.6), (4, 0.7), (16, 0.8)])
@pytest.mark.parametrize("scv", [0.0, 1.0])
def test_calls_wait_there_as_long_as_the_plan_says(
    slots: int, busy: float, scv: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, chance = World(monkeypatch, slots), random.Random(2)
    waited: list[float] = []

    def come(left: int) -> None:
        world.call(chance.expovariate(1.0) if scv else 1.0, waited.append)
        if left:
            world.at(world.now_s + chance.expovariate(slots * busy), lambda: come(left - 1))

    world.at(0.0, lambda: come(40_000))
    world.run()
    late = sorted(waited)[int(0.99 * len(waited))]
    assert waits(slots, slots * busy, scv).quantile(0.99) == pytest.approx(late, rel=0.15)


@pytest.mark.parametrize(
    ("clients", "slots", "qps", "latency_s"),
    # the service's load-test guide: a model of 40 ms behind 10 ms of overhead
    [(1, 1, 20.0, 0.050), (1, 2, 20.0, 0.050), (2, 2, 40.0, 0.050), (2, 1, 25.0, 0.080)],
)
def test_the_load_test_guide(
    clients: int, slots: int, qps: float, latency_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, slots)
    took_s: list[float] = []

    def client(left: int) -> None:
        """The overhead comes before the queue; then the answer, and at once the next call."""
        began_s = world.now_s

        def answered(_: float) -> None:
            took_s.append(world.now_s - began_s)
            if left:
                client(left - 1)

        world.at(began_s + 0.010, lambda: world.call(0.040, answered))

    for _ in range(clients):
        client(99)
    world.run()
    said = closed_loop(clients, slots, 0.040, 0.010)
    assert (said.qps, said.latency_s) == pytest.approx((qps, latency_s))
    assert len(took_s) / world.now_s == pytest.approx(qps, rel=0.02)
    assert sorted(took_s)[len(took_s) // 2] == pytest.approx(latency_s, rel=0.02)
