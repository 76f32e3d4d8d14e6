"""One call as OpenTelemetry follows it: its span, its events, its two durations."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Status, StatusCode

from servingclient._types import Attempt, Origin, Target
from servingclient._watching import Role
from servingclient.errors import ServingError
from servingclient.integrations.otel_metrics import Instruments
from servingclient.telemetry.exported import PREFIX

_log = logging.getLogger("servingclient.export")

METHOD: Final = "POST"
_OK: Final = 200
_QUIET: Final = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", None)
"""What OpenTelemetry's instrumentation of httpx looks for before it adds a span of its own."""


class CallSpan:
    """One call under way; see ``_watching.Span``.

    What tracing raises is told in the log and costs no call: providers, samplers, processors and
    propagators are the user's.
    """

    __slots__ = (
        "_before",
        "_began_s",
        "_context",
        "_endpoint",
        "_instruments",
        "_origin",
        "_propagator",
        "_role",
        "_token",
        "span",
    )

    def __init__(
        self,
        instruments: Instruments,
        propagator: TextMapPropagator | None,
        endpoint: str,
        age_s: float,
        role: Role,
    ) -> None:
        self._instruments = instruments
        self._propagator = propagator
        self._endpoint = endpoint
        self._role = role
        self._began_s: float | None = time.perf_counter() - age_s
        self._origin: Origin | None = None
        self._before: Context | None = None
        self._context: Context | None = None
        self._token: Any = None
        self.span: trace.Span = trace.INVALID_SPAN

    def enter(self, span: trace.Span) -> None:
        """Follow the call with ``span``, which the running code is inside of from now on."""
        self.span = span
        self._before = context.get_current()
        inside = trace.set_span_in_context(span, self._before)
        if _QUIET is not None and span.get_span_context().is_valid:
            inside = context.set_value(_QUIET, True, inside)
        self._context = inside
        self._token = context.attach(inside)

    @property
    def recording(self) -> bool:
        """See ``_watching.Span``."""
        return self.span.is_recording()

    def carried(self, target: Target) -> Target:
        """See ``_watching.Span``."""
        lines: dict[str, str] = {}
        try:
            if target.origin != self._origin:
                self._origin = target.origin
                if self.span.is_recording():
                    self.span.set_attributes(
                        {
                            "server.address": target.origin.host,
                            "server.port": target.origin.port,
                            "url.full": f"{target.origin}{target.path}",
                        }
                    )
            (self._propagator or propagate.get_global_textmap()).inject(lines, self._context)
            return target.adding(lines.items())
        except Exception as error:  # noqa: BLE001 - see above
            complain(error)
            return target

    def attempt_failed(self, attempt: Attempt) -> None:
        """See ``_watching.Span``."""
        if not self.span.is_recording():
            return
        known = {
            "http.response.status_code": attempt.status,
            f"{PREFIX}attempt.cause": attempt.cause,
            f"{PREFIX}attempt.duration": attempt.duration_s,
            f"{PREFIX}attempt.wait": attempt.wait_s,
            f"{PREFIX}request_id": attempt.request_id,
        }
        try:
            self.span.add_event(
                f"{PREFIX}attempt_failed",
                {name: value for name, value in known.items() if value is not None},
            )
        except Exception as error:  # noqa: BLE001 - see above
            complain(error)

    def left(self) -> None:
        """See ``_watching.Span``."""
        token, self._token = self._token, None
        if token is not None:
            context.detach(token)

    def _broken_off(self) -> None:
        """Its coroutine was closed, by who ran it or by the collector amid anything. A token is
        good only where it was given out, so what was current before is made current, if we still
        are.
        """
        self._token = None
        if self._before is not None and context.get_current() is self._context:
            context.attach(self._before)

    def ended(
        self,
        attempts: Sequence[Attempt],
        error: BaseException | None = None,
        request_id: str | None = None,
    ) -> None:
        """See ``_watching.Span``."""
        began_s, self._began_s = self._began_s, None
        if began_s is None:
            return
        if isinstance(error, GeneratorExit):
            self._broken_off()
        self.left()
        try:
            if self.span.is_recording():
                self._describe(attempts, error, request_id)
            self.span.end()
            if self._role != "member":
                self._record_attempts(attempts)
            if self._role != "shared":
                self._instruments.calls.record(time.perf_counter() - began_s, self._outcome(error))
        except Exception as failure:  # noqa: BLE001 - see above
            complain(failure)

    def _describe(
        self, attempts: Sequence[Attempt], error: BaseException | None, request_id: str | None
    ) -> None:
        known: dict[str, str | int | None] = {f"{PREFIX}attempts": len(attempts)}
        status = attempts[-1].status if attempts else None
        if self._role != "member":
            known["http.response.status_code"] = status
            if len(attempts) > 1:
                known["http.request.resend_count"] = len(attempts) - 1
        if isinstance(error, ServingError):
            request_id = error.request_id
            known[f"{PREFIX}stopped_by"] = error.stopped_by
        known[f"{PREFIX}request_id"] = request_id
        if error is not None:
            known["error.type"] = type(error).__name__
            # the words of our own errors hold no input and no secret; of others' nobody knows
            words = str(error) if isinstance(error, ServingError) else type(error).__name__
            self.span.set_status(Status(StatusCode.ERROR, words))
        self.span.set_attributes(
            {name: value for name, value in known.items() if value is not None}
        )

    def _record_attempts(self, attempts: Sequence[Attempt]) -> None:
        origin = self._origin
        for attempt in attempts:
            about: dict[str, str | int] = {"http.request.method": METHOD}
            if origin is not None:
                about["server.address"], about["server.port"] = origin.host, origin.port
            if attempt.status is not None:
                about["http.response.status_code"] = attempt.status
            if attempt.cause is not None:
                refused = attempt.status is not None and attempt.status != _OK
                about["error.type"] = str(attempt.status) if refused else _kind(attempt)
            self._instruments.requests.record(attempt.duration_s, about)

    def _outcome(self, error: BaseException | None) -> dict[str, str]:
        about = {f"{PREFIX}endpoint": self._endpoint}
        if error is not None:
            about["error.type"] = type(error).__name__
        return about


def _kind(attempt: Attempt) -> str:
    """A reply of status 200 that cannot be used goes by its error's class."""
    return "no_reply" if attempt.status is None else str(attempt.cause)


def complain(error: Exception) -> None:
    """Say in the log that tracing failed; what it said may hold anything, so not that."""
    _log.warning("tracing_failed error=%s", type(error).__name__)
