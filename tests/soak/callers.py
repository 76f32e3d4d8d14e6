"""Callers that call again and again for some time, as tasks or threads."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from servingclient import ServingError
from tests.soak.gauges import Trace

_PAUSE_S = 0.02
_LOOK_OF = 50  # one of so many calls looks at the memory


class Rows(list[Any]):
    """An input whose end can be seen."""


class Calls:
    """What came of the calls so far.

    Attributes:
        made: How many ended.
        outcomes: How often each kind of outcome occurred.
        wrong: Answers that were somebody else's.
        pinned: Errors whose inputs were alive after they had been handled.
    """

    def __init__(self, trace: Trace | None = None) -> None:
        self._trace = trace
        self.made = 0
        self.outcomes: Counter[str] = Counter()
        self.wrong = 0
        self.pinned: Counter[str] = Counter()

    def ended(self, outcome: str) -> None:
        """Count one."""
        self.made += 1
        self.outcomes[outcome] += 1
        if self._trace is not None and self.made % _LOOK_OF == 0:
            self._trace.look(self.made)

    def check(self, predictions: Any, number: int) -> None:
        """Whether an answer is that of its own question."""
        self.wrong += predictions != [float(number)]

    @property
    def good(self) -> int:
        """How many got an answer."""
        return self.outcomes["ok"]


async def tasks(
    client: Any, calls: Calls, seconds: float, callers: int, call: Callable[..., Any] | None = None
) -> None:
    """Let ``callers`` tasks call for so long."""
    until_s = time.monotonic() + seconds
    call = call or _one_task
    await asyncio.gather(*(_task(client, calls, until_s, n, call) for n in range(callers)))


async def _task(client: Any, calls: Calls, until_s: float, first: int, call: Any) -> None:
    number = first
    while time.monotonic() < until_s:
        calls.ended(await call(client, calls, number))
        number += 1_000


async def _one_task(client: Any, calls: Calls, number: int) -> str:
    rows = Rows([{"id": float(number)}])
    watched = weakref.ref(rows)
    asked = client.predict(rows)
    del rows
    try:
        prediction = await asked
    except ServingError as error:
        outcome = type(error).__name__
    else:
        calls.check(prediction.predictions, number)
        return "ok"
    del asked
    # the loop still holds what woke this task, and that the error; and a full queue wants a pause
    await asyncio.sleep(_PAUSE_S if outcome == "QueueFull" else 0.0)
    if watched() is not None:
        calls.pinned[outcome] += 1
    return outcome


def threads(client: Any, calls: Calls, seconds: float, callers: int) -> None:
    """Let ``callers`` threads call for so long."""
    until_s = time.monotonic() + seconds
    lock = threading.Lock()

    def caller(first: int) -> None:
        number = first
        while time.monotonic() < until_s:
            outcome = _one_thread(client, calls, number)
            with lock:
                calls.ended(outcome)
            number += 1_000

    running = [threading.Thread(target=caller, args=(n,)) for n in range(callers)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _one_thread(client: Any, calls: Calls, number: int) -> str:
    rows = Rows([{"id": float(number)}])
    watched = weakref.ref(rows)
    try:
        prediction = client.predict(rows)
    except ServingError as error:
        outcome = type(error).__name__
    else:
        calls.check(prediction.predictions, number)
        return "ok"
    del rows
    if watched() is not None:
        calls.pinned[outcome] += 1
    return outcome


async def cancelled(client: Any, calls: Calls, number: int) -> str:
    """A call whose caller gives up after a moment, which half of them do not survive."""
    timeout_s = _TIMEOUTS_S[number % len(_TIMEOUTS_S)]
    try:
        prediction = await asyncio.wait_for(client.predict([{"id": float(number)}]), timeout_s)
    except (TimeoutError, asyncio.TimeoutError):
        return "cancelled"
    except ServingError as error:
        return type(error).__name__
    calls.check(prediction.predictions, number)
    return "ok"


_TIMEOUTS_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.02, 0.05)
