"""Who watches a client, and what they learn: calls that ended, calls that begin, figures."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from servingclient._types import Attempt, Target

_log = logging.getLogger("servingclient.call")


class CallEnded(NamedTuple):
    """What observers learn of a finished call.

    Attributes:
        endpoint: Name of the endpoint.
        status: HTTP status of the last reply, or None.
        error: Class name of the error raised, or None.
        duration_s: Seconds of the whole call.
        queue_s: Seconds spent waiting for a connection.
        attempts: How many tries were made.
        request_bytes: Size of the encoded request.
        reply_bytes: Size of the decoded reply; 0 without one.
        streamed: It was a stream, which is over.
    """

    endpoint: str
    status: int | None
    error: str | None
    duration_s: float
    queue_s: float
    attempts: int
    request_bytes: int
    reply_bytes: int
    streamed: bool = False


class AttemptEnded(NamedTuple):
    """What observers learn of a failed try.

    Attributes:
        endpoint: Name of the endpoint.
        attempt: The try.
        reason: A status such as ``"429"``, else a kind such as ``"never_sent"`` or ``"slow"``;
            ``"unfit"`` for a reply with status 200 that cannot be used.
    """

    endpoint: str
    attempt: Attempt
    reason: str = ""


class Observer(Protocol):
    """Watches calls. Must be quick: it runs inside the call. What it raises is only logged."""

    def call_ended(self, event: CallEnded) -> None:
        """A call returned or raised."""

    def attempt_failed(self, event: AttemptEnded) -> None:
        """One try failed; another may follow."""


class Span(Protocol):
    """One call under way, as a tracer follows it. None of it may raise."""

    @property
    def recording(self) -> bool:
        """Whether details are kept, so that they are worth looking up."""

    def carried(self, target: Target) -> Target:
        """The target with the header lines by which the endpoint joins the trace; at each try."""

    def attempt_failed(self, attempt: Attempt) -> None:
        """One try failed; another may follow."""

    def left(self) -> None:
        """The caller goes on and the call has not ended: a stream is open."""

    def ended(
        self,
        attempts: Sequence[Attempt],
        error: BaseException | None = None,
        request_id: str | None = None,
    ) -> None:
        """It is over.

        Args:
            attempts: All tries; for a call that shared a request, those of the request.
            error: What the caller gets instead of an answer.
            request_id: Id the service gave the reply, where one was looked up.
        """


Role = Literal["call", "member", "shared"]
"""A call that sends its own request; one whose rows go with others'; the request they share."""


class Tracer(Protocol):
    """An observer that wants to know when calls begin. It may not raise."""

    def call_begun(
        self, endpoint: str, age_s: float, role: Role, links: Sequence[Span] = ()
    ) -> Span:
        """A call begins, and is what the running code works for until it ends or is left.

        Args:
            endpoint: Name of the endpoint.
            age_s: How long ago it began.
            role: Who sends its rows.
            links: The calls whose rows a shared request carries.
        """


class Figured(Protocol):
    """What has figures: a client of either colour."""

    @property
    def endpoint(self) -> str:
        """Name of the endpoint."""

    @property
    def apis(self) -> tuple[Any, ...]:
        """Clients of external APIs, its copies' too: ``stages.functions.Api``."""

    def stats(self) -> Any:
        """What it has counted and holds now: ``telemetry.snapshot.Stats``."""


class Reader(Protocol):
    """An observer that reads the figures of its clients when it wants to."""

    def client_opened(self, client: Figured) -> None:
        """A client was made with it; copies that share its connections are the same client."""

    def client_closed(self, client: Figured) -> None:
        """It has been closed."""


class Watching(NamedTuple):
    """The observers of one client, by what they want to know.

    Attributes:
        observers: Told of calls that ended.
        tracer: Told when calls begin; at most one.
        readers: Told of the client.
    """

    observers: tuple[Observer, ...] = ()
    tracer: Tracer | None = None
    readers: tuple[Reader, ...] = ()


def tell(observers: Iterable[Observer], event: CallEnded) -> None:
    """Let the observers know of a finished call. One that raises is told on, and costs no call."""
    for observer in observers:
        try:
            observer.call_ended(event)
        except Exception as error:  # noqa: BLE001 - it is not the caller's business
            complain(observer, error)


def complain(observer: Observer, error: Exception) -> None:
    """Say in the log that an observer failed."""
    _log.warning("observer_failed observer=%s error=%r", type(observer).__name__, error)
