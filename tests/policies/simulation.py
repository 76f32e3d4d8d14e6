"""Calls against a modelled service on virtual time: a heap of events, no clock, seeded chance."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from servingclient.policies.quota import Quota
from servingclient.policies.retry import FIRST_TRY, Action, Progress, settle
from servingclient.settings import Retry
from tests.policies.cases import ask, reply

CLIENTS = 8
TIMEOUT_S = 30.0
ENDLESS = 10**9
"""A quota of this size is none: the naive control, which proves that the meter measures."""


class Service(Protocol):
    """What answers."""

    def take(self, now_s: float) -> tuple[int, float]:
        """Status of the reply to a request that arrives now, and the instant of the reply."""


@dataclass
class Failing:
    """Fails a share of requests at once."""

    share: float
    chance: random.Random

    def take(self, now_s: float) -> tuple[int, float]:
        return (500 if self.chance.random() < self.share else 200), now_s


@dataclass
class Slots:
    """Works on as many requests at once as it has slots; one more gets a 429 at once."""

    per_s: Callable[[float], float]
    service_s: float = 0.2
    ends: list[float] = field(default_factory=list)

    def take(self, now_s: float) -> tuple[int, float]:
        while self.ends and self.ends[0] <= now_s:
            heapq.heappop(self.ends)
        if len(self.ends) >= round(self.per_s(now_s) * self.service_s):
            return 429, now_s
        heapq.heappush(self.ends, now_s + self.service_s)
        return 200, now_s + self.service_s


@dataclass
class Queue:
    """Works one by one; answers 504 to what waited too long, and has done its work all the same."""

    per_s: Callable[[float], float]
    patience_s: float = 1.0
    free_s: float = 0.0

    def take(self, now_s: float) -> tuple[int, float]:
        start_s = max(self.free_s, now_s)
        self.free_s = start_s + 1.0 / self.per_s(start_s)
        late = self.free_s > now_s + self.patience_s
        return (504, now_s + self.patience_s) if late else (200, self.free_s)


@dataclass
class Told:
    """What happened.

    Attributes:
        calls: Calls that ended.
        sends: Requests the service saw.
        ended: Instant and success of each call.
    """

    calls: int = 0
    sends: int = 0
    ended: list[tuple[float, bool]] = field(default_factory=list)

    @property
    def amplification(self) -> float:
        return self.sends / self.calls

    @property
    def success(self) -> float:
        return sum(good for _, good in self.ended) / self.calls

    def goodput(self, start_s: float, end_s: float) -> float:
        """Successes a second."""
        good = sum(good for at_s, good in self.ended if start_s <= at_s < end_s)
        return good / (end_s - start_s)

    def well_after(self, start_s: float) -> float | None:
        """Seconds from ``start_s`` until every later second has 99 % success; None if never."""
        bad = {int(at_s) for at_s, good in self.ended if not good and at_s >= start_s}
        tally: dict[int, list[bool]] = {}
        for at_s, good in self.ended:
            if int(at_s) in bad:
                tally.setdefault(int(at_s), []).append(good)
        ill = [second for second, goods in tally.items() if sum(goods) < 0.99 * len(goods)]
        last = max((int(at_s) for at_s, _ in self.ended), default=0)
        end = max(ill, default=start_s - 1) + 1 - start_s
        return None if start_s + end >= last else max(end, 0.0)


def steady(per_s: float, duration_s: float, chance: random.Random) -> Iterator[float]:
    """Instants of calls that arrive at random, ``per_s`` a second on average."""
    now_s = chance.expovariate(per_s)
    while now_s < duration_s:
        yield now_s
        now_s += chance.expovariate(per_s)


def simulate(
    service: Service,
    arrivals: Iterator[float],
    settings: Retry | None = None,
    *,
    tokens: int = 500,
    clients: int = CLIENTS,
    seed: int = 0,
) -> Told:
    """Play the calls that arrive, spread over clients with a quota each."""
    settings = settings or Retry()
    chance = random.Random(seed)
    quotas = [Quota(tokens) for _ in range(clients)]
    told, order = Told(), count()
    Event = tuple[float, int, float, int, Progress]  # noqa: N806 - a type
    sends: list[Event] = [
        (at_s, next(order), at_s + TIMEOUT_S, i % clients, FIRST_TRY)
        for i, at_s in enumerate(arrivals)
    ]
    heapq.heapify(sends)
    while sends:
        now_s, _, deadline_s, client, progress = heapq.heappop(sends)
        told.sends += 1
        status, then_s = service.take(now_s)
        quota = quotas[client]
        if status == 200:
            settle(progress, quota, settings)
            told.ended.append((then_s, True))
            continue
        advice = ask(
            reply(status),
            progress,
            settings=settings,
            quota=quota,
            remaining_s=deadline_s - then_s,
            rand=chance.random(),
        )
        if advice.action is Action.STOP:
            told.ended.append((then_s, False))
            continue
        event = (then_s + advice.wait_s, next(order), deadline_s, client, progress.after(advice))
        heapq.heappush(sends, event)
    told.calls = len(told.ended)
    return told
