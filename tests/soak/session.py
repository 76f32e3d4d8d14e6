"""What the parts of a soak share: the other side, settings, bounds, and how to wait for quiet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from servingclient import Settings
from servingclient.settings import Concurrency, Pool
from tests.soak.callers import Calls
from tests.soak.endpoint import LARGEST_REPLY, Endpoint
from tests.soak.gauges import Held, held
from tests.soak.verdicts import Verdict

LANES = 16
ENOUGH_CALLS = 20_000
"""From here on a slope means something; for fewer calls it is the growth that is judged."""
MOST_MB_PER_10_000 = 1.0
_IDLE_WITHIN_S = 3.0

SETTINGS = Settings(
    timeout_s=2.0,
    pool=Pool(max_lanes=LANES, attempt_timeout_s=0.5, max_reply_bytes=LARGEST_REPLY),
    concurrency=Concurrency(initial_calls=LANES),
)


class Soak(NamedTuple):
    """What the parts share.

    Attributes:
        endpoint: The other side.
        seconds: Of the whole soak.
        verdicts: What was found so far.
    """

    endpoint: Endpoint
    seconds: float
    verdicts: list[Verdict]

    def judge(self, part: str, what: str, value: float, **bounds: float) -> None:
        """Note a figure."""
        self.verdicts.append(Verdict(part, what, value, **bounds))


def tell_errors(soak: Soak, part: str, calls: Calls) -> None:
    """Note what calls ended in; nothing of it is judged."""
    for outcome, count in sorted(calls.outcomes.items()):
        if outcome != "ok":
            soak.judge(part, f"calls that ended in {outcome}", count)


async def until_idle(client: Any) -> None:
    """Wait until no call runs: what was given up may take a moment to end."""
    await settled(lambda: busy(client) == 0)


def busy(client: Any) -> int:
    """Calls that run or wait, and connections in use."""
    stats = client.stats()
    lanes = stats.lanes.busy if stats.lanes is not None else 0
    return int(stats.concurrency.in_flight + stats.concurrency.waiting + lanes)


async def settled(done: Callable[[], bool]) -> Held:
    """What is held once something has come about, at the latest after 3 s."""
    until_s = time.monotonic() + _IDLE_WITHIN_S
    await asyncio.sleep(0.05)
    while not done() and time.monotonic() < until_s:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.1)
    return held()
