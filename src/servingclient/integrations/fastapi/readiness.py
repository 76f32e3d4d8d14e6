"""Whether a client could answer a call now, without asking anybody for each probe."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Final

from servingclient._async_client import AsyncServingClient
from servingclient.errors import ServingError

_log = logging.getLogger("servingclient.service")

AGAIN_S: Final = 5.0
"""At most so often is the workspace asked on behalf of probes."""
_AHEAD_S: Final = 60.0
"""A token with less left is renewed when a probe comes: without traffic no call does it."""
_PROBE_S: Final = 0.5
"""How long a probe waits for what is under way. Kubernetes gives a probe 1 s."""


class Readiness:
    """One client's route, token and first connection.

    It says nothing of how calls fare: all instances share the endpoint, and if each of them were
    taken out when it fails, nobody would be left to tell callers so.

    Args:
        client: The client.
        warmup_s: Seconds for getting ready.
    """

    def __init__(self, client: AsyncServingClient, warmup_s: float) -> None:
        self._client = client
        self._warmup_s = warmup_s
        self._warming: asyncio.Task[None] | None = None
        self._begun_s = -math.inf
        self._why: str | None = "not warm yet"

    async def warm(self) -> None:
        """Get ready. That it fails is kept, and told by the next probe."""
        self._begun_s = time.monotonic()
        try:
            await self._client.warmup(timeout=self._warmup_s)
        except ServingError as error:
            self._why = type(error).__name__
            _log.warning("not_ready endpoint=%s error=%s", self._client.endpoint, error)
        else:
            self._why = None

    async def why_not(self) -> str | None:
        """Name of what stands against it, or None when it is ready."""
        left_s = self._token_left_s()
        if left_s < _AHEAD_S:
            self._warm_behind()
            if left_s <= 0.0 and self._warming is not None:
                await asyncio.wait({self._warming}, timeout=_PROBE_S)
                left_s = self._token_left_s()
        if left_s > 0.0:
            return None
        return self._why or "no token"

    async def close(self) -> None:
        """End what runs behind the probes."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait({self._warming})

    def _token_left_s(self) -> float:
        token = self._client.stats().token
        if token is None:
            return 0.0
        return math.inf if token.left_s is None else token.left_s

    def _warm_behind(self) -> None:
        running = self._warming is not None and not self._warming.done()
        if not running and time.monotonic() - self._begun_s >= AGAIN_S:
            self._warming = asyncio.create_task(self.warm())
