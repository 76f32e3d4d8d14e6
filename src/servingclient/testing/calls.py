"""The calls that were made of a fake client, noted on their way to the library's own story."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from servingclient._open import rank_of
from servingclient._prediction import Prediction
from servingclient._stream import OpenStream
from servingclient.settings import Priority
from servingclient.stages.story import Calls, Opening

_PRIORITIES: tuple[Priority, ...] = ("critical", "default", "batch")
_NAMES = {rank_of(name): name for name in _PRIORITIES}


@dataclass(frozen=True, slots=True)
class MadeCall:
    """One call of ``predict`` or ``stream``, with what the settings say where it said nothing.

    Attributes:
        inputs: As they were given: the object itself.
        params: Parameters of the model.
        client_request_id: The caller's id.
        usage_context: Labels.
        served_model: Served model that was asked for.
        timeout_s: Seconds for the whole call.
        idempotent: Whether running it twice does no harm.
        priority: Who goes first.
        streamed: It was ``stream``.
    """

    inputs: Any
    params: Mapping[str, Any] | None
    client_request_id: str | None
    usage_context: Mapping[str, str] | None
    served_model: str | None
    timeout_s: float
    idempotent: bool
    priority: Priority
    streamed: bool = False


class Noted(NamedTuple):
    """Stands in for what a door calls: notes each call, then makes it."""

    calls: Calls
    opening: Opening
    made: list[MadeCall]

    async def predict(
        self,
        inputs: object,
        params: Mapping[str, object] | None,
        client_request_id: str | None,
        usage_context: Mapping[str, str] | None,
        served_model: str | None,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001
        priority: int,
    ) -> Prediction:
        """See ``stages.story.Calls``."""
        given = (inputs, params, client_request_id, usage_context, served_model)
        self.made.append(MadeCall(*given, timeout_s, idempotent, _NAMES[priority]))
        return await self.calls.predict(*given, timeout_s, idempotent, priority)

    async def open(
        self,
        inputs: object,
        params: Mapping[str, object] | None,
        client_request_id: str | None,
        usage_context: Mapping[str, str] | None,
        served_model: str | None,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001
        priority: int,
    ) -> OpenStream:
        """See ``stages.story.Opening``."""
        given = (inputs, params, client_request_id, usage_context, served_model)
        self.made.append(MadeCall(*given, timeout_s, idempotent, _NAMES[priority], streamed=True))
        return await self.opening(*given, timeout_s, idempotent, priority)
