"""Routes of the emulator itself, for whoever runs it as a process."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from servingclient.emulator import fault_json, json_text
from servingclient.emulator.control_plane import describe
from servingclient.emulator.endpoints import EndpointSpec
from servingclient.emulator.wire import Reply, json_reply

if TYPE_CHECKING:
    from servingclient.emulator.endpoints import Endpoint
    from servingclient.emulator.fault import FaultQueue
    from servingclient.emulator.state import Workspace
    from servingclient.emulator.wire import Request


def reset(workspace: Workspace, _: Request) -> Reply:
    """Forget the journal and all scripts."""
    workspace.forget()
    return json_reply(200, {})


def journal(workspace: Workspace, _: Request) -> Reply:
    """Return all records and the execution counts."""
    records = [asdict(record) for record in workspace.journal.snapshot()]
    for record in records:
        body: bytes | None = record["body"]
        record["body"] = body.decode("latin-1") if body is not None else None
    executions = {
        name: {str(key): count for key, count in endpoint.executions.items()}
        for name, endpoint in workspace.endpoints.items()
    }
    value = {
        "requests": records,
        "executions": executions,
        "token_requests": workspace.journal.counts["token"],
        "connections": dict(workspace.journal.accepted),
    }
    return json_reply(200, value)


def script(workspace: Workspace, request: Request) -> Reply:
    """Script faults: ``{"endpoint": NAME, "faults": ["reset", {"name": "slow", ...}]}``.

    ``"always": true`` makes the last one a standing fault; ``"target": "token"`` in place of the
    endpoint scripts the token endpoint, ``"describe"`` and ``"openapi"`` those reads,
    ``"external"`` the external API.
    """
    try:
        wanted = json_text.loads(request.body)
        queue = _queue(workspace, wanted)
        found = tuple(fault_json.from_json(entry) for entry in wanted["faults"])
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        return json_reply(400, {"error": str(wrong)})
    if wanted.get("always"):
        queue.standing = found[-1] if found else None
    else:
        queue.script(found)
    return json_reply(200, {"scripted": len(queue)})


def endpoint(workspace: Workspace, request: Request) -> Reply:
    """Add an endpoint, or change fields of one: ``{"name": "fraud", "slots": 4}``."""
    try:
        wanted = json_text.loads(request.body)
        known = workspace.endpoints.get(wanted["name"])
        check_fields(wanted)
        if known is None:
            workspace.create(EndpointSpec(**wanted))
        else:
            known.change(**wanted)
            workspace.note_limit(known.spec)
    except (ValueError, KeyError, TypeError) as wrong:
        return json_reply(400, {"error": str(wrong)})
    return json_reply(200, describe(workspace, workspace.endpoints[wanted["name"]]))


def scale(workspace: Workspace, request: Request) -> Reply:
    """Let slots go to a number: ``{"endpoint": NAME, "slots": 16, "over_s": 120}``."""
    try:
        wanted = json_text.loads(request.body)
        capacity = _endpoint(workspace, wanted["endpoint"]).capacity
        capacity.scale(int(wanted["slots"]), float(wanted.get("over_s", 0.0)))
    except (ValueError, KeyError, TypeError) as wrong:
        return json_reply(400, {"error": str(wrong)})
    return json_reply(200, {"slots": capacity.slots})


def settings(workspace: Workspace, request: Request) -> Reply:
    """Change fields of the settings: ``{"gzip_requests": "accepted"}``."""
    try:
        workspace.settings = replace(workspace.settings, **json_text.loads(request.body))
    except (ValueError, TypeError) as wrong:
        return json_reply(400, {"error": str(wrong)})
    return json_reply(200, asdict(workspace.settings))


def external(workspace: Workspace, request: Request) -> Reply:
    """Change the external API: fields of its settings, ``"down_s": 60`` (0 ends it), ``"touch"``.

    The reply says where it is, how it is set, and how often each id was asked for.
    """
    api = workspace.external
    try:
        wanted = json_text.loads(request.body)
        down_s, touched = wanted.pop("down_s", None), list(wanted.pop("touch", []))
        down_s = None if down_s is None else float(down_s)
        api.change(**wanted)
        if down_s is not None:
            api.go_down(down_s)
        api.touch(*touched)
    except (ValueError, TypeError, AttributeError) as wrong:
        return json_reply(400, {"error": str(wrong)})
    value = {"base_url": api.base_url, "settings": asdict(api.settings), "counts": api.counts}
    return json_reply(200, value)


def check_fields(wanted: dict[str, Any]) -> None:
    """Check that an endpoint given as JSON has only fields there are.

    Raises:
        ValueError: naming those there are not.
    """
    unknown = sorted(wanted.keys() - {one.name for one in fields(EndpointSpec)})
    if unknown:
        raise ValueError(f"an endpoint has no {', '.join(unknown)}")


def _endpoint(workspace: Workspace, name: str) -> Endpoint:
    if name not in workspace.endpoints:
        raise ValueError(f"no endpoint {name!r}; there are {json.dumps(list(workspace.endpoints))}")
    return workspace.endpoints[name]


def _queue(workspace: Workspace, wanted: dict[str, Any]) -> FaultQueue:
    targets = {
        "token": workspace.token_faults,
        "describe": workspace.describe_faults,
        "openapi": workspace.openapi_faults,
        "external": workspace.external.faults,
    }
    if wanted.get("target") in targets:
        return targets[wanted["target"]]
    return _endpoint(workspace, wanted["endpoint"]).faults
