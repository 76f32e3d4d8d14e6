"""Canaries: texts that must be seen nowhere, and every place where they might be."""

from __future__ import annotations

import base64
import contextlib
import traceback
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import prometheus_client
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from servingclient import Settings
from servingclient.emulator import Emulator
from servingclient.integrations.call_log import CallLog
from servingclient.integrations.datadog import DatadogReporter
from servingclient.integrations.opentelemetry import OpenTelemetry
from servingclient.integrations.prometheus import PrometheusExporter
from servingclient.settings import Pool, Retry, Token
from tests.doors.kit import Door, Overheard, Who, principal, shown
from tests.enrichment.kit import Door as ApiDoor

KEY = "canary-apikey-41c7"
"""Of a header that a user adds to each request."""
PASSWORD = "canary-pa55word-8e02"
"""Of a proxy, a Redis, an API."""
WORD = "canaryrow7391"
"""In a row."""
NUMBER = 7391739.25
ROW = {"a": NUMBER, "b": 1.0}
TEXT_ROW = {"a": 1.0, "text": WORD}
REPLY = "canaryreply5520"
"""In what a model or an API answered."""
ID = "order-canary-17"
"""Of a caller's: goes to the endpoint and into the inference table, and is nobody else's."""

GIVEN = (KEY, PASSWORD, WORD, str(NUMBER), REPLY, ID)

QUICK = Settings(
    headers={"x-key": KEY},  # type: ignore[arg-type]
    retry=Retry(backoff_base_s=0.001, throttled_base_s=0.001, max_attempts=2),
    pool=Pool(max_reply_bytes=1 << 20, connect_timeout_s=1.0),
    token=Token(timeout_s=1.0, try_timeout_s=1.0),
    timeout_s=5.0,
)


class _Statsd:
    """A statsd client that keeps what it is to send."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def increment(self, *args: Any, **more: Any) -> None:
        self.sent.append((args, more))

    gauge = increment

    def __enter__(self) -> _Statsd:
        return self

    def __exit__(self, *_: object) -> None: ...


class Scene:
    """Clients of one colour that are watched by everybody who can be, and what there is to see."""

    def __init__(
        self,
        door: Door,
        emulator: Emulator,
        overheard: Overheard,
        capsys: pytest.CaptureFixture[str],
        folder: Path,
    ) -> None:
        self.door = door
        self.emulator = emulator
        self.api_door = ApiDoor(door.colour)
        self.folder = folder
        self.who = principal(emulator)
        self.clients: list[Any] = []
        self.errors: list[BaseException] = []
        self.more: list[str] = []
        """What a path printed, wrote or sent besides."""
        self._overheard = overheard
        self._capsys = capsys
        self._spans = InMemorySpanExporter()
        self._tracing = TracerProvider(shutdown_on_exit=False)
        self._tracing.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        self._meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self._registry = prometheus_client.CollectorRegistry()
        self._statsd: Any = _Statsd()
        self._datadog = DatadogReporter(self._statsd)
        self._observers = [
            CallLog(slow_s=0.0),
            OpenTelemetry(self._tracing, self._meters),
            PrometheusExporter(self._registry),
            self._datadog,
        ]

    def open(
        self, endpoint: str = "demo", who: Who | None = None, rules: Settings = QUICK, **more: Any
    ) -> Any:
        """A client with all observers there are."""
        client = self.door.open(endpoint, who or self.who, rules, observers=self._observers, **more)
        self.clients.append(client)
        return client

    def api(self, *args: Any, **more: Any) -> Any:
        """A client of an external API."""
        client = self.api_door.open(*args, **more)
        self.clients.append(client)
        return client

    @property
    def canaries(self) -> list[str]:
        """What must be seen nowhere, tokens that were issued meanwhile among it."""
        issued = list(self.emulator._workspace.tokens._grants)
        return [*GIVEN, *self.who.secrets, self.emulator.token, self.basic, *issued]

    @property
    def basic(self) -> str:
        """Id and secret as a login sends them."""
        given = self.who.arguments
        return base64.b64encode(f"{given['client_id']}:{given['client_secret']}".encode()).decode()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Keep what comes of the path, warnings too."""
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                yield
            except Exception as error:  # noqa: BLE001 - it is what is looked at
                self.errors.append(error)
        self.more += [str(one.message) for one in warned]

    def seen(self) -> dict[str, str]:
        """Every place, and what is to be seen there."""
        places = {f"error {n}": shown(error) for n, error in enumerate(self.errors)}
        places |= {f"frames {n}": frames(error) for n, error in enumerate(self.errors)}
        for n, client in enumerate(self.clients):
            stats = client.stats()
            places[f"client {n}"] = f"{client!r} {client}"
            places[f"stats {n}"] = f"{stats!r}\n{stats}"
            places[f"settings {n}"] = repr(client.settings)
        self._datadog.report()
        data = self._reader.get_metrics_data()
        out, err = self._capsys.readouterr()
        return places | {
            "log": self._overheard.text,
            "output": out + err,
            "warnings and files": "\n".join(self.more),
            "spans": "\n".join(span.to_json() for span in self._spans.get_finished_spans()),
            "OpenTelemetry": data.to_json() if data is not None else "",
            "Prometheus": prometheus_client.generate_latest(self._registry).decode(),
            "Datadog": repr(self._statsd.sent),
        }

    def end(self) -> None:
        """Close what was opened, and let go of all frames that were looked into."""
        for error in self.errors:
            for one in chain(error):
                if one.__traceback__ is not None:
                    traceback.clear_frames(one.__traceback__)
        self.errors.clear()
        self.clients.clear()
        self.api_door.end()
        self._tracing.shutdown()
        self._meters.shutdown()


def frames(error: BaseException) -> str:
    """Local variables of the library's own frames: error trackers send them along.

    Inputs are among them, as they are in the caller's frames, so only secrets are looked for here.
    """
    return "\n".join(text for one in chain(error) for text in _locals(one.__traceback__))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was caused by, as a traceback shows them."""
    while error is not None:
        yield error
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)


def _locals(at: TracebackType | None) -> Iterator[str]:
    while at is not None:
        if "/servingclient/" in at.tb_frame.f_code.co_filename.replace("\\", "/"):
            for value in at.tb_frame.f_locals.values():
                with contextlib.suppress(AttributeError):  # a client that could not be made
                    yield repr(value)
        at = at.tb_next


def found(place: str, text: str, canaries: Iterable[str]) -> list[str]:
    """The canaries that are seen at a place where they must not be."""
    payload = {WORD, str(NUMBER), REPLY, ID}
    wanted = [c for c in canaries if not (place.startswith("frames") and c in payload)]
    return [canary for canary in wanted if canary in text]
