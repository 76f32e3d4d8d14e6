"""A user's own function whose values are kept, both colours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, cast

from servingclient._step import run
from servingclient.enrichment.api import Api
from servingclient.enrichment.cached import CachedFunction, FunctionPlan, P, R


def kept_by_threads(
    api: Api, ttl_s: float, key: Callable[..., Any] | None
) -> Callable[[Callable[P, R]], CachedFunction[P, R]]:
    """What makes of a plain function one whose values are kept; see ``FunctionPlan``.

    Args:
        api: Keeps them.
        ttl_s: How long they stay fresh.
        key: Makes a key of the arguments, or None.
    """
    lookup = api.lookup

    def decorate(function: Callable[P, R]) -> CachedFunction[P, R]:
        plan = FunctionPlan(function, key, ttl_s, lookup.world.now, awaits=False)

        @wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            place = plan.key(args, kwargs)
            found = lookup.hit(place)
            if found is None:
                asked = plan.asked(place, args, kwargs)
                found = run(lookup.one(plan.source, asked, float("inf")))
            return cast("R", found.value)

        wrapper.invalidate = _forgetting(api, plan)  # type: ignore[attr-defined]
        return cast("CachedFunction[P, R]", wrapper)

    return decorate


def kept_by_tasks(
    api: Api, ttl_s: float, key: Callable[..., Any] | None
) -> Callable[[Callable[P, Awaitable[R]]], CachedFunction[P, Coroutine[Any, Any, R]]]:
    """The same for an async function.

    Args:
        api: As for ``kept_by_threads``.
        ttl_s: Likewise.
        key: Likewise.
    """
    lookup = api.lookup

    def decorate(
        function: Callable[P, Awaitable[R]],
    ) -> CachedFunction[P, Coroutine[Any, Any, R]]:
        plan = FunctionPlan(function, key, ttl_s, lookup.world.now, awaits=True)

        @wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            place = plan.key(args, kwargs)
            found = lookup.hit(place)
            if found is None:
                asked = plan.asked(place, args, kwargs)
                found = await lookup.one(plan.source, asked, float("inf"))
            return cast("R", found.value)

        wrapper.invalidate = _forgetting(api, plan)  # type: ignore[attr-defined]
        return cast("CachedFunction[P, Coroutine[Any, Any, R]]", wrapper)

    return decorate


def _forgetting(api: Api, plan: FunctionPlan) -> Callable[..., None]:
    def invalidate(*args: Any, **kwargs: Any) -> None:
        place = plan.key(args, kwargs)
        api.forget(lambda other, _: other == place)

    return invalidate
