"""Requests to the workspace itself: tokens and descriptions, with small retries of their own.

This is the only layer that tries such a request again; nothing above or below it does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from servingclient._ports import Background, Clock, Random, SingleFlight, Wire
from servingclient._types import FaultKind, Origin, Reply, Target, WireFault
from servingclient.auth import oidc, token_state
from servingclient.auth.blocking import Blocking
from servingclient.auth.headers import make_target, standard_headers
from servingclient.auth.secret import Secret, SecretHeaders
from servingclient.auth.token_state import Span
from servingclient.errors import (
    ClientClosedError,
    ConnectionFailed,
    ServingError,
    TLSError,
    TokenRefreshError,
)
from servingclient.settings import Token as Rules

_MOST_TRIES = 3
_PAUSE_S = 0.2
"""Longest pause before the second try, at random from 0; before the third twice that. A token is
awaited by users, so it is tried again sooner than a call."""

_QUICK_FAULTS = (
    FaultKind.NOT_CONNECTED,
    FaultKind.NO_NAME,
    FaultKind.STALE,
    FaultKind.CUT_OFF,
)
# TIMEOUT is not among them: a hung login stays hung, and everyone would wait for it twice.


class Flight(SingleFlight, Protocol):
    """A single flight that can be ended."""

    async def close(self) -> None:
        """End the action under way."""


class Behind(Background, Protocol):
    """A background that can be ended."""

    async def close(self) -> None:
        """End the action under way."""


class Ports(NamedTuple):
    """What auth needs from the world; one set per colour, the last three per endpoint."""

    wire: Wire
    clock: Clock
    random: Random
    flight: Flight
    background: Behind
    blocking: Blocking


class Trouble:
    """What the latest request to a workspace met.

    Attributes:
        fault: Why its last try had no reply; None where there was one.
    """

    __slots__ = ("fault",)

    def __init__(self) -> None:
        self.fault: WireFault | None = None


class SignedIn(NamedTuple):
    """A credential that was just had."""

    headers: SecretHeaders
    span: Span


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace, as credentials and endpoint descriptions are asked of it.

    Attributes:
        origin: Where it is.
        ports: The world.
        rules: Time-outs and margins.
        version: The library's version, for ``User-Agent``.
        trouble: What its latest request met, for those who wait for it and leave before its end.
    """

    origin: Origin
    ports: Ports
    rules: Rules
    version: str
    trouble: Trouble = field(default_factory=Trouble, compare=False)

    @property
    def host(self) -> str:
        """Host name for messages."""
        return self.origin.host

    def limit(self) -> float:
        """Instant at which a refresh that starts now is over."""
        return self.ports.clock.now() + self.rules.timeout_s

    async def ask(self, target: Target, body: bytes) -> Reply:
        """One request, tried again after quick failures while the refresh has time left.

        Raises:
            WireFault: The last try got no reply.
        """
        clock, limit_s = self.ports.clock, self.limit()
        max_idle_s, tries = math.inf, 1
        self.trouble.fault = None
        while True:
            outcome = await self._try(target, body, limit_s, max_idle_s)
            self.trouble.fault = outcome if isinstance(outcome, WireFault) else None
            pause_s = self.ports.random.random() * _PAUSE_S * tries
            late = clock.now() + pause_s >= limit_s
            if tries == _MOST_TRIES or late or not _worth_another_try(outcome):
                break
            if isinstance(outcome, WireFault):
                max_idle_s = 0.0  # that connection was dead: other idle ones may be, too
            tries += 1
            await clock.sleep(pause_s)
        if isinstance(outcome, WireFault):
            raise outcome
        return outcome

    async def get(
        self, path: str, credential: SecretHeaders, accept: str = "application/json"
    ) -> Reply:
        """Read something about an endpoint.

        Raises:
            WireFault: The last try got no reply.
        """
        carried = tuple((name, value.reveal()) for name, value in credential)
        wanted = standard_headers(self.version, content_type=None, extra=(("Accept", accept),))
        headers = (*wanted, *carried)
        return await self.ask(make_target(self.origin, "GET", path, headers), b"")

    async def _try(
        self, target: Target, body: bytes, limit_s: float, max_idle_s: float
    ) -> Reply | WireFault:
        deadline_s = min(self.ports.clock.now() + self.rules.try_timeout_s, limit_s)
        try:
            return await self.ports.wire.send(target, body, deadline_s, max_idle_s=max_idle_s)
        except WireFault as fault:
            return fault

    async def redeem(self, login: oidc.Login) -> SignedIn:
        """A bearer token from the workspace's token endpoint.

        Raises:
            TokenRefreshError: It gave none.
            PermissionDenied: It says the principal may not query the endpoint.
            ConnectionFailed: There is no connection to it.
        """
        asked_s = self.ports.clock.now()
        try:
            reply = await self.ask(self._token_target(login), login.body())
        except WireFault as fault:
            # without its frames: error trackers show their values, and these hold the secret
            raise no_token(fault, self.host) from fault.with_traceback(None)
        if reply.status != 200:
            raise oidc.refusal(reply.status, reply.body, self.host, login)
        issued = oidc.read_token(reply.body, self.host)
        chance = self.ports.random.random()
        span = token_state.plan(asked_s, issued.lifetime_s, self.rules, chance)
        return SignedIn(bearer(issued.access_token), span)

    def _token_target(self, login: oidc.Login) -> Target:
        headers = standard_headers(self.version, content_type="application/x-www-form-urlencoded")
        if login.basic is not None:
            headers = (*headers, ("Authorization", login.basic.reveal()))
        return make_target(self.origin, "POST", oidc.TOKEN_PATH, headers)


def _worth_another_try(outcome: Reply | WireFault) -> bool:
    if isinstance(outcome, WireFault):
        return outcome.kind in _QUICK_FAULTS
    return outcome.status == 429 or outcome.status >= 500


def bearer(token: Secret) -> SecretHeaders:
    """The header line of a bearer token."""
    return (("Authorization", Secret(f"Bearer {token.reveal()}")),)


NO_WAY: Final = (FaultKind.NOT_CONNECTED, FaultKind.NO_NAME, FaultKind.TLS)
"""Faults of a connection that was never there."""


def unanswered(fault: WireFault, host: str) -> str:
    """Why a workspace gave no reply, and what to check, as one sentence or two."""
    if fault.kind is FaultKind.TLS:
        return (
            f"TLS with {host} failed: {fault.detail}. For a private certificate authority pass "
            "Settings(tls=Tls(ca_file=...))."
        )
    if fault.kind in NO_WAY:
        return (
            f"No connection to {host}: {fault.detail}. Check the host name and that this machine "
            "may reach it (network, firewall, private link)."
        )
    words = fault.kind.value.replace("_", " ")
    return f"{host} gave no answer: {words}, {fault.detail}."


def no_token(fault: WireFault, host: str) -> ServingError:
    """The user's error for a login that got no reply."""
    if fault.kind is FaultKind.TLS:
        return TLSError(f"The TLS connection to {host} was refused: {fault.detail}.")
    if fault.kind is FaultKind.CLOSED:
        return ClientClosedError("The client was closed while it fetched a token.")
    error: ServingError
    if fault.kind in (FaultKind.NOT_CONNECTED, FaultKind.NO_NAME):
        error = ConnectionFailed(
            f"No connection to {host} for a token: {fault.detail}. Check host and network."
        )
    else:
        error = TokenRefreshError(
            f"No token from {host}: {fault.kind.value.replace('_', ' ')}, {fault.detail}. The "
            "login service does not answer; try again later."
        )
    error.retryable = True
    return error
