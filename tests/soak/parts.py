"""The parts of a soak. Each makes a client, loads it for its share of the time and judges.

Bounds are those the project sets itself: 1 MB for 10,000 calls after a warm-up, nothing left 3 s
after the last call, 0.1 objects a call, 110 to 135 renewals in 10 minutes of tokens that live 5 s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import httpx

from servingclient.settings import Batching
from tests.soak.churn import churn
from tests.soak.overload import intake, outage
from tests.soak.session import SETTINGS, Soak
from tests.soak.steady import steady_tasks, steady_threads
from tests.soak.tokens import tokens


class Part(NamedTuple):
    """One of them.

    Attributes:
        run: Given the soak, the part's name and its share.
        share: Of the time of the whole soak; 0 takes the few seconds that it takes.
    """

    run: Callable[[Soak, str, float], None]
    share: float


def _httpx_tasks(soak: Soak, part: str, share: float) -> None:
    steady_tasks(soak, part, share, settings=SETTINGS, transport=httpx.AsyncHTTPTransport())


def _batched(soak: Soak, part: str, share: float) -> None:
    steady_tasks(soak, part, share, settings=SETTINGS.replace(batching=Batching()))


def _lanes(soak: Soak, part: str, share: float) -> None:
    steady_tasks(soak, part, share, settings=SETTINGS)


def _lanes_threads(soak: Soak, part: str, share: float) -> None:
    steady_threads(soak, part, share, settings=SETTINGS)


def _mixed(soak: Soak, part: str, share: float) -> None:
    steady_tasks(soak, part, share, "mixed", settings=SETTINGS)


def _mixed_threads(soak: Soak, part: str, share: float) -> None:
    steady_threads(soak, part, share, "mixed", settings=SETTINGS)


PARTS: dict[str, Part] = {
    "tasks": Part(_lanes, 0.16),
    "threads": Part(_lanes_threads, 0.14),
    "batched tasks": Part(_batched, 0.08),
    "httpx tasks": Part(_httpx_tasks, 0.10),
    "mixed, tasks": Part(_mixed, 0.16),
    "mixed, threads": Part(_mixed_threads, 0.10),
    "churn": Part(churn, 0.10),
    "tokens": Part(tokens, 0.12),
    "outage": Part(outage, 0.04),
    "intake": Part(intake, 0.0),
}
"""By name."""
