"""A scripted host as a workspace: it describes nothing, and answers calls as a test says."""

from __future__ import annotations

from typing import Any

from tests.doors.kit import Who
from tests.scripted.server import Act, Connection, Request, ScriptedServer, reply

TOKEN = "dapi00aa11bb22cc33dd"
UNDESCRIBED = reply(b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}', status="404 Not Found")


def calls(act: Act) -> Act:
    """``act`` for each call; descriptions are not to be had."""

    async def answer(conn: Connection, request: Request) -> None:
        if request.method == "POST":
            await act(conn, request)
        else:
            await conn.send(UNDESCRIBED)

    return answer


def at(server: ScriptedServer) -> Who:
    """How to sign in there."""
    return Who(f"{server.scheme}://127.0.0.1:{server.port}", {"token": TOKEN})


def numbered(call_id: object) -> dict[str, Any]:
    """An input that carries an id, which the server answers with."""
    return {"inputs": [1.0], "id": str(call_id)}


def posts(server: ScriptedServer) -> list[Request]:
    """The calls that arrived."""
    return [request for request in server.requests if request.method == "POST"]
