"""Which handler answers which request.

A new read of the control plane is one line in ``_CONTROL_PLANE`` or ``_ENDPOINT_READS`` and a
function that takes the workspace and the request.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from servingclient.emulator import admin, control_plane, invocations, oidc, paths
from servingclient.emulator.delivery import PLAIN
from servingclient.emulator.journal import Note
from servingclient.emulator.wire import Reply, error, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from servingclient.emulator.connection import Connection
    from servingclient.emulator.delivery import Delivery
    from servingclient.emulator.endpoints import Endpoint
    from servingclient.emulator.fault import Fault, FaultQueue
    from servingclient.emulator.journal import Kind
    from servingclient.emulator.state import Workspace
    from servingclient.emulator.wire import Request

    Handler = Callable[[Workspace, Request], Reply]

_CONTROL_PLANE: dict[tuple[str, str], tuple[Kind, Handler]] = {
    ("GET", "/.well-known/databricks-config"): (
        "discovery",
        lambda workspace, _: control_plane.databricks_config(workspace),
    ),
    ("GET", "/oidc/.well-known/oauth-authorization-server"): (
        "discovery",
        lambda workspace, _: oidc.metadata(workspace),
    ),
    ("POST", "/oidc/v1/token"): ("token", oidc.issue),
    ("GET", control_plane.PREFIX): ("describe", control_plane.list_endpoints),
    ("GET", "/api/2.0/preview/scim/v2/Me"): ("other", control_plane.me),
    ("POST", "/_emulator/reset"): ("admin", admin.reset),
    ("GET", "/_emulator/journal"): ("admin", admin.journal),
    ("POST", "/_emulator/script"): ("admin", admin.script),
    ("POST", "/_emulator/endpoint"): ("admin", admin.endpoint),
    ("POST", "/_emulator/scale"): ("admin", admin.scale),
    ("POST", "/_emulator/settings"): ("admin", admin.settings),
    ("POST", "/_emulator/external"): ("admin", admin.external),
}


def handle(workspace: Workspace, connection: Connection, request: Request) -> None:
    """Answer one request."""
    if request.host == "external":
        _external(workspace, connection, request)
        return
    found = paths.find(workspace, request.host, request.path)
    if found is None:
        found = paths.find_by_model(workspace, request)
    if found is not None:
        _invoke(workspace, connection, request, *found)
        return
    kind, handler = _lookup(request)
    note = Note(kind)
    if kind in {"describe", "openapi", "metrics"}:
        note.endpoint = control_plane.endpoint_name(request.path) or None
    faults = _scripted(workspace, kind)
    fault = faults.take() if faults is not None else None
    if fault is None:
        connection.reply(handler(workspace, request), note)
        return
    note.fault = fault.name
    reply = _under(fault, request, lambda: handler(workspace, request))
    invocations.later(fault.delay_s, lambda: connection.reply(reply, note, fault.delivery))


def _external(workspace: Workspace, connection: Connection, request: Request) -> None:
    api = workspace.external
    note = Note("external", rows=api.note(request))
    fault = api.faults.take()
    delay_s = api.delay_s()

    def answer() -> Reply:
        return api.answer(request, time.monotonic(), time.time())

    delivery: Delivery = PLAIN
    if fault is None:
        reply = answer()
    else:
        note.fault = fault.name
        reply, delivery = _under(fault, request, answer), fault.delivery
        delay_s += fault.delay_s
    if delay_s:
        invocations.later(delay_s, lambda: connection.reply(reply, note, delivery))
    else:
        connection.reply(reply, note, delivery)


def _under(fault: Fault, request: Request, answer: Callable[[], Reply]) -> Reply:
    """The reply that a fault makes of an answer."""
    reply = answer() if fault.runs else Reply(200)
    if fault.answer is not None:
        reply = fault.answer(request)
    return fault.reshape(reply) if fault.reshape is not None else reply


def upload_limit(workspace: Workspace, request_path: str, connection: Connection) -> int:
    """Return how many body bytes the target of a request accepts."""
    found = paths.find(workspace, connection.host, request_path)
    endpoint = found[0] if found is not None else None
    return endpoint.spec.limit_bytes() if endpoint is not None else _OTHER_LIMIT_BYTES


_OTHER_LIMIT_BYTES = 16_777_216


def _invoke(
    workspace: Workspace,
    connection: Connection,
    request: Request,
    endpoint: Endpoint | None,
    served_model: str | None,
) -> None:
    if request.method != "POST":
        connection.reply(paths.not_allowed(), Note("invocation"))
    elif endpoint is None:
        connection.reply(paths.not_found(), Note("invocation"))
    else:
        invocations.Invocation(workspace, connection, request, endpoint, served_model).start()


def _scripted(workspace: Workspace, kind: Kind) -> FaultQueue | None:
    if kind == "token":
        return workspace.token_faults
    if kind == "openapi":
        return workspace.openapi_faults
    return workspace.describe_faults if kind == "describe" else None


def _lookup(request: Request) -> tuple[Kind, Handler]:
    if request.host == "serving":
        return "other", _nothing_here
    path = request.path
    found = _CONTROL_PLANE.get((request.method, path))
    if found is not None:
        return found
    if request.method == "GET" and path.startswith(f"{control_plane.PREFIX}/"):
        return _endpoint_read(path)
    return "other", _no_api


def _endpoint_read(path: str) -> tuple[Kind, Handler]:
    part = path[len(control_plane.PREFIX) + 1 + len(control_plane.endpoint_name(path)) :]
    return _ENDPOINT_READS.get(part, ("other", _no_api))


def _nothing_here(_: Workspace, __: Request) -> Reply:
    return json_reply(404, {"detail": "Not Found"})


def _no_api(_: Workspace, request: Request) -> Reply:
    return error(404, "ENDPOINT_NOT_FOUND", f"No API found for '{request.method} {request.path}'")


_ENDPOINT_READS: dict[str, tuple[Kind, Handler]] = {
    "": ("describe", control_plane.get_endpoint),
    "/openapi": ("openapi", control_plane.get_openapi),
    "/metrics": ("metrics", control_plane.get_metrics),
}
