"""Reading what columns a model takes, and how long that is good for.

It is read only when a client's settings ask for it, and again behind the calls when it is old. What
stands in the way (no permission, no signature, an endpoint that is not ready, a control plane that
is down) never stops a call: it goes on without. Only in an outage the last signature is kept.
"""

from __future__ import annotations

import math
from http import HTTPStatus

from servingclient._types import WireFault
from servingclient.auth.endpoint import schema_path
from servingclient.auth.token_state import Token
from servingclient.auth.workspace import Workspace
from servingclient.payload.signature import Schema, read_outputs, read_signatures
from servingclient.settings import Token as Rules


class SchemaReading:
    """The schema at hand and when to read it again."""

    __slots__ = ("_failures", "_rules", "again_s", "schema")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._failures = 0
        self.schema: Schema | None = None
        self.again_s: float = math.inf

    def want(self) -> None:
        """Someone asks for it: from now on it is read, and again when it is old."""
        if self.schema is None:
            self.again_s = -math.inf

    async def read(self, workspace: Workspace, endpoint: str, token: Token) -> None:
        """Ask for the schema of ``endpoint``, and take what comes."""
        try:
            reply = await workspace.get(schema_path(endpoint), token.headers)
        except WireFault as fault:
            words = fault.kind.value.replace("_", " ")
            self.keep(workspace.ports.clock.now(), f"{workspace.host} gave no answer: {words}")
        else:
            self.take(reply.status, reply.body, workspace.ports.clock.now())

    def take(self, status: int, body: bytes, now_s: float) -> None:
        """Go by what the workspace answered."""
        if status == 429 or status >= 500:
            self.keep(now_s, _answered(status))
            return
        self._failures = 0
        self.again_s = now_s + self._rules.endpoint_ttl_s
        if status != 200:
            self.schema = Schema({}, _answered(status))
            return
        signatures = read_signatures(body)
        why_none = None if signatures else "the signature names no columns"
        self.schema = Schema(signatures, why_none, read_outputs(body))

    def keep(self, now_s: float, why: str) -> None:
        """It could not be asked for: go on with the old one, ask again after a growing pause."""
        pause_s = self._rules.cooldown_s * float(2 ** min(self._failures, 32))
        self._failures += 1
        self.again_s = now_s + min(pause_s, self._rules.cooldown_cap_s)
        if self.schema is None or not self.schema.signatures:
            self.schema = Schema({}, why)


def _answered(status: int) -> str:
    try:
        words = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = str(status)
    return f"the workspace answered {words}"
