"""The token endpoint: who may have which token, and until when."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from servingclient.emulator.wire import Reply, json_reply

if TYPE_CHECKING:
    from servingclient.emulator.state import Workspace
    from servingclient.emulator.wire import Request

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - no secret
_ACTIONS = frozenset({"query_inference_endpoint", "manage_inference_endpoint"})


@dataclass(frozen=True, slots=True)
class Grant:
    """What one issued token allows."""

    scope: str
    endpoint_ids: frozenset[str] | None
    """Endpoints the token may query; ``None`` when it was asked for without
    ``authorization_details``."""
    expires_at_s: float


class Tokens:
    """Every token that was issued and not revoked."""

    def __init__(self) -> None:
        """Start with none."""
        self._grants: dict[str, Grant] = {}

    def issue(self, scope: str, endpoint_ids: frozenset[str] | None, ttl_s: float) -> str:
        """Return a new token."""
        token = f"emu-{secrets.token_urlsafe(24)}"
        self._grants[token] = Grant(scope, endpoint_ids, time.monotonic() + ttl_s)
        return token

    def find(self, token: str) -> Grant | None:
        """Return what the token allows, ``None`` when it was never issued or was revoked."""
        return self._grants.get(token)

    def revoke_all(self) -> None:
        """Make every token invalid."""
        self._grants.clear()


class OAuthError(Exception):
    """The request for a token is refused."""

    def __init__(self, status: int, code: str, description: str) -> None:
        """Carry what the error body will say."""
        super().__init__(description)
        self.reply: Reply = oauth_error(status, code, description)


def oauth_error(status: int, code: str, description: str) -> Reply:
    """Return the error body of the OAuth standard."""
    return json_reply(status, {"error": code, "error_description": description})


def metadata(workspace: Workspace) -> Reply:
    """Return ``/oidc/.well-known/oauth-authorization-server``."""
    base = f"{workspace.urls['workspace']}/oidc"
    return json_reply(
        200,
        {
            "issuer": base,
            "authorization_endpoint": f"{base}/v1/authorize",
            "token_endpoint": f"{base}/v1/token",
            "scopes_supported": ["all-apis", "sql", "offline_access", "openid", "profile", "email"],
            "grant_types_supported": ["client_credentials", JWT_BEARER, TOKEN_EXCHANGE],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        },
    )


def issue(workspace: Workspace, request: Request) -> Reply:
    """Answer ``POST /oidc/v1/token``."""
    form = {key: values[0] for key, values in parse_qs(request.body.decode("latin-1")).items()}
    try:
        scope = _authenticate(workspace, request, form)
        endpoint_ids = _endpoint_ids(workspace, form.get("authorization_details"))
    except OAuthError as refused:
        return refused.reply
    ttl_s = workspace.settings.token_ttl_s
    body: dict[str, Any] = {
        "access_token": workspace.tokens.issue(scope, endpoint_ids, ttl_s),
        "token_type": "Bearer",
        "expires_in": int(ttl_s) if float(ttl_s).is_integer() else ttl_s,
        "scope": scope,
    }
    if "authorization_details" in form:
        body["authorization_details"] = form["authorization_details"]
    return json_reply(200, body)


def _authenticate(workspace: Workspace, request: Request, form: dict[str, str]) -> str:
    """Check who asks, by grant type, and return the scope the token gets."""
    grant_type = form.get("grant_type")
    if grant_type == "client_credentials":
        if _client(request, form) != (workspace.client_id, workspace.client_secret):
            raise OAuthError(401, "invalid_client", "Client authentication failed")
        return _known_scope(form.get("scope", "all-apis"))
    if grant_type == JWT_BEARER:
        grant = workspace.tokens.find(form.get("assertion", ""))
        if grant is None or grant.expires_at_s <= time.monotonic():
            raise OAuthError(400, "invalid_grant", "The assertion is invalid or expired")
        return _known_scope(form.get("scope", ""))
    if grant_type == TOKEN_EXCHANGE:
        if form.get("subject_token") != workspace.token:
            raise OAuthError(400, "invalid_grant", "The subject token is invalid")
        return _known_scope(form.get("scope", ""))
    raise OAuthError(400, "unsupported_grant_type", f"Unsupported grant type: {grant_type}")


def _client(request: Request, form: dict[str, str]) -> tuple[str, str]:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    return form.get("client_id", ""), form.get("client_secret", "")


def _known_scope(scope: str) -> str:
    for name in scope.split():
        if name not in {
            "all-apis",
            "offline_access",
            "openid",
            "model-serving",
            "serving.serving-endpoints",
        }:
            raise OAuthError(400, "invalid_scope", f"Invalid scope: {name}")
    return scope


def _endpoint_ids(workspace: Workspace, details: str | None) -> frozenset[str] | None:
    """Return the endpoints that ``authorization_details`` names; all must be allowed."""
    if details is None:
        return None
    try:
        paths = [_object_path(entry) for entry in json.loads(details)]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise OAuthError(
            400, "invalid_authorization_details", "The authorization_details are malformed"
        ) from None
    allowed = {
        f"/serving-endpoints/{e.id}": e.id for e in workspace.endpoints.values() if e.may_query
    }
    if not paths or not all(path in allowed for path in paths):
        message = "User is not authorized to the requested authorizations"
        raise OAuthError(400, "invalid_authorization_details", message)
    return frozenset(allowed[path] for path in paths)


def _object_path(entry: dict[str, Any]) -> str:
    if entry["type"] != "workspace_permission" or entry["object_type"] != "serving-endpoints":
        raise ValueError(entry)
    if not entry["actions"] or not _ACTIONS.issuperset(entry["actions"]):
        raise ValueError(entry)
    return str(entry["object_path"])
