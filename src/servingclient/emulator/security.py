"""Who may call what: the checks in front of every endpoint and of the control plane."""

from __future__ import annotations

import base64
import binascii
import time
from typing import TYPE_CHECKING

from servingclient.emulator.wire import Reply, error

if TYPE_CHECKING:
    from servingclient.emulator.endpoints import Endpoint
    from servingclient.emulator.oidc import Grant
    from servingclient.emulator.state import Workspace
    from servingclient.emulator.wire import Request


def check_control_plane(workspace: Workspace, request: Request) -> Reply | None:
    """Return the refusal of a control-plane call, ``None`` when it may pass."""
    token = credential(request)
    if token == workspace.token:
        return None
    grant = workspace.tokens.find(token) if token else None
    refusal = _check_life(workspace, token, grant)
    if refusal is None and grant is not None and grant.endpoint_ids is not None:
        return _denied("The token was issued for querying one endpoint and may not call this API.")
    return refusal


def check_invocation(workspace: Workspace, request: Request, endpoint: Endpoint) -> Reply | None:
    """Return the refusal of an invocation, ``None`` when it may pass."""
    token = credential(request)
    on_data_plane = request.host == "serving"
    if token == workspace.token:
        refusal = _refuse_pat(workspace) if on_data_plane else None
    else:
        grant = workspace.tokens.find(token) if token else None
        refusal = _check_life(workspace, token, grant)
        if refusal is None and grant is not None:
            refusal = _check_grant(workspace, grant, endpoint, on_data_plane=on_data_plane)
    if refusal is None and not endpoint.may_query:
        return _denied(f"User does not have permission 'Query' on endpoint '{endpoint.spec.name}'.")
    return refusal


def credential(request: Request) -> str:
    """Return the bearer token, or the password of ``token:<PAT>``; empty when there is neither."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme == "Bearer":
        return value
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return ""
        return password if user == "token" else ""
    return value if scheme.lower() == "bearer" else ""


def invalid_token(workspace: Workspace) -> Reply:
    """Return the refusal of an expired or revoked token, with an integer code."""
    status = workspace.settings.expired_status
    text = "Token is expired" if status == 401 else "Invalid access token."
    return error(status, status, f"{text} [ReqId: {workspace.new_id()}]")


def expiring_token() -> Reply:
    """Return the refusal of a token in its last seconds."""
    return error(403, 403, "Token is expiring within 30 seconds. (token expired)")


def invalid_scope() -> Reply:
    """Return the refusal of a token without a scope."""
    return error(
        403,
        "OIDCTokenAuthenticatorInvalidScope",
        "OIDCTokenAuthenticatorInvalidScope: invalid scope",
    )


def missing_details() -> Reply:
    """Return the refusal of a token that was not issued for an endpoint."""
    return error(401, 401, "Missing authorization details")


def _check_life(workspace: Workspace, token: str, grant: Grant | None) -> Reply | None:
    if not token:
        text = "Credential was not sent or was of an unsupported type for this API."
        return error(401, 401, f"{text} [ReqId: {workspace.new_id()}]")
    left_s = grant.expires_at_s - time.monotonic() if grant is not None else 0.0
    if left_s <= 0.0:
        return invalid_token(workspace)
    if left_s < workspace.settings.refuse_before_expiry_s:
        return expiring_token()
    return None


def _check_grant(
    workspace: Workspace, grant: Grant, endpoint: Endpoint, *, on_data_plane: bool
) -> Reply | None:
    if not grant.scope and workspace.settings.refuse_empty_scope:
        return invalid_scope()
    if grant.endpoint_ids is None:
        return missing_details() if on_data_plane else None
    if endpoint.id not in grant.endpoint_ids:
        status = workspace.settings.wrong_endpoint_status
        return error(status, "PERMISSION_DENIED", "The token was issued for another endpoint.")
    return None


def _refuse_pat(workspace: Workspace) -> Reply:
    status = workspace.settings.pat_refusal_status
    message = (
        "Personal access tokens are not supported on route-optimized endpoints. Use an OAuth token."
    )
    return error(status, status, message)


def _denied(message: str) -> Reply:
    return error(403, "PERMISSION_DENIED", message)
