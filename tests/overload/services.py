"""Modelled endpoints: what becomes of a request that arrives now. No clock of their own."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Fate(NamedTuple):
    """Status of a reply, and when it is there."""

    status: int
    at_s: float


class Service(Protocol):
    """An endpoint."""

    def take(self, now_s: float) -> Fate:
        """What becomes of a request that arrives now."""


@dataclass
class Failing:
    """Fails a share of requests."""

    share: Callable[[float], float]
    chance: random.Random
    took_s: float = 0.02

    def take(self, now_s: float) -> Fate:
        failed = self.chance.random() < self.share(now_s)
        return Fate(503 if failed else 200, now_s + self.took_s)


@dataclass
class Slow:
    """Takes a time that changes, and any number at once."""

    took_s: Callable[[float], float]

    def take(self, now_s: float) -> Fate:
        return Fate(200, now_s + self.took_s(now_s))


@dataclass
class Slots:
    """Works on as many requests at once as it has slots; one more gets a 429 at once."""

    count: Callable[[float], float]
    took_s: float = 0.2
    ends: list[float] = field(default_factory=list)

    def take(self, now_s: float) -> Fate:
        while self.ends and self.ends[0] <= now_s:
            heapq.heappop(self.ends)
        if len(self.ends) >= round(self.count(now_s)):
            return Fate(429, now_s + 0.001)
        heapq.heappush(self.ends, now_s + self.took_s)
        return Fate(200, now_s + self.took_s)


@dataclass
class Queue:
    """Works one by one; answers 504 to what waited too long, and has done its work all the same.

    Without patience it answers whatever it takes, and works for callers who have long gone.
    """

    per_s: Callable[[float], float]
    patience_s: float = 1.0
    free_s: float = 0.0

    def take(self, now_s: float) -> Fate:
        start_s = max(self.free_s, now_s)
        self.free_s = start_s + 1.0 / self.per_s(start_s)
        late = self.free_s > now_s + self.patience_s
        return Fate(504, now_s + self.patience_s) if late else Fate(200, self.free_s)
