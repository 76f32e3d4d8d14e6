"""Asking Redis within a time budget, or leaving it alone and seeing to it that somebody looks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from servingclient._ports import Guard
from servingclient.enrichment.redis_bypass import Bypass
from servingclient.enrichment.redis_links import Command, LinkFault, Links, Refused

_log = logging.getLogger("servingclient.enrichment")

_MOST_OVERDUE: Final = 1000
"""Invalidations kept while Redis is away; beyond that everything is invalidated."""


class Until(NamedTuple):
    """When an operation gives up.

    Attributes:
        due_s: The instant.
        whole: Redis had its whole budget by then. A caller with less time left says little.
    """

    due_s: float
    whole: bool


class Asking:
    """Asks over connections of one colour.

    Args:
        links: The connections.
        budget_s: Seconds one operation may take.
        probe_key: A name that holds nothing.
        max_value_bytes: A value larger than this, found when a look-up was late, is removed.
        guard: Makes a few lines atomic.
        now: The monotonic clock.
    """

    def __init__(
        self,
        links: Links,
        *,
        budget_s: float,
        probe_key: str,
        max_value_bytes: int,
        guard: Guard,
        now: Callable[[], float],
    ) -> None:
        self._links = links
        self._budget_s = budget_s
        self._probe_key = probe_key
        self._max_value_bytes = max_value_bytes
        self._guard = guard
        self._now = now
        self._bypass = Bypass(guard)
        self._overdue: dict[Command, None] = {}
        self._suspects: tuple[str, ...] = ()
        self._closed = False

    @property
    def bypassed(self) -> bool:
        """Redis is left alone."""
        return self._bypass.bypassed

    async def aclose(self) -> None:
        """Close its connections; what is still under way then says nothing of Redis."""
        self._closed = True
        await self._links.aclose()

    def until(self, deadline_s: float, since_s: float | None = None) -> Until:
        """The end of an operation, for a caller with that deadline.

        Args:
            deadline_s: The instant at which the caller gives up.
            since_s: When it began to wait for Redis; None is now. What it waits for in turn has one
                budget together, so that a Redis that answers each command just in time is slow too.
        """
        due_s = (self._now() if since_s is None else since_s) + self._budget_s
        return Until(due_s, whole=True) if due_s <= deadline_s else Until(deadline_s, whole=False)

    async def ask(
        self, commands: Sequence[Command], until: Until, *, reads: Sequence[str] = ()
    ) -> list[Any] | None:
        """The replies, or None: left alone, or not answered in time.

        Args:
            commands: What to ask, in one round trip.
            until: When to give up.
            reads: Names of the entries it reads. An error in reply to a look-up is a failure of
                the cache; one in reply to a write, say for want of memory, leaves it readable.
        """
        generation = self._bypass.admit()
        if generation is None:
            self.left_alone()
            return None
        if until.due_s <= self._now():  # spent by what the caller asked before
            if until.whole:
                self._failed(generation, "no reply in time", late=True)
            return None
        try:
            replies = await self._links.run(commands, until.due_s)
        except LinkFault as fault:
            if fault.late and reads:
                self._suspects = tuple(reads)
            self._failed(generation, str(fault), late=fault.late and until.whole)
            return None
        refused = next((one.code for one in replies if isinstance(one, Refused)), None)
        if not reads:  # says nothing of look-ups: an account may be allowed writes alone
            return replies
        if refused is not None:
            self._failed(generation, refused, late=False)
            return None
        self._bypass.succeeded(generation)
        return replies

    def leave(self, what: str) -> None:
        """Leave Redis alone from now on: it did something it must not."""
        generation = self._bypass.admit()
        if generation is not None:
            self._failed(generation, what, late=True)

    def owe(self, commands: Iterable[Command], otherwise: Iterable[Command]) -> None:
        """Leave Redis alone until it has taken ``commands``, which it did not take now.

        Args:
            commands: Invalidations.
            otherwise: What does for all of them, when there are too many.
        """
        with self._guard:
            self._overdue.update(dict.fromkeys(commands))
            if len(self._overdue) > _MOST_OVERDUE:
                self._overdue = dict.fromkeys(otherwise)
        self.leave("an invalidation was not taken")

    def _failed(self, generation: int, what: str, *, late: bool) -> None:
        if not self._closed and self._bypass.failed(generation, self._now(), late=late):
            _log.warning("redis_bypassed reason=%s", what.replace(" ", "_"))

    def left_alone(self) -> bool:
        """Whether Redis is left alone now; sees to it that somebody looks if it is back."""
        if not self._bypass.bypassed:
            return False
        if self._bypass.probe_due(self._now()):
            try:
                self._links.behind(self._probe)
            except LinkFault:
                self._bypass.probed(self._now(), ok=False)
        return True

    async def _probe(self) -> None:
        ok = False
        try:
            ok = await self._is_back()
        except LinkFault:
            pass
        finally:
            self._bypass.probed(self._now(), ok=ok)
        if ok:
            _log.info("redis_back")

    async def _is_back(self) -> bool:
        """Catch up on invalidations, and see whether look-ups are answered in time again. A value
        so large that it made one late is removed: it would do so each time.
        """
        overdue, suspects = list(self._overdue), self._suspects
        commands: list[Command] = [*overdue, ("MGET", self._probe_key)]
        commands += [("STRLEN", name) for name in suspects]
        replies = await self._links.run(commands, self._now() + self._budget_s)
        if any(isinstance(reply, Refused) for reply in replies[: len(overdue)]):
            return False
        sizes = replies[len(overdue) + 1 :]
        huge = [
            name
            for name, size in zip(suspects, sizes, strict=True)
            if isinstance(size, int) and size > self._max_value_bytes
        ]
        if huge:
            await self._links.run([("UNLINK", *huge)], self._now() + self._budget_s)
        with self._guard:
            for command in overdue:
                self._overdue.pop(command, None)
            if self._suspects is suspects:
                self._suspects = ()
        return replies[len(overdue)] == [None] and not self._overdue
