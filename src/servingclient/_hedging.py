"""A request that may be sent a second time when its reply is late: the story around it.

The policy says after how long and how often; the wire does it. Here is what a second request takes
and gives back: a place at the gate, tokens of the retry quota.
"""

from __future__ import annotations

from typing import Final

from servingclient._ports import Gate, Hedged, Hedging, World
from servingclient._running import Call
from servingclient._types import Reply, Target
from servingclient.policies.hedge import NO_ROOM, HedgePolicy

_OK: Final = 200


class _Second:
    """The second request of one call: what it holds while it is under way."""

    def __init__(self, policy: HedgePolicy, gate: Gate) -> None:
        self._policy = policy
        self._gate = gate
        self._inside = False
        self.sent = False

    def admitted(self) -> bool:
        """See ``_ports.Second.admitted``."""
        if not self._policy.take():
            return False
        if not self._gate.try_enter():  # near its limit the endpoint needs no second requests
            self._policy.untake()
            return False
        self._inside = self.sent = True
        return True

    def unsent(self) -> None:
        """See ``_ports.Second.unsent``."""
        self.sent = False
        self._policy.untake()

    def leave(self) -> None:
        """Give the place back, if there is one."""
        if self._inside:
            self._inside = False
            self._gate.leave()


async def send(
    world: World,
    hedging: Hedging,
    call: Call,
    target: Target,
    body: bytes,
    deadline_s: float,
) -> Reply:
    """As ``Wire.send``, and sent again when the reply is late.

    Args:
        world: The ports.
        hedging: What the client has for it.
        call: Whose try it is. Sent twice only if running it twice does no harm, and nothing has
            failed so far.
        target: Where to, with which headers.
        body: The request's body.
        deadline_s: Instant at which to give up.

    Raises:
        WireFault: No complete reply to either.
    """
    policy, began_s, max_idle_s = hedging.policy, call.tried_s, call.max_idle_s
    may_repeat = call.idempotent and not call.attempts
    after_s = policy.delay_s(began_s) if may_repeat else None
    second = _Second(policy, world.gate)
    if after_s is None:
        reply = await world.wire.send(target, body, deadline_s, max_idle_s=max_idle_s)
        came = Hedged(reply)
    else:
        try:
            came = await hedging.wire.send(
                target, body, deadline_s, max_idle_s=max_idle_s, after_s=after_s, second=second
            )
        finally:
            second.leave()
            if second.sent and call.seen == "no":  # a refusal of one says nothing of the other
                call.seen = "maybe"
    _learn(world, policy, came, began_s, hedged=second.sent)
    return came.reply


def _learn(
    world: World, policy: HedgePolicy, came: Hedged, began_s: float, *, hedged: bool
) -> None:
    now_s = world.now()
    if came.other is not None and came.other.status in NO_ROOM:
        world.gate.throttled()  # of the reply that counts the gate hears elsewhere
        policy.no_room(now_s)
    if came.reply.status == _OK:
        policy.answered(now_s - began_s, hedged=hedged, won=came.won)
    elif came.reply.status in NO_ROOM:
        policy.no_room(now_s)
