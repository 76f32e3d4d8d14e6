"""A call that is followed from its beginning to its end.

Only where a client has a tracer: without one a call pays two comparisons with None.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from servingclient._prediction import Prediction
from servingclient._types import Attempt
from servingclient._watching import Span, Tracer


class Followed(Protocol):
    """What of a call is asked for here."""

    started_s: float
    attempts: tuple[Attempt, ...]
    span: Span | None


C = TypeVar("C", bound=Followed)


async def scored(
    tracer: Tracer,
    endpoint: str,
    now_s: float,
    call: C,
    score: Callable[[C], Awaitable[Prediction]],
) -> Prediction:
    """A call under a span of its own, whatever it comes to.

    Args:
        tracer: Makes the span.
        endpoint: Name of the endpoint.
        now_s: An instant of the client's clock.
        call: What to send.
        score: Sends it.
    """
    call.span = span = tracer.call_begun(endpoint, now_s - call.started_s, "call")
    try:
        prediction = await score(call)
    except BaseException as error:
        span.ended(call.attempts, error)
        raise
    span.ended(call.attempts, None, prediction.request_id if span.recording else None)
    return prediction
