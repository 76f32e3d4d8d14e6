"""Reading an endpoint's description, and how long it is good for.

It is read again behind the calls when it is old. What cannot be read (no permission, another API
behind the host, a control plane that is down) never stops calls: an endpoint that was described
keeps its description, any other is called the standard way, where the reply will tell.
"""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

from servingclient._types import FaultKind, WireFault
from servingclient.auth.endpoint import (
    UNDESCRIBED,
    Description,
    description_path,
    read_description,
)
from servingclient.auth.token_state import Token
from servingclient.auth.workspace import Workspace, unanswered
from servingclient.errors import ClientClosedError
from servingclient.payload.errors_body import error_detail
from servingclient.policies.failure import FailureClass, classify_reply
from servingclient.settings import Token as Rules

_log = logging.getLogger("servingclient.token")


class Asked(NamedTuple):
    """What came of one request for a description.

    Attributes:
        status: HTTP status; None when no reply came.
        description: What it says; None when it could not be read.
        token_refused: The credential was refused, not the request.
        outage: Nobody answered in a way that says anything about the endpoint.
        round_trip_s: Seconds to the first byte of the reply; None when no reply came.
        why: Why no reply came, and what to check; empty when one came.
    """

    status: int | None
    description: Description | None
    token_refused: bool
    outage: bool
    round_trip_s: float | None = None
    why: str = ""


async def ask(workspace: Workspace, endpoint: str, token: Token) -> Asked:
    """Request the description of ``endpoint``.

    Raises:
        ClientClosedError: The client was closed meanwhile.
    """
    try:
        reply = await workspace.get(description_path(endpoint), token.headers)
    except WireFault as fault:
        if fault.kind is FaultKind.CLOSED:
            raise ClientClosedError("The client was closed.") from fault
        _log.warning("description_unreachable host=%s kind=%s", workspace.host, fault.kind.value)
        why = unanswered(fault, workspace.host)
        return Asked(None, None, token_refused=False, outage=True, why=why)
    status, trip_s = reply.status, reply.first_byte_s - reply.sent_s
    if status == 200:
        found = read_description(reply.body)
        return Asked(status, found, token_refused=False, outage=False, round_trip_s=trip_s)
    refused = _says_token_is_bad(status, reply.body)
    outage = status == 429 or status >= 500
    return Asked(status, None, token_refused=refused, outage=outage, round_trip_s=trip_s)


class Reading:
    """The description at hand and when to read it again. Pure: time is an argument."""

    __slots__ = ("_failures", "_rules", "again_s", "asked", "description", "forced")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._failures = 0
        self.description: Description | None = None
        self.again_s: float = -math.inf
        self.forced: bool = False
        self.asked: Asked | None = None

    def unasked(self) -> None:
        """Never read it; the endpoint is called the standard way."""
        self.description = UNDESCRIBED
        self.again_s = math.inf

    def due(self, now_s: float) -> Description | None:
        """The description, or None when it must be read (again)."""
        return None if now_s >= self.again_s else self.description

    def force(self) -> None:
        """Trust it no longer: the address in it is wrong."""
        self.again_s = -math.inf
        self.forced = True

    def age(self) -> None:
        """Have it read with the next flight, because someone wants to see it as it is now."""
        self.asked = None
        self.again_s = -math.inf

    def take(self, asked: Asked, now_s: float) -> Description:
        """Use what was read from now on, or what stands in for it."""
        self.asked = asked
        if asked.outage:
            return self.keep(now_s) or self._stand_in()
        if asked.description is None and self._known() and not self.forced:
            return self.keep(now_s) or UNDESCRIBED  # permission lost or lagging: it did work
        rules = self._rules
        # an endpoint that is not there yet may be there soon, and then perhaps not the standard way
        ttl_s = rules.reresolve_min_s if asked.status == 404 else rules.endpoint_ttl_s
        self._failures = 0
        self.again_s = now_s + ttl_s
        self.forced = False
        self.description = UNDESCRIBED if asked.description is None else asked.description
        return self.description

    def keep(self, now_s: float) -> Description | None:
        """It could not be read: go on with the old one, and read again after a growing pause."""
        pause_s = self._rules.cooldown_s * float(2 ** min(self._failures, 32))
        self._failures += 1
        self.again_s = now_s + min(pause_s, self._rules.cooldown_cap_s)
        self.forced = False
        return self.description

    def _stand_in(self) -> Description:
        self.description = UNDESCRIBED
        return UNDESCRIBED

    def _known(self) -> bool:
        return self.description is not None and self.description is not UNDESCRIBED


def _says_token_is_bad(status: int, body: bytes) -> bool:
    failure = classify_reply(
        status, None, None, error_detail(body), cap_s=0.0, route_optimized=False
    )
    return failure.cls is FailureClass.TOKEN
