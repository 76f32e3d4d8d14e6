"""Routes of the emulator itself, for whoever runs it as a process."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from servingclient.emulator import faults, json_text
from servingclient.emulator.wire import Reply, json_reply

if TYPE_CHECKING:
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

    ``"always": true`` makes the last one a standing fault; the endpoint ``"token"`` in ``"target"``
    scripts the token endpoint.
    """
    try:
        wanted = json_text.loads(request.body)
        queue = _queue(workspace, wanted)
        found = tuple(faults.from_json(entry) for entry in wanted["faults"])
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        return json_reply(400, {"error": str(wrong)})
    if wanted.get("always"):
        queue.standing = found[-1] if found else None
    else:
        queue.script(found)
    return json_reply(200, {"scripted": len(queue)})


def _queue(workspace: Workspace, wanted: dict[str, Any]) -> FaultQueue:
    target = wanted.get("target")
    if target == "token":
        return workspace.token_faults
    if target == "describe":
        return workspace.describe_faults
    name = wanted["endpoint"]
    if name not in workspace.endpoints:
        raise ValueError(f"no endpoint {name!r}; there are {json.dumps(list(workspace.endpoints))}")
    return workspace.endpoints[name].faults
