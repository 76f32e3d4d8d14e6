"""Who is calling: a fixed token, or a service principal. Unified auth is in ``sdk_config``."""

from __future__ import annotations

import re
from typing import Any, Protocol

from servingclient._types import Origin
from servingclient.auth import oidc, token_state
from servingclient.auth.origin import parse_host, whole
from servingclient.auth.secret import Secret
from servingclient.auth.token_state import Token
from servingclient.auth.workspace import Ports, SignedIn, Workspace, bearer
from servingclient.errors import ConfigError, RouteOptimizedRequiresOAuth
from servingclient.settings import Settings

_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


class Credentials(Protocol):
    """A way to get tokens."""

    @property
    def renewable(self) -> bool:
        """Whether signing in again gives another token than before."""

    @property
    def exchanges(self) -> bool:
        """Whether a token for one endpoint is had in exchange for a workspace token."""

    async def find_origin(self, ports: Ports, limit_s: float) -> Origin:
        """The workspace these credentials belong to."""

    async def sign_in(self, workspace: Workspace, *, refused: bool) -> SignedIn:
        """A credential for the workspace; ``refused``: not the one it gave last.

        Raises:
            ServingError: None could be had; the message names the cause.
        """

    async def sign_in_to(
        self, workspace: Workspace, details: str, current: Token | None
    ) -> SignedIn:
        """A token for one route-optimized endpoint.

        Args:
            workspace: Where to ask.
            details: The endpoint's ``authorization_details``.
            current: A good workspace token, where these credentials exchange it.

        Raises:
            RouteOptimizedRequiresOAuth: These credentials cannot get one.
            ServingError: None could be had.
        """


class FixedToken:
    """A personal access token, or a bearer the caller got elsewhere. Never renewed."""

    renewable = False
    exchanges = True

    def __init__(self, token: Secret, origin: Origin) -> None:
        self._token = token
        self._origin = origin

    async def find_origin(self, ports: Ports, limit_s: float) -> Origin:
        """The workspace the user named."""
        return self._origin

    async def sign_in(self, workspace: Workspace, *, refused: bool) -> SignedIn:
        """The token, as it is."""
        return SignedIn(bearer(self._token), token_state.FOR_EVER)

    async def sign_in_to(
        self,
        workspace: Workspace,
        details: str,
        current: Token | None,
    ) -> SignedIn:
        """A token in exchange, if this one is OAuth's (a JWT) and no personal access token."""
        if not _JWT.fullmatch(self._token.reveal()):
            raise requires_oauth("a personal access token")
        return await workspace.redeem(oidc.exchange(self._token, details))

    def __repr__(self) -> str:
        return f"FixedToken({self._origin.host})"


class ClientCredentials:
    """A service principal with an OAuth secret (machine to machine)."""

    renewable = True
    exchanges = False

    def __init__(self, client_id: str, secret: Secret, origin: Origin) -> None:
        self._client_id = client_id
        self._secret = secret
        self._origin = origin

    async def find_origin(self, ports: Ports, limit_s: float) -> Origin:
        """The workspace the user named."""
        return self._origin

    async def sign_in(self, workspace: Workspace, *, refused: bool) -> SignedIn:
        """A new workspace token."""
        return await workspace.redeem(oidc.client_credentials(self._client_id, self._secret))

    async def sign_in_to(
        self,
        workspace: Workspace,
        details: str,
        current: Token | None,
    ) -> SignedIn:
        """A new token for one endpoint."""
        login = oidc.client_credentials(self._client_id, self._secret, details)
        return await workspace.redeem(login)

    def __repr__(self) -> str:
        return f"ClientCredentials({self._origin.host})"


def requires_oauth(what: str) -> RouteOptimizedRequiresOAuth:
    """The refusal of credentials a route-optimized endpoint does not take."""
    return RouteOptimizedRequiresOAuth(
        f"This endpoint is route-optimized and takes OAuth tokens of Databricks only, but was "
        f"given {what}. Pass client_id and client_secret of a service principal that has CAN "
        "QUERY on it."
    )


def credentials_from(
    *,
    host: str | None = None,
    token: str | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    config: Any = None,
    settings: Settings | None = None,
) -> tuple[Credentials, Origin | None]:
    """Credentials from what the user gave, and the workspace where that is known already.

    A token or service principal without a host, or nothing at all, goes through databricks-sdk,
    which knows the environment and profiles; it is then asked at the first call.

    Raises:
        ConfigError: A value is malformed, or two ways to sign in were given.
    """
    _check_combination(host, token, client_id, client_secret, config)
    origin = None if host is None else parse_host(host)
    fixed = None if token is None else _secret(token, "token")
    principal = None if client_id is None else _principal(client_id, client_secret)
    if origin is not None and fixed is not None:
        return FixedToken(fixed, origin), origin
    if origin is not None and principal is not None:
        return ClientCredentials(*principal, origin), origin
    from servingclient.auth.sdk_config import UnifiedAuth

    rules = (settings or Settings()).token
    given = _for_sdk(origin, fixed, principal)
    unified = UnifiedAuth(config, given, rules)
    known = unified.known_origin()
    if known is not None and origin is not None and known != origin:
        raise ConfigError(f"host is {origin.host}, but config belongs to {known.host}; give one.")
    return unified, known or origin


def _check_combination(
    host: str | None,
    token: str | None,
    client_id: str | None,
    client_secret: str | None,
    config: Any,
) -> None:
    if (client_id is None) != (client_secret is None):
        missing = "client_id" if client_id is None else "client_secret"
        raise ConfigError(f"{missing} is missing; client_id and client_secret go together.")
    ways = [
        name
        for name, value in (("token", token), ("client_id", client_id), ("config", config))
        if value is not None
    ]
    if len(ways) > 1:
        raise ConfigError(f"{' and '.join(ways)} were given; choose one way to sign in.")
    if host == "":
        raise ConfigError("host is empty; give https://<workspace host>, or leave it out.")
    if config is not None and not _is_config(config):
        kind = config.__name__ if isinstance(config, type) else type(config).__name__
        raise ConfigError(
            f"config must be a databricks.sdk.core.Config object, not {kind}; a WorkspaceClient "
            "has one as its .config."
        )


def _is_config(config: Any) -> bool:
    """By its shape: databricks-sdk is not imported to look at what somebody else made with it."""
    return not isinstance(config, type) and all(
        hasattr(config, name) for name in ("host", "authenticate")
    )


def _secret(text: str, name: str) -> Secret:
    given: object = text
    if not isinstance(given, str):
        raise ConfigError(f"{name} must be text, not {type(given).__name__}.")
    if not whole(_PRINTABLE, text):
        raise ConfigError(
            f"{name} is empty or holds a blank, line break or non-ASCII character (files and "
            "secret stores often add a newline); strip it."
        )
    return Secret(text)


def _principal(client_id: str, client_secret: str | None) -> tuple[str, Secret]:
    if ":" in _secret(client_id, "client_id").reveal():
        raise ConfigError("client_id holds a colon; give the application id of the principal.")
    return client_id, _secret(client_secret or "", "client_secret")


def _for_sdk(
    origin: Origin | None, token: Secret | None, principal: tuple[str, Secret] | None
) -> dict[str, str | Secret]:
    """Arguments for databricks-sdk's ``Config``; the auth type keeps the environment's out."""
    given: dict[str, str | Secret] = {}
    if origin is not None:
        given["host"] = str(origin)
    if token is not None:
        given |= {"token": token, "auth_type": "pat"}
    if principal is not None:
        given |= {
            "client_id": principal[0],
            "client_secret": principal[1],
            "auth_type": "oauth-m2m",
        }
    return given
