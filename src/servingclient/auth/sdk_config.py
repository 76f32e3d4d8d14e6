"""The wall around databricks-sdk: the only module that imports it, and only when it is needed.

Importing it takes up to 2 s. Its calls block, may do network I/O without any time-out, and hold a
lock meanwhile; so they run in a thread of their own with our deadline, one at a time, behind the
calls wherever a token is still good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from servingclient._types import FaultKind, Origin, WireFault
from servingclient.auth import oidc, token_state
from servingclient.auth.credentials import requires_oauth
from servingclient.auth.headers import check_header, make_target
from servingclient.auth.origin import parse_host
from servingclient.auth.secret import Secret, SecretHeaders, quoted
from servingclient.auth.token_state import Span, Token
from servingclient.auth.workspace import NO_WAY, Ports, SignedIn, Workspace, no_token
from servingclient.errors import ConfigError, TokenRefreshError
from servingclient.settings import Token as Rules

_LOOK_S = 1.0
"""For a connection of our own, to see whether there is one; more would only be waited for."""
_PUBLIC_PATH = "/oidc/.well-known/oauth-authorization-server"
"""Answered to everybody, and runs no model."""
LEASE_S = 30.0
"""How long its headers are used before it is asked for them again, behind the calls. Asking is
cheap while its own cache is good, and it renews its token only when asked."""

_NOT_FROM_DATABRICKS = {
    "pat": "a personal access token",
    "basic": "a user name and password",
    "runtime": "the notebook's own token",
    "azure-cli": "a Microsoft Entra token (azure-cli)",
    "azure-client-secret": "a Microsoft Entra token (azure-client-secret)",
    "github-oidc-azure": "a Microsoft Entra token (github-oidc-azure)",
    "google-credentials": "a Google token (google-credentials)",
    "google-id": "a Google token (google-id)",
}
"""Auth types whose tokens Databricks did not issue as OAuth tokens (query-route-optimization)."""
_FIXED = frozenset(("pat", "basic"))
_INTERACTIVE = frozenset(("external-browser",))
"""Setting these up anew may open a browser window, which a 401 must not."""


class _Answer(NamedTuple):
    """What the SDK said, read in its thread."""

    host: str
    auth_type: str
    workspace_id: str | None
    headers: SecretHeaders
    lifetime_s: float
    client_id: str | None
    client_secret: Secret | None


class UnifiedAuth:
    """Credentials that databricks-sdk finds: environment, profile, notebook, cloud login.

    Args:
        config: A ``databricks.sdk.core.Config`` of the user's, or None to make one.
        given: Arguments for the one that is made.
        rules: Time-outs.
    """

    def __init__(self, config: Any, given: Mapping[str, str | Secret], rules: Rules) -> None:
        self._config = config
        self._given = given
        self._rules = rules
        self._answer: _Answer | None = None
        self._begun: Any = config

    def known_origin(self) -> Origin | None:
        """The workspace of the user's config; None while there is no config.

        Raises:
            ConfigError: The config names no workspace.
        """
        return None if self._config is None else _origin_of(self._config.host)

    @property
    def renewable(self) -> bool:
        """Whether signing in again gives another token than before."""
        return self._answer is None or self._answer.auth_type not in _FIXED

    @property
    def exchanges(self) -> bool:
        """Whether a workspace token is exchanged; a service principal needs none."""
        return self._answer is None or not _is_principal(self._answer)

    async def find_origin(self, ports: Ports, limit_s: float) -> Origin:
        """The workspace the SDK chose."""
        answer = await self._ask(ports, limit_s, refused=False)
        return _origin_of(answer.host)

    async def sign_in(self, workspace: Workspace, *, refused: bool) -> SignedIn:
        """The headers the SDK gives now, all of them."""
        asked_s = workspace.ports.clock.now()
        answer = await self._ask(workspace.ports, workspace.limit(), refused=refused)
        headers = answer.headers
        if answer.workspace_id is not None:
            headers = (*headers, ("X-Databricks-Workspace-Id", Secret(answer.workspace_id)))
        if math.isinf(answer.lifetime_s):
            span = Span(asked_s + LEASE_S, math.inf, math.inf)
        else:
            span = token_state.lease(asked_s, answer.lifetime_s, LEASE_S)
        return SignedIn(headers, span)

    async def sign_in_to(
        self, workspace: Workspace, details: str, current: Token | None
    ) -> SignedIn:
        """A token for one endpoint, fetched by us."""
        answer = self._answer
        if answer is None:
            answer = await self._ask(workspace.ports, workspace.limit(), refused=False)
        if _is_principal(answer):
            secret = answer.client_secret or Secret("")
            login = oidc.client_credentials(answer.client_id or "", secret, details)
            return await workspace.redeem(login)
        what = _NOT_FROM_DATABRICKS.get(answer.auth_type)
        token = _bearer_in(answer.headers if current is None else current.headers)
        if what is not None or token is None:
            raise requires_oauth(what or f"credentials without a bearer ({answer.auth_type})")
        return await workspace.redeem(oidc.exchange(token, details))

    async def _ask(self, ports: Ports, limit_s: float, *, refused: bool) -> _Answer:
        allowed_s = limit_s - ports.clock.now()

        seen = False

        async def doubt() -> None:
            nonlocal seen
            seen = seen or await self._reachable(ports)

        try:
            answer = await ports.blocking.call(lambda: self._ask_now(refused), limit_s, doubt)
        except TokenRefreshError:
            await doubt()
            raise
        except WireFault as fault:
            if fault.kind is FaultKind.TIMEOUT:
                await doubt()
                raise _too_slow(allowed_s) from fault
            raise no_token(fault, "databricks-sdk") from fault
        self._answer = answer
        return answer

    async def _reachable(self, ports: Ports) -> bool:
        """See for ourselves whether there is a workspace: the SDK asks a host that refuses for up
        to 9 s, and then says only that time ran out.

        Returns:
            False where nobody can tell yet.

        Raises:
            ConnectionFailed: There is no connection to it.
            TLSError: Likewise.
        """
        host = getattr(self._begun, "host", None)
        if not isinstance(host, str) or not host:
            return False
        try:
            origin = parse_host(host)
        except ConfigError:
            return False
        target = make_target(origin, "GET", _PUBLIC_PATH, ())
        try:
            await ports.wire.send(target, b"", ports.clock.now() + _LOOK_S, max_idle_s=math.inf)
        except WireFault as fault:
            if fault.kind in NO_WAY:
                raise no_token(fault, origin.host) from fault
        return True

    def _ask_now(self, refused: bool) -> _Answer:  # noqa: FBT001 - runs in a thread
        if self._config is None:
            self._config = _opened(self._given, self._rules, self._begin)
        config = self._config
        if refused and config.auth_type not in _FIXED | _INTERACTIVE:
            config = self._config = _renewed(config)
        return _read(config)

    def _begin(self, config: Any) -> None:
        self._begun = config

    def __repr__(self) -> str:
        auth_type = "not asked yet" if self._answer is None else self._answer.auth_type
        return f"UnifiedAuth({auth_type})"


def _opened(given: Mapping[str, str | Secret], rules: Rules, begin: Callable[[Any], None]) -> Any:
    plain: dict[str, Any] = {
        key: v.reveal() if isinstance(v, Secret) else v for key, v in given.items()
    }
    secrets = [v for v in given.values() if isinstance(v, Secret)]
    try:
        from databricks.sdk.core import Config

        # in two steps: setting it up asks the host it found, and whoever waits can see which
        config = Config.__new__(Config)
        begin(config)
        Config.__init__(
            config,
            product="servingclient",
            retry_timeout_seconds=max(1, int(rules.try_timeout_s)),
            http_timeout_seconds=rules.try_timeout_s,
            **plain,
        )
    except Exception as error:  # noqa: BLE001 - ValueError, requests', its own
        # neither its text as it is nor the error itself is kept: both may hold what it was given
        lacking, said = isinstance(error, ValueError), _said(error, secrets)
    else:
        return config
    if lacking:
        raise ConfigError(
            f"databricks-sdk found no usable credentials: {said.rstrip('. ')}. Pass host with "
            "token, or with client_id and client_secret, or log in with `databricks auth login`."
        )
    raise _no_login("could not be set up", said)


def _too_slow(allowed_s: float) -> TokenRefreshError:
    error = TokenRefreshError(
        f"databricks-sdk gave no token within {allowed_s:.1f} s. It may be unable to reach the "
        "workspace: check host and network, and with a certificate authority of your own set "
        "REQUESTS_CA_BUNDLE too, which is what the SDK reads. Or allow more time (timeout_s, "
        "Token.timeout_s)."
    )
    error.retryable = True
    return error


def _renewed(config: Any) -> Any:
    """A copy that has forgotten the token it holds; the user's own object stays as it is."""
    mine = config.copy()
    try:
        mine.init_auth()
    except Exception as error:  # noqa: BLE001 - as above
        said = _said(error, _secrets_of(config))
    else:
        return mine
    raise _no_login(f"({config.auth_type}) could not log in again", said)


def _read(config: Any) -> _Answer:
    try:
        headers = config.authenticate()
    except Exception as error:  # noqa: BLE001 - requests', subprocess', json's, its own
        said = _said(error, _secrets_of(config))
    else:
        secret = config.client_secret
        return _Answer(
            host=config.host or "",
            auth_type=config.auth_type or "",
            workspace_id=getattr(config, "workspace_id", None),
            headers=tuple((k, Secret(check_header(k, v)[1])) for k, v in headers.items()),
            lifetime_s=_lifetime(config),
            client_id=config.client_id,
            client_secret=None if secret is None else Secret(secret),
        )
    raise _no_login(f"({config.auth_type}) gave no token", said)


def _said(error: Exception, secrets: Iterable[Secret]) -> str:
    return quoted(f"{type(error).__name__}: {error}", secrets)


def _no_login(what: str, said: str) -> TokenRefreshError:
    error = TokenRefreshError(
        f"databricks-sdk {what}: {said.rstrip('. ')}. Log in again with `databricks auth login`, "
        "or check the credentials it found."
    )
    error.retryable = True
    return error


def _secrets_of(config: Any) -> list[Secret]:
    """What an error of the SDK's must not repeat."""
    names = ("token", "client_secret", "password", "azure_client_secret", "google_credentials")
    values = (getattr(config, name, None) for name in names)
    return [Secret(value) for value in values if isinstance(value, str)]


def _lifetime(config: Any) -> float:
    """Seconds its token has left; infinity where it does not say."""
    try:
        expiry = config.oauth_token().expiry
    except Exception:  # noqa: BLE001 - no OAuth provider: ValueError; custom ones may raise anything
        return math.inf
    if not isinstance(expiry, datetime):
        return math.inf
    # naive means local time there; whatever it means, the difference is taken once and never again
    return max((expiry - datetime.now(tz=expiry.tzinfo)).total_seconds(), 0.0)


def _origin_of(host: str | None) -> Origin:
    if not host:
        raise ConfigError("databricks-sdk found no host; pass host=https://<workspace host>.")
    return parse_host(host)


def _is_principal(answer: _Answer) -> bool:
    return answer.auth_type == "oauth-m2m" and bool(answer.client_id and answer.client_secret)


def _bearer_in(headers: SecretHeaders) -> Secret | None:
    for name, value in headers:
        scheme, _, token = value.reveal().partition(" ")
        if name.lower() == "authorization" and scheme.lower() == "bearer" and token:
            return Secret(token)
    return None
