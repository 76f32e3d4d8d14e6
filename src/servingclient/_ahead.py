"""What is asked of the workspace ahead of a call: the model's signature, and the limit on requests.

What is in the way of the answer is in the way of the call too, or no reason to stop the call: so
nothing here raises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from servingclient._ports import World
from servingclient._types import WireFault
from servingclient.errors import ServingError

T = TypeVar("T")


async def learn(world: World, deadline_s: float, priority: int) -> None:
    """Have the model's signature at hand, as far as it can be had."""
    await _asked(world, lambda: world.access.learn(deadline_s), deadline_s, priority)


async def limit_bytes(
    world: World, served_model: str | None, deadline_s: float, priority: int
) -> int | None:
    """The largest request the endpoint takes; None when it could not be asked."""
    grant = world.access.ready(served_model, world.now())
    if grant is None:
        grant = await _asked(
            world, lambda: world.access.obtain(served_model, deadline_s), deadline_s, priority
        )
    return None if grant is None else grant.max_request_bytes


async def _asked(
    world: World, action: Callable[[], Awaitable[T]], deadline_s: float, priority: int
) -> T | None:
    """Ask from a place like any call's: a closed client has none, and closing waits for it."""
    with suppress(ServingError, WireFault):
        if not world.gate.try_enter():
            await world.gate.enter(deadline_s, priority)
        try:
            return await action()
        finally:
            world.gate.leave()
    return None
