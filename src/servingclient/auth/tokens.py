"""The tokens of one endpoint: the workspace's, and one of its own where it is route-optimized."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from servingclient._ports import Clock
from servingclient._types import Origin
from servingclient.auth.credentials import Credentials
from servingclient.auth.token_state import Freshness, Token, TokenState
from servingclient.auth.workspace import Ports, SignedIn, Workspace
from servingclient.errors import AuthError, ServingError, TokenRefreshError
from servingclient.settings import Token as Rules

_log = logging.getLogger("servingclient.token")

T = TypeVar("T")

_REFUSALS = (400, 401, 403)


class Tokens:
    """Gets tokens when they are due, and no more often. Used by one flight at a time.

    Attributes:
        of_workspace: State of the token the workspace itself takes.
        of_endpoint: State of the token issued for the endpoint's own URL.
    """

    def __init__(self, credentials: Credentials, rules: Rules, clock: Clock) -> None:
        self._credentials = credentials
        self._rules = rules
        self._clock = clock
        self._numbers = itertools.count(1)
        self._details: str | None = None
        self.of_workspace: TokenState = TokenState(rules)
        self.of_endpoint: TokenState = TokenState(rules)
        self._logins = 0

    @property
    def signing_in(self) -> bool:
        """Whether a login is under way; one may need another."""
        return self._logins > 0

    async def find_origin(self, ports: Ports, limit_s: float) -> Origin:
        """The workspace, from credentials that alone know it.

        Raises:
            ServingError: They do not say.
        """
        try:
            return await self._login(lambda: self._credentials.find_origin(ports, limit_s))
        except ServingError as error:
            self.of_workspace.fail(error, self._clock.now(), final=not error.retryable)
            raise

    async def workspace_token(self, workspace: Workspace) -> Token:
        """A token for the workspace.

        Raises:
            ServingError: None could be had.
        """
        state = self.of_workspace
        refused = state.token is not None and state.token.refused
        return await self._current(
            state, lambda: self._credentials.sign_in(workspace, refused=refused)
        )

    async def workspace_token_instead_of(self, token: Token, workspace: Workspace) -> Token:
        """Another token, ``token`` having been refused; the same where it is a fixed one.

        Raises:
            ServingError: None could be had.
        """
        if not self._credentials.renewable:
            return token
        self.of_workspace.drop(token.number)
        return await self.workspace_token(workspace)

    async def endpoint_token(self, workspace: Workspace, details: str) -> Token:
        """A token for the endpoint that ``details`` describe.

        Raises:
            RouteOptimizedRequiresOAuth: The credentials are of a kind it does not take.
            ServingError: None could be had.
        """
        if details != self._details:  # another endpoint of that name: nothing of the old one holds
            self.of_endpoint, self._details = TokenState(self._rules), details
        return await self._current(self.of_endpoint, lambda: self._sign_in_to(workspace, details))

    def refuse(self, number: int) -> bool:
        """The service refused the token ``number``. False if there will be no other.

        A call learns of it, renews, and is refused again with its own error. The next one that
        is refused with the renewed token starts the pause (``token_state``): from then on calls
        fail before they send, without another login, until the pause is over.
        """
        now_s = self._clock.now()
        if self.of_endpoint.refuse(number, now_s):
            return True
        if not self._credentials.renewable:
            fixed = self.of_workspace.token
            # an earlier one of the endpoint's: another call was told first, and got a new one
            return fixed is not None and fixed.number != number
        self.of_workspace.refuse(number, now_s)
        return True

    def refused_for_good(self, token: Token, workspace: Workspace, status: int | None) -> AuthError:
        """The error when the workspace refuses also a new token; it holds for the next calls."""
        error = AuthError(
            f"The workspace {workspace.host} refuses the credential ({status}). Log in again, or "
            "pass a token that has not expired and belongs to this workspace."
        )
        error.status_code = status
        now_s = self._clock.now()
        self.of_workspace.refuse(token.number, now_s)
        self.of_workspace.fail(error, now_s, final=True)
        return error

    async def _sign_in_to(self, workspace: Workspace, details: str) -> SignedIn:
        credentials = self._credentials
        if not credentials.exchanges:
            return await credentials.sign_in_to(workspace, details, None)
        current = await self.workspace_token(workspace)
        try:
            return await credentials.sign_in_to(workspace, details, current)
        except TokenRefreshError as error:
            if error.status_code not in _REFUSALS or not credentials.renewable:
                raise
        # what was refused may be the token that was to be exchanged: once more with another
        current = await self.workspace_token_instead_of(current, workspace)
        return await credentials.sign_in_to(workspace, details, current)

    async def _current(
        self, state: TokenState, sign_in: Callable[[], Awaitable[SignedIn]]
    ) -> Token:
        """The token of ``state``, renewed if it is due; the old one if that fails."""
        now_s = self._clock.now()
        token = state.usable(now_s)
        if token is not None and token.freshness(now_s, tried=False) is Freshness.FRESH:
            return token
        error = state.cooling(now_s)
        if error is None:
            number = next(self._numbers)
            try:
                signed_in = await self._login(sign_in)
            except ServingError as failed:
                error = failed
                state.fail(failed, self._clock.now(), final=not failed.retryable)
                _log.warning("token_failed number=%d error=%s", number, failed)
            else:
                token = Token(number, signed_in.headers, signed_in.span, self._clock.now())
                state.put(token)
                _log.info("token_renewed number=%d", number)
                return token
        token = state.usable(self._clock.now())
        if token is None:
            raise error
        return token

    async def _login(self, action: Callable[[], Awaitable[T]]) -> T:
        self._logins += 1
        try:
            return await action()
        finally:
            self._logins -= 1
