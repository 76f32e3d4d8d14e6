"""The record of every request: what a test reads to learn what the service really saw."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from servingclient.emulator.wire import HostName, Request

Kind = Literal[
    "invocation",
    "token",
    "describe",
    "openapi",
    "metrics",
    "discovery",
    "external",
    "admin",
    "other",
]

_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request and what became of it; holds no credentials.

    Attributes:
        kind: What was asked for: ``"invocation"``, ``"token"``, ``"describe"`` and so on.
        endpoint: Name of the endpoint, where one is meant.
        served_model: Name of the served model that answered.
        client_request_id: The id in the body.
        request_id: The id in the reply.
        fault: Name of the fault that was applied.
        connection_id: Number of the connection it came over.
        host: Which host it came to: ``"workspace"``, ``"serving"``, ``"external"``.
        method: HTTP method.
        path: Path with query.
        headers: Header lines by lower-case name, without credentials.
        request_bytes: Size of the body as it arrived.
        rows: Rows of the input.
        decided_at_s: When its reply was decided, on the monotonic clock.
    """

    kind: Kind
    endpoint: str | None
    served_model: str | None
    client_request_id: str | None
    request_id: str | None
    status: int | None
    """Status that was sent, ``None`` when no reply was."""
    executed: bool
    """Whether the model ran."""
    fault: str | None
    connection_id: int
    host: HostName
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    """The body as received; ``None`` for token requests and above ``keep_body_bytes``."""
    request_bytes: int
    rows: int | None
    received_at_s: float
    """On the monotonic clock, as ``decided_at_s``."""
    decided_at_s: float


@dataclass(slots=True)
class Note:
    """What a handler fills in about a request while it works on it."""

    kind: Kind = "other"
    endpoint: str | None = None
    served_model: str | None = None
    client_request_id: str | None = None
    request_id: str | None = None
    executed: bool = False
    fault: str | None = None
    rows: int | None = None


class _Entry:
    """A request as it was noted; its record is built when it is first read, and kept."""

    __slots__ = ("_note", "_record", "_request", "_status", "_when_s")

    def __init__(self, request: Request, note: Note, status: int | None, when_s: float) -> None:
        self._request = request
        self._note = note
        self._status = status
        self._when_s = when_s
        self._record: RequestRecord | None = None

    def record(self) -> RequestRecord:
        """Return the record."""
        if self._record is None:
            self._record = _record(self._request, self._note, self._status, self._when_s)
        return self._record


class Journal:
    """Keeps the latest requests, and counts for ever.

    Written by the emulator's thread, read by any: each write is a single append or addition, and a
    reader copies. Records are built when they are read, since writing them is on the hot path of a
    benchmark.
    """

    def __init__(self, limit: int, keep_body_bytes: int) -> None:
        """Keep at most ``limit`` requests."""
        self._entries: deque[_Entry] = deque(maxlen=limit)
        self._keep_body_bytes = keep_body_bytes
        self._waiting: list[threading.Event] = []
        self.counts: Counter[str] = Counter()
        self.accepted: Counter[HostName] = Counter()

    def add(self, request: Request, note: Note, status: int | None) -> None:
        """Record a decision before its reply leaves: who has the reply sees the record."""
        # a token request's form holds the secret
        if len(request.body) > self._keep_body_bytes or note.kind == "token":
            request.body = b""
        self._entries.append(_Entry(request, note, status, time.monotonic()))
        self.counts[note.kind] += 1
        self.touch()

    def touch(self) -> None:
        """Wake whoever waits for a change."""
        for woken in tuple(self._waiting):
            woken.set()

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until the predicate holds; it is asked again after every change.

        It is asked without any lock held, so it may itself call the emulator.
        """
        deadline_s = time.monotonic() + timeout_s
        woken = threading.Event()
        self._waiting.append(woken)
        try:
            while not predicate():
                if not woken.wait(deadline_s - time.monotonic()):
                    return predicate()
                woken.clear()
            return True
        finally:
            self._waiting.remove(woken)

    def snapshot(self) -> list[RequestRecord]:
        """Return the records in the order they were decided."""
        return [entry.record() for entry in self._entries.copy()]

    def clear(self) -> None:
        """Forget records and counts."""
        self._entries.clear()
        self.counts.clear()
        self.accepted.clear()


def _record(request: Request, note: Note, status: int | None, decided_at_s: float) -> RequestRecord:
    return RequestRecord(
        kind=note.kind,
        endpoint=note.endpoint,
        served_model=note.served_model,
        client_request_id=note.client_request_id,
        request_id=note.request_id,
        status=status,
        executed=note.executed,
        fault=note.fault,
        connection_id=request.connection_id,
        host=request.host,
        method=request.method,
        path=request.path,
        headers={name: _shown(name, value) for name, value in request.headers.items()},
        body=request.body if request.body or not request.size_bytes else None,
        request_bytes=request.size_bytes,
        rows=note.rows,
        received_at_s=request.received_at_s,
        decided_at_s=decided_at_s,
    )


def _shown(name: str, value: str) -> str:
    if name not in _SECRET:
        return value
    scheme, _, secret = value.partition(" ")
    return f"{scheme} ***" if secret and name.endswith("authorization") else "***"
