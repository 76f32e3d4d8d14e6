"""How the stages around a call are run: in order, within its time, each timed apart. Pure."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from servingclient._explain import shown_s
from servingclient._prediction import Prediction
from servingclient.errors import ConfigError, DeadlineExceeded, PayloadError
from servingclient.stages.functions import Stage, Stages
from servingclient.telemetry.recorder import Recorder

_log = logging.getLogger("servingclient.stages")


class NotDone(Exception):  # noqa: N818 - an internal signal
    """The time was up before a function returned. What runs in a thread runs on.

    Attributes:
        took_s: Seconds it took, where it did return.
        began: Whether it began; one that did not waited for a thread.
    """

    def __init__(self, took_s: float | None = None, *, began: bool = True) -> None:
        super().__init__("the time is up")
        self.took_s = took_s
        self.began = began


class Hands(Protocol):
    """Runs the caller's functions. One class per colour; one per client, shared by its copies."""

    def begin(self) -> None:
        """A call, or a part of one, begins to use them.

        Raises:
            ClientClosedError: The client is closed.
        """

    def end(self) -> None:
        """It has ended."""

    async def run(self, stage: Stage, arguments: tuple[Any, ...], left_s: float) -> Any:
        """What a function returns, or raises.

        Raises:
            NotDone: It would take longer than ``left_s``. A blocking one always runs to its end.
        """


class Span(NamedTuple):
    """The time of one call."""

    started_s: float
    timeout_s: float

    @property
    def deadline_s(self) -> float:
        """When it is up."""
        return self.started_s + self.timeout_s


class Prepared(NamedTuple):
    """What is to be scored.

    Attributes:
        inputs: What the stages before made of the caller's.
        preprocess_s: Seconds that took; 0.0 without it.
        enrich_s: Likewise.
        enrichment_error: What ``enrich`` raised, if it goes on without.
    """

    inputs: Any
    preprocess_s: float
    enrich_s: float
    enrichment_error: str | None


class Staging:
    """Runs the stages of one client.

    Args:
        endpoint: For messages.
        stages: The functions.
        hands: Run them.
        now: The client's clock.
        recorder: Notes what they took.
    """

    __slots__ = ("_endpoint", "_hands", "_now", "_recorder", "stages")

    def __init__(
        self,
        endpoint: str,
        stages: Stages,
        hands: Hands,
        now: Callable[[], float],
        recorder: Recorder,
    ) -> None:
        self.stages: Stages = stages
        self._recorder = recorder
        self._endpoint = endpoint
        self._hands = hands
        self._now = now

    def begin(self) -> None:
        """See ``Hands.begin``."""
        self._hands.begin()

    def end(self) -> None:
        """See ``Hands.end``."""
        self._hands.end()

    async def before(self, inputs: Any, span: Span) -> Prepared:
        """Run what comes before the call.

        Raises:
            DeadlineExceeded: The time is up.
            PayloadError: A function returned nothing.
            ConfigError: A function must be awaited, and the client is a blocking one.
            Exception: What a function raised.
        """
        stages, now = self.stages, self._now
        preprocess_s = enrich_s = 0.0
        error = None
        if stages.preprocess is not None:
            began_s = now()
            inputs = await self._inputs(stages.preprocess, (inputs,), span)
            preprocess_s = now() - began_s
        if stages.enrich is not None:
            began_s = now()
            inputs, error = await self._enriched(stages.enrich, inputs, span)
            enrich_s = now() - began_s
        return Prepared(inputs, preprocess_s, enrich_s, error)

    async def _enriched(self, enrich: Stage, inputs: Any, span: Span) -> tuple[Any, str | None]:
        """The inputs enriched, or what stands in for them and why."""
        began_s = self._now()
        fallback = self.stages.on_enrichment_error
        if fallback == "raise":
            return await self._inputs(enrich, (inputs,), span), None
        try:
            made = await self._timed(enrich, (inputs,), span)
        except NotDone as late:
            raise self._late(enrich, late, span, None) from None
        except Exception as error:
            now_s = self._now()
            if now_s >= span.deadline_s:
                raise self._late(enrich, NotDone(now_s - began_s), span, None) from error
            kind = type(error).__name__
            _log.warning("enrichment_failed endpoint=%s error=%s", self._endpoint, kind)
            if isinstance(fallback, Stage):
                inputs = await self._inputs(fallback, (inputs, error), span)
            return inputs, f"{kind}: {error}"
        return self._checked(enrich, made), None

    async def _inputs(self, stage: Stage, arguments: tuple[Any, ...], span: Span) -> Any:
        """What a stage makes of the inputs."""
        return self._checked(stage, await self._ran(stage, arguments, span, None))

    def _checked(self, stage: Stage, made: Any) -> Any:
        """Refuse what no inputs can be; a mistake in the function is no failed enrichment."""
        _refuse_coroutine(stage, made)
        if made is None:
            error = PayloadError(
                f"{stage.name} returned None instead of inputs, so nothing was sent. Does it lack "
                "a return?"
            )
            error.endpoint = self._endpoint
            raise error
        return made

    async def after(self, values: Any, answered: Prediction | None, span: Span) -> Any:
        """What ``postprocess`` makes of what came back.

        Args:
            values: What it gets.
            answered: The call they are of; None where they are of several.
            span: The time of the call.

        Raises:
            DeadlineExceeded: The time is up.
            Exception: What the function raised.
        """
        stage = self.stages.postprocess
        if stage is None:
            return values
        made = await self._ran(stage, (values,), span, answered)
        _refuse_coroutine(stage, made)
        return made

    async def _ran(
        self, stage: Stage, arguments: tuple[Any, ...], span: Span, answered: Prediction | None
    ) -> Any:
        """What a stage returns; what it raises says beside where it came from."""
        try:
            return await self._timed(stage, arguments, span)
        except NotDone as late:
            raise self._late(stage, late, span, answered) from None
        except Exception as error:
            self._note(stage, error, answered)
            raise

    async def _timed(self, stage: Stage, arguments: tuple[Any, ...], span: Span) -> Any:
        """What a stage returns, if the call still has time then."""
        began_s = self._now()
        try:
            made = await self._hands.run(stage, arguments, span.deadline_s - began_s)
            now_s = self._now()
            if now_s >= span.deadline_s:
                raise NotDone(now_s - began_s)
        except Exception:
            self._recorder.note(self._now(), "stage_failed", stage.name)
            raise
        self._recorder.note(now_s, stage.name, None, now_s - began_s)
        return made

    def _note(self, stage: Stage, error: Exception, answered: Prediction | None) -> None:
        """Say beside the caller's own error where it came from; Python 3.10 knows no notes."""
        text = f"Raised by {stage.name} of the client of {self._endpoint!r}"
        if stage.name == "postprocess":
            told = self._answer(answered)
            text += f", after the endpoint had answered{told}; its prediction is not returned."
            _log.warning(
                "postprocess_failed endpoint=%s error=%s", self._endpoint, type(error).__name__
            )
        else:
            text += ", before anything was sent."
        add_note = getattr(error, "add_note", None)
        if add_note is not None and text not in getattr(error, "__notes__", ()):
            add_note(text)

    def _answer(self, answered: Prediction | None) -> str:
        reply_id = None if answered is None else answered.request_id
        return "" if reply_id is None else f" (request id {reply_id})"

    def _late(
        self, stage: Stage, late: NotDone, span: Span, answered: Prediction | None
    ) -> DeadlineExceeded:
        """The error of a call whose time was up in a stage.

        Args:
            stage: The one that took it.
            late: How far it came.
            span: The call's time.
            answered: The call itself, where it had been made.
        """
        elapsed_s = self._now() - span.started_s
        advice = f"Make {stage.name} faster, or allow more time."
        if not late.began:
            what = f"{stage.name} still waited for a thread after {shown_s(elapsed_s)} of the call"
            advice = (
                "Functions of other calls hold all Settings.stage_threads: give what they call a "
                "time limit, make them async, or set more threads."
            )
        elif late.took_s is None:
            what = f"{stage.name} was not done after {shown_s(elapsed_s)} of the call"
        else:
            what = f"{stage.name} took {shown_s(late.took_s)} of the call's {shown_s(elapsed_s)}"
        state = "Nothing was sent"
        if stage.name == "postprocess":
            state = f"The endpoint had answered{self._answer(answered)}"
        error = DeadlineExceeded(
            f"{self._endpoint!r}: {what}, which has timeout_s={span.timeout_s:g}. {state}. {advice}"
        )
        error.endpoint = self._endpoint
        error.elapsed_s = elapsed_s
        error.stopped_by = "deadline"
        error.retryable = None
        if answered is not None:
            error.sent = "yes"
            error.attempts = answered.attempts
            error.request_id = answered.request_id
            error.status_code = answered.status
        return error


def _refuse_coroutine(stage: Stage, made: Any) -> None:
    """An event loop has awaited it; a lambda hides from a blocking client that it must be."""
    if inspect.iscoroutine(made):
        made.close()
        raise ConfigError(
            f"{stage.name} returned a coroutine, which ServingClient cannot await. Give a plain "
            "function, or use AsyncServingClient."
        )
