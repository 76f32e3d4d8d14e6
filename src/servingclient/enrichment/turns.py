"""When a call to an API leaves: not while it is left alone, no faster than it wants, in its turn.

Pure: written once as ``async def`` over ports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from servingclient.enrichment import explain
from servingclient.enrichment.fetch_ports import Ports
from servingclient.policies.breaker import Pass

_EARLY_S: Final = 0.01
"""A wait that ends so much before its time was ended by somebody; less is the timer's."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Says when calls of one client leave.

    Attributes:
        ports: The world.
    """

    ports: Ports

    def admitted(self, what: str, now_s: float) -> Pass | None:
        """Leave of the breaker; None where there is none.

        Raises:
            CircuitOpen: The API is left alone.
        """
        breaker = self.ports.breaker
        if breaker is None:
            return None
        leave = breaker.admit(now_s)
        if leave is None:
            raise explain.circuit_open(what, breaker.retry_after_s(now_s))
        return leave

    async def taken(
        self,
        what: str,
        size_bytes: int,
        leave: Pass | None,
        now_s: float,
        latest_s: float,
        *,
        again: bool,
    ) -> None:
        """Wait for what the rate limit says, then for a place; both until ``latest_s``.

        Raises:
            Throttled: The rate limit would take longer.
            QueueFull: Too many wait.
            CircuitOpen: The API began to fail meanwhile.
            WireFault: ``latest_s`` came first, or the client was closed.
        """
        ports = self.ports
        go_s = await self._paced(what, now_s, latest_s)
        try:
            if not ports.gate.try_enter():
                await ports.gate.enter(latest_s, 1, size_bytes, again=again)
        except BaseException:  # it does not go after all: the token is another's
            ports.bucket.unreserve(ports.now(), go_s)
            raise
        breaker = ports.breaker
        if leave is not None and breaker is not None and not breaker.stands(leave):
            # opened while this call waited, and with it a thousand others
            now_s = ports.now()
            ports.gate.leave()
            ports.bucket.unreserve(now_s, go_s)
            raise explain.circuit_open(what, breaker.retry_after_s(now_s))

    async def _paced(self, what: str, now_s: float, latest_s: float) -> float:
        """Wait for what the rate limit says, anew when the API asks for a pause meanwhile.

        Returns:
            The instant the token is for.
        """
        ports = self.ports
        while True:
            left_s = latest_s - now_s
            most_s = math.nextafter(max(0.0, left_s), 0.0)  # all of it leaves no time to ask
            wait_s = ports.bucket.reserve(now_s, most_s)
            go_s = now_s + wait_s
            if wait_s <= 0.0:
                return go_s
            if wait_s > most_s:
                asked = ports.bucket.held_up(now_s)
                raise explain.too_fast(what, wait_s, left_s, asked=asked)
            try:
                await ports.sleep(wait_s)
            except BaseException:
                ports.bucket.unreserve(ports.now(), go_s)
                raise
            now_s = ports.now()
            # ended early, it was the client that closed: the gate will say so
            if now_s < go_s - _EARLY_S or not ports.bucket.paused(now_s):
                return go_s
            ports.bucket.unreserve(now_s, go_s)
