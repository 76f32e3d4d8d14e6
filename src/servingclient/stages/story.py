"""The story of a call with stages around it: what the doors call when a client has any. Pure."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any, Protocol

from servingclient._call import Story
from servingclient._explain import shown_s
from servingclient._opening import open_stream
from servingclient._prediction import Prediction, staged
from servingclient._stream import OpenStream
from servingclient.errors import ConfigError, DeadlineExceeded, QueueFull, ServingError
from servingclient.stages.staging import Prepared, Span, Staging


class Calls(Protocol):
    """What a door calls: a ``Story``, or what stands in for it."""

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
        """Score ``inputs``; the doors say what each argument is."""


class Opening(Protocol):
    """Opens a stream."""

    def __call__(
        self,
        inputs: object,
        params: Mapping[str, object] | None,
        client_request_id: str | None,
        usage_context: Mapping[str, str] | None,
        served_model: str | None,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001
        priority: int,
    ) -> Coroutine[Any, Any, OpenStream]:
        """The arguments of ``Calls.predict``."""


class StagedStory:
    """Stands in for a ``Story`` where calls are made, with the caller's functions around each.

    Args:
        calls: Makes them.
        story: How this client calls.
        staging: Runs the functions.
    """

    __slots__ = ("_calls", "_staging", "_story")

    def __init__(self, calls: Calls, story: Story, staging: Staging) -> None:
        self._calls = calls
        self._story = story
        self._staging = staging

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
        """Like ``Story.predict``; the stages take their part of the time."""
        staging, now = self._staging, self._story.world.now
        span = Span(now(), timeout_s)
        staging.begin()
        try:
            prepared = await staging.before(inputs, span)
            began_s = now()
            try:
                prediction = await self._calls.predict(
                    prepared.inputs,
                    params,
                    client_request_id,
                    usage_context,
                    served_model,
                    span.deadline_s - began_s,
                    idempotent,
                    priority,
                )
            except ServingError as error:
                _tell_of_stages(error, prepared, began_s - span.started_s, timeout_s)
                raise
            answered_s = now()
            values = await staging.after(prediction.predictions, prediction, span)
            ended_s = now()
        finally:
            staging.end()
        after_s = 0.0 if staging.stages.postprocess is None else ended_s - answered_s
        stages_s = (prepared.preprocess_s, prepared.enrich_s, after_s)
        total_s = ended_s - span.started_s
        return staged(prediction, values, total_s, stages_s, prepared.enrichment_error)

    async def open_stream(
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
        """Like ``_opening.open_stream``.

        Raises:
            ConfigError: There is a ``postprocess``, which takes whole predictions: it would be left
                out, which may be just what it is there to prevent.
        """
        staging, now = self._staging, self._story.world.now
        if staging.stages.postprocess is not None:
            raise ConfigError(
                "postprocess takes whole predictions, and a stream has events. Call "
                "with_options(postprocess=None).stream(...) and treat each event where you read it."
            )
        span = Span(now(), timeout_s)
        staging.begin()
        try:
            prepared = await staging.before(inputs, span)
        finally:
            staging.end()
        began_s = now()
        try:
            return await open_stream(
                self._story,
                prepared.inputs,
                params,
                client_request_id,
                usage_context,
                served_model,
                span.deadline_s - began_s,
                idempotent,
                priority,
            )
        except ServingError as error:
            _tell_of_stages(error, prepared, began_s - span.started_s, timeout_s)
            raise


def _tell_of_stages(
    error: ServingError, prepared: Prepared, before_s: float, timeout_s: float
) -> None:
    """Make the time of an error that of the whole call, and say what the stages took of it."""
    if error.elapsed_s is not None:
        error.elapsed_s += before_s
    if isinstance(error, (DeadlineExceeded, QueueFull)):
        parts = {"preprocess": prepared.preprocess_s, "enrich": prepared.enrich_s}
        told = " and ".join(f"{name} {shown_s(spent)}" for name, spent in parts.items() if spent)
        error.args = (f"{error} Of timeout_s={timeout_s:g}, {told or 'stages'} came before it.",)


def calls_around(calls: Calls, story: Story, staging: Staging) -> Calls:
    """What a door calls: without stages what it would have called anyway."""
    return StagedStory(calls, story, staging) if staging.stages.any else calls


def opening_around(calls: Calls, story: Story) -> Opening:
    """How a door opens streams; likewise."""
    if isinstance(calls, StagedStory):
        return calls.open_stream
    return partial(open_stream, story)
