"""Many keys in one request, both colours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from servingclient._step import run
from servingclient.enrichment.arguments import OnError
from servingclient.enrichment.asked import Asked
from servingclient.enrichment.flight import copied
from servingclient.enrichment.keyed import Keyed
from servingclient.enrichment.keys import Key
from servingclient.enrichment.several import answers
from servingclient.enrichment.tasks import TaskBehind
from servingclient.enrichment.values import Enriched
from servingclient.errors import ClientClosedError, DeadlineExceeded


class _Loading:
    """What loaders of both colours have in common."""

    def __init__(self, keyed: Keyed) -> None:
        self._keyed = keyed
        self._api = keyed.api

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._keyed.source.what!r})"


class Loader(_Loading):
    """Values by key, of an API that takes many keys in one request. Made by ``loader()``."""

    def load_many(
        self, keys: Iterable[Any], *, timeout: float | None = None, on_error: OnError = "raise"
    ) -> dict[Any, Any]:
        """Values by key, in the order of ``keys``; keys that are kept are not asked for.

        Args:
            keys: Text, whole numbers or UUIDs.
            timeout: Seconds for all of them.
            on_error: ``"raise"`` or ``"return"``, as for ``get_many``.

        Raises:
            ServingError: A request failed.
        """
        return run(answers(self._keyed.several(keys, timeout, on_error), self._api.lookup))

    def load(self, key: Any, *, timeout: float | None = None) -> Enriched:
        """The value for one key; among threads each ``load`` is a request of its own.

        Args:
            key: One id.
            timeout: Seconds for the whole call; None takes ``settings.timeout_s`` of the client.

        Raises:
            ServingError: There is none.
        """
        asked = self._keyed.asked(key)
        timeout_s = self._api.timeout_of(timeout)
        found = self._api.lookup.hit(asked.key)
        if found is not None:
            return found
        return run(self._api.lookup.one(self._keyed.source, asked, timeout_s))

    def invalidate(self, key: Any) -> None:
        """Forget the value of one key, here and in the shared cache.

        Raises:
            ConfigError: It cannot be a key.
        """
        run(self._api.invalidate(self._keyed.forgotten(key)))


class _Gathering:
    """Keys that were asked for in one round of a loop."""

    __slots__ = ("asked", "futures", "loop", "timeout_s")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.asked: dict[Key, Asked] = {}
        self.futures: dict[Key, asyncio.Future[Enriched | Exception]] = {}
        self.timeout_s = 0.0

    def answer(self, key: Key, outcome: Enriched | Exception) -> None:
        """Tell those who wait."""
        future = self.futures[key]
        if not future.done():
            future.set_result(outcome)


class AsyncLoader(_Loading):
    """Values by key, of an API that takes many keys in one request. Made by ``loader()``."""

    def __init__(self, keyed: Keyed, behind: TaskBehind) -> None:
        super().__init__(keyed)
        self._behind = behind
        self._gathering: _Gathering | None = None

    async def load_many(
        self, keys: Iterable[Any], *, timeout: float | None = None, on_error: OnError = "raise"
    ) -> dict[Any, Any]:
        """Values by key, in the order of ``keys``; keys that are kept are not asked for.

        Args:
            keys: Text, whole numbers or UUIDs.
            timeout: Seconds for all of them.
            on_error: ``"raise"`` or ``"return"``, as for ``get_many``.

        Raises:
            ServingError: A request failed.
        """
        return await answers(self._keyed.several(keys, timeout, on_error), self._api.lookup)

    async def load(self, key: Any, *, timeout: float | None = None) -> Enriched:
        """The value for one key; those asked for in one round of the loop go in one request.

        Args:
            key: One id.
            timeout: Seconds for the whole call; None takes ``settings.timeout_s`` of the client.

        Raises:
            ServingError: There is none.
        """
        asked = self._keyed.asked(key)
        timeout_s = self._api.timeout_of(timeout)
        found = self._api.lookup.hit(asked.key)
        if found is not None:
            return found
        future = self._gathered(asked, timeout_s)
        # asyncio.wait leaves the future to the others when this caller is cancelled or too late
        await asyncio.wait((future,), timeout=timeout_s)
        if not future.done():
            raise _late(self._keyed.source.what, timeout_s)
        outcome = future.result()
        if isinstance(outcome, Exception):
            raise copied(outcome)
        return outcome

    async def invalidate(self, key: Any) -> None:
        """Forget the value of one key, here and in the shared cache.

        Raises:
            ConfigError: It cannot be a key.
        """
        await self._api.invalidate(self._keyed.forgotten(key))

    def _gathered(self, asked: Asked, timeout_s: float) -> asyncio.Future[Enriched | Exception]:
        """Line up for the request that leaves at the end of this round of the loop."""
        loop = asyncio.get_running_loop()
        gathering = self._gathering
        if gathering is None or gathering.loop is not loop:
            gathering = self._gathering = _Gathering(loop)
            loop.call_soon(self._depart, gathering)
        future = gathering.futures.get(asked.key)
        if future is None:
            gathering.asked[asked.key] = asked
            future = gathering.futures[asked.key] = loop.create_future()
        gathering.timeout_s = max(gathering.timeout_s, timeout_s)
        return future

    def _depart(self, gathering: _Gathering) -> None:
        if self._gathering is gathering:
            self._gathering = None
        if not self._behind.start(lambda: self._ask(gathering)):
            _turn_away(gathering)

    async def _ask(self, gathering: _Gathering) -> None:
        asked = list(gathering.asked.values())
        most = self._api.settings.max_calls
        try:
            outcomes = await self._api.lookup.many(
                self._keyed.source, asked, gathering.timeout_s, most=most
            )
            for one, outcome in zip(asked, outcomes, strict=True):
                gathering.answer(one.key, outcome)
        finally:
            _turn_away(gathering)


def _turn_away(gathering: _Gathering) -> None:
    """Those who have no answer get none: the client was closed, or too much waits already."""
    for key in gathering.futures:
        error = ClientClosedError(
            "The client was closed while the keys were being loaded, or too many loads wait. Keep "
            "it open while calls run, and load fewer keys at once."
        )
        gathering.answer(key, error)


def _late(what: str, timeout_s: float) -> DeadlineExceeded:
    error = DeadlineExceeded(
        f"{what}: no answer within {timeout_s:.2f} s. Allow more time (timeout=), or look why the "
        "API is slow."
    )
    error.stopped_by = "deadline"
    return error
