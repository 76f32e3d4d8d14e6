"""Requests to the workspace's token endpoint and its replies. Pure.

Forms and grants: ``protocol.md`` 2.2 (Databricks, query-route-optimization) and RFC 6749, 7523.
"""

from __future__ import annotations

import base64
import math
from typing import Any, NamedTuple
from urllib.parse import urlencode

import orjson

from servingclient.auth.secret import Secret
from servingclient.errors import AuthError, PermissionDenied, TokenRefreshError
from servingclient.payload.errors_body import error_detail

TOKEN_PATH = "/oidc/v1/token"  # noqa: S105 - a path
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SCOPE = "all-apis"
DEFAULT_LIFETIME_S = 3600.0
"""Life of a token whose reply does not say it: what the service documents for its tokens."""
_LONGEST_QUOTE = 300
_LONGEST_LIFETIME_S = 365 * 86400.0


class Login(NamedTuple):
    """One request to the token endpoint.

    Attributes:
        form: The body's fields.
        basic: Value of the Authorization header, where the client authenticates itself.
        secrets: What an error message must not repeat.
    """

    form: dict[str, str]
    basic: Secret | None
    secrets: tuple[Secret, ...]

    def body(self) -> bytes:
        """The form as bytes."""
        return urlencode(self.form).encode("ascii")

    def __repr__(self) -> str:
        return f"Login({self.form.get('grant_type')})"


class Issued(NamedTuple):
    """What the token endpoint gave."""

    access_token: Secret
    lifetime_s: float


def client_credentials(client_id: str, secret: Secret, details: str | None = None) -> Login:
    """A login of a service principal; ``details`` narrows the token to one endpoint."""
    form = {"grant_type": "client_credentials", "scope": _SCOPE}
    if details is not None:
        form["authorization_details"] = details
    pair = base64.b64encode(f"{client_id}:{secret.reveal()}".encode()).decode("ascii")
    basic = Secret(f"Basic {pair}")
    return Login(form, basic, (secret, basic, Secret(pair)))


def exchange(bearer: Secret, details: str) -> Login:
    """A workspace token exchanged for one that may query one endpoint.

    With a scope: without it the new token has an empty one, and serving answers 403
    ``OIDCTokenAuthenticatorInvalidScope``.
    """
    form = {
        "grant_type": _JWT_BEARER,
        "assertion": bearer.reveal(),
        "authorization_details": details,
        "scope": _SCOPE,
    }
    return Login(form, None, (bearer,))


def read_token(body: bytes, host: str) -> Issued:
    """The token of a 200 reply.

    Raises:
        TokenRefreshError: The reply holds none, or one that cannot be used.
    """
    value = _json(body)
    token = value.get("access_token")
    kind = value.get("token_type", "Bearer")
    if not isinstance(token, str) or not token or not _is_one_word(token):
        raise TokenRefreshError(
            f"The token endpoint of {host} answered 200 without a usable access_token. Is host "
            "the workspace itself, and not a login page or a proxy?"
        )
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenRefreshError(f"The token endpoint of {host} gave a token that is no bearer.")
    return Issued(Secret(token), _lifetime(value.get("expires_in"), host))


def refusal(status: int, body: bytes, host: str, login: Login) -> AuthError:
    """The error for a reply other than 200, in the service's own words."""
    found = error_detail(body, None, tuple(secret.reveal() for secret in login.secrets))
    said = ": ".join(part for part in (found.code, found.message) if part)[:_LONGEST_QUOTE]
    if "invalid_authorization_details" in said or "requested authorizations" in said:
        denied = PermissionDenied(
            f"The workspace {host} issues no token for this endpoint ({said}). Ask its owner to "
            "grant CAN QUERY to the principal."
        )
        denied.status_code = status
        return denied
    if status == 429 or status >= 500:
        advice = "Try again later."
    elif login.basic is not None:
        advice = "Check client_id and client_secret, and the workspace's IP access list."
    else:
        advice = "Log in again, and check the workspace's IP access list."
    detail = f" ({said})" if said else ""
    error = TokenRefreshError(f"The token endpoint of {host} answered {status}{detail}. {advice}")
    error.status_code = status
    error.retryable = status == 429 or status >= 500
    return error


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_one_word(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token


def _lifetime(value: object, host: str) -> float:
    """``expires_in`` in seconds: a number, or one as text; missing means the documented hour."""
    if value is None:
        return DEFAULT_LIFETIME_S
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0.0 < seconds < math.inf:
        raise TokenRefreshError(f"The token endpoint of {host} gave a token that has expired.")
    return min(seconds, _LONGEST_LIFETIME_S)
