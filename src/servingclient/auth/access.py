"""Routes and credentials of one endpoint: what is at hand, and how more of it is had.

There is one writer, the flight: ``_renew`` runs at most once at a time, whoever asks for it, and
puts a new ``Book`` in place in one step. Callers only read it, and mark tokens as refused. So there
is no lock here, and nothing a hung login could block but those who have no token at all.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from servingclient._ports import Grant
from servingclient._stats import TokenStats
from servingclient._types import FaultKind, Origin, WireFault
from servingclient.auth.book import Book
from servingclient.auth.credentials import Credentials
from servingclient.auth.description import Asked
from servingclient.auth.endpoint import Description
from servingclient.auth.figures import Answered
from servingclient.auth.origin import check_served_model_name
from servingclient.auth.renewal import Renewal
from servingclient.auth.single_flight import own_copy
from servingclient.auth.token_state import Freshness
from servingclient.auth.workspace import NO_WAY, Ports, no_token
from servingclient.errors import ServingError, TokenRefreshError
from servingclient.payload.signature import Schema
from servingclient.settings import Settings

_log = logging.getLogger("servingclient.token")

_LOOK_AGAIN_S = 1.0
"""While a renewal runs or has failed, how long grants go out before it is looked at again."""


class Access:
    """The ``Access`` port: see :class:`servingclient._ports.Access`.

    Args:
        endpoint: Name of the serving endpoint.
        credentials: From :func:`servingclient.auth.credentials.credentials_from`.
        origin: The workspace, or None where only the credentials will know it.
        settings: Token rules, user headers, trusted hosts and the request limit.
        ports: The world, one set per colour.
        version: The library's version, for ``User-Agent``.
        provisioned: Told how many requests the endpoint works on at once, whenever it is described.

    Raises:
        ConfigError: The endpoint's name, a header or a trusted host is malformed.
    """

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials,
        origin: Origin | None,
        settings: Settings,
        ports: Ports,
        *,
        version: str,
        provisioned: Callable[[int | None], None] = lambda _: None,
    ) -> None:
        self._credentials = credentials
        self._settings = settings
        self._ports = ports
        self._renewal = Renewal(
            endpoint, credentials, origin, settings, ports, version=version, provisioned=provisioned
        )
        self._book: Book | None = None
        self._renewing = False
        self._moved_s = -math.inf

    # ------------------------------------------------------------------ what a call asks

    def ready(self, served_model: str | None, now_s: float) -> Grant | None:
        """The grant at hand, if it is good enough. May start a renewal behind the calls.

        Raises:
            ConfigError: ``served_model`` cannot be the name of one.
        """
        book = self._book
        if book is None:
            return None
        if now_s < book.good_until_s:
            grant = book.grants.get(served_model)
            return grant if grant is not None else book.grant(served_model)
        return self._look_again(book, served_model, now_s)

    async def obtain(self, served_model: str | None, deadline_s: float) -> Grant:
        """Read the endpoint's description and get a token, once for all who wait.

        Raises:
            ConfigError: ``served_model`` is malformed, the endpoint's own URL is not trusted, or
                the endpoint takes OAuth only.
            AuthError: The workspace refuses the credential, or gives no token before
                ``deadline_s`` (``TokenRefreshError``).
            ConnectionFailed: There is no connection to the workspace.
            WireFault: ``TIMEOUT`` with ``sent="no"``: the deadline came first.
        """
        if served_model is not None:
            check_served_model_name(served_model)
        grant = self.ready(served_model, self._now())
        if grant is not None:
            return grant
        error = self._cooling()
        if error is not None:
            raise own_copy(error)
        book = await self._fly(deadline_s)
        if not book.token.usable(self._now()):
            # the flight had begun before this token was refused, or it is very short-lived
            book = await self._fly(deadline_s)
        return book.grant(served_model)

    def reject(self, grant: Grant) -> bool:
        """The service refused this grant's token: never use that token again.

        Returns:
            True when another token can be had; a fixed one stays, there is nothing better.
        """
        if not self._renewal.tokens.refuse(grant.token):
            return False
        book = self._book
        if book is not None and book.token.number == grant.token:
            book.refused()
        return True

    def moved(self, grant: Grant) -> bool:
        """The endpoint's own host no longer knows it: read its description again.

        Returns:
            True when it is worth another try: the address may be, or already is, another one.
        """
        description, book = self._renewal.reading.description, self._book
        if description is None or description.url is None:
            return False
        # without a book another call has heard of it already, and its new token is on its way
        if self._renewal.reading.forced or book is None or not book.leads_to(grant):
            return True
        now_s = self._now()
        if now_s - self._moved_s < self._settings.token.reresolve_min_s:
            return False
        self._moved_s = now_s
        self._renewal.reading.force()
        self._book = None
        return True

    def token_stats(self) -> TokenStats | None:
        """The token in use, for the figures; None before the first."""
        book = self._book
        if book is None:
            return None
        now_s, end_s = self._now(), book.token.span.end_s
        return TokenStats(
            now_s - book.token.since_s,
            None if end_s == math.inf else max(0.0, end_s - now_s),
            book.state.failing,
            book.route_optimized,
        )

    @property
    def description(self) -> Description | None:
        """The endpoint as last described; None before the first call."""
        return self._renewal.reading.description

    @property
    def schema(self) -> Schema | None:
        """What columns the model takes, as last read; None before :meth:`learn`."""
        return self._renewal.schema.schema

    async def learn(self, deadline_s: float) -> None:
        """Read what columns the model takes, once for all who wait, and again when that is old.

        Raises:
            ServingError: As ``obtain``; not for a schema that cannot be had.
            WireFault: Likewise.
        """
        self._renewal.schema.want()
        await self.obtain(None, deadline_s)
        while self._renewal.schema.schema is None:  # the flight just joined may have begun before
            await self._fly(deadline_s)

    async def figures(self, deadline_s: float) -> Answered:
        """Read what the endpoint says of itself; that it cannot be had is an answer.

        Raises:
            ServingError: As ``obtain``.
            WireFault: As ``obtain``.
        """
        number = self._renewal.figures.want()
        while self._renewal.figures.read < number:  # the flight just joined may have begun before
            await self._fly(deadline_s)
        return self._renewal.figures.found

    async def pause(self) -> None:
        """Let others run, where they share this thread."""
        await self._ports.clock.sleep(0.0)

    async def look(self, deadline_s: float) -> Asked | None:
        """Read the endpoint's description as it is now, with a request that runs no model.

        Returns:
            What came of it; None where the settings say not to read it, or where there is no token
            for that although calls still have one.

        Raises:
            ServingError: As ``obtain``.
            WireFault: As ``obtain``.
        """
        if self._settings.describe:
            self._renewal.reading.age()
        await self._fly(deadline_s)
        if self._settings.describe and self._renewal.reading.asked is None:
            await self._fly(deadline_s)  # the flight just joined may have begun before
        return self._renewal.reading.asked

    async def close(self) -> None:
        """End what runs behind the calls."""
        await self._ports.background.close()
        await self._ports.flight.close()

    def __repr__(self) -> str:
        return f"Access({self._renewal.endpoint!r}, {self._credentials!r}, {self._book!r})"

    # ------------------------------------------------------------------ at hand

    def _look_again(self, book: Book, served_model: str | None, now_s: float) -> Grant | None:
        token, state, span = book.token, book.state, book.token.span
        fresh = token.freshness(now_s, tried=self._renewing or state.failing)
        if fresh is Freshness.EXPIRED:
            return None
        again_s = min(self._renewal.reading.again_s, self._renewal.schema.again_s)
        read_again = now_s >= again_s
        if read_again or (fresh is Freshness.STALE and now_s >= state.next_try_s(now_s)):
            self._ports.background.start(self._renew_behind)
        if fresh is Freshness.FRESH:
            until_s = span.stale_s
        else:
            until_s = min(now_s + _LOOK_AGAIN_S, span.due_s if now_s < span.due_s else span.end_s)
        book.good_until_s = min(until_s, now_s + _LOOK_AGAIN_S if read_again else again_s)
        if token.refused:  # meanwhile, from another thread: its close() may have come before ours
            book.close()
            return None
        return book.grant(served_model)

    def _cooling(self) -> ServingError | None:
        """The last failure, if without a usable token it is too early to try again."""
        now_s, described = self._now(), self._renewal.reading.description
        own = described is not None and described.url is not None
        state = self._renewal.tokens.of_endpoint if own else self._renewal.tokens.of_workspace
        return None if state.usable(now_s) is not None else state.cooling(now_s)

    async def _fly(self, deadline_s: float) -> Book:
        try:
            return await self._ports.flight.run(self._renew, deadline_s)
        except WireFault as fault:
            if fault.kind is not FaultKind.TIMEOUT:
                raise
            workspace = self._renewal.workspace
            met = None if workspace is None else workspace.trouble.fault
            if workspace is not None and met is not None and met.kind in NO_WAY:
                raise no_token(met, workspace.host) from fault
            if not self._renewal.tokens.signing_in:
                raise
            if self._renewal.workspace is None:
                host = "databricks-sdk"
                why = (
                    "it may be unable to reach the workspace: check host and network. The first "
                    "use in a process imports it, up to 2 s, which warmup() does beforehand"
                )
            else:
                host = self._renewal.workspace.host
                why = "it cannot be reached, or its login is slow: check host and network"
            late = TokenRefreshError(
                f"No token from {host} within this call's time; {why}. Allow a longer timeout, or "
                "try again later."
            )
            late.retryable = True
            raise late from fault

    async def _renew_behind(self) -> None:
        try:
            await self._ports.flight.run(self._renew, math.inf)
        except (ServingError, WireFault) as error:
            _log.warning("renewal_failed endpoint=%s error=%s", self._renewal.endpoint, error)

    # ------------------------------------------------------------------ the flight

    async def _renew(self) -> Book:
        self._renewing = True
        try:
            self._book = book = await self._renewal.book()
            await self._renewal.read_what_else_is_due(book)
            return book
        finally:
            self._renewing = False

    def _now(self) -> float:
        return self._ports.clock.now()
