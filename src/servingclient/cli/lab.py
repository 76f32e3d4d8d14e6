"""What the demo's steps work with: the emulator, clients of it, and what each step found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from statistics import median
from typing import Any

from servingclient._async_client import AsyncServingClient
from servingclient._client import ServingClient
from servingclient._prediction import Prediction
from servingclient._types import Attempt, Timing
from servingclient.cli import wines
from servingclient.cli.screen import Fact
from servingclient.cli.wines import NearestCentroid, Wine
from servingclient.emulator import Emulator, RequestRecord
from servingclient.settings import Settings, Tls

STANDARD = "wine"
FAST = "wine-fast"
"""Route-optimized: it has a URL of its own and takes tokens for it alone."""

_HOSTS = {"workspace": "the workspace", "serving": "the endpoint's own host"}
_NO_DECIMALS_S = 0.1
_SHOWN_MS = 0.05  # a part of the time below this would read 0.0
_PARTS = {
    "encode_s": "encode",
    "queue_s": "queue",
    "token_s": "token",
    "connect_s": "connect",
    "first_byte_s": "first byte",
    "decode_s": "decode",
    "backoff_s": "backoff",
    "preprocess_s": "preprocess",
    "enrich_s": "enrich",
    "postprocess_s": "postprocess",
}


@dataclass
class Report:
    """What one step found."""

    facts: list[Fact] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: str | None = None

    def fact(self, name: str, value: str) -> None:
        """Note something to show."""
        self.facts.append((name, value))

    def expect(self, claim: str, held: object) -> None:
        """Note what must be so."""
        if not held:
            self.failed.append(claim)


class Seen:
    """What the emulator saw of one step: requests, tokens, and how often each call ran."""

    def __init__(self, emulator: Emulator, endpoint: str) -> None:
        self._emulator = emulator
        self._endpoint = endpoint
        self._ran = emulator.executions(endpoint)
        self._requests = len(emulator.requests)
        self._tokens = emulator.token_requests

    @property
    def invocations(self) -> list[RequestRecord]:
        """The requests for predictions that were answered, in order."""
        records = self._emulator.requests[self._requests :]
        return [record for record in records if record.kind == "invocation"]

    @property
    def token_requests(self) -> int:
        """How many tokens were asked for."""
        return self._emulator.token_requests - self._tokens

    @property
    def runs(self) -> Counter[str | None]:
        """How often the model ran, by call."""
        return self._emulator.executions(self._endpoint) - self._ran

    def answered(self, status: int) -> int:
        """How often ``status`` was answered."""
        return sum(record.status == status for record in self.invocations)

    @property
    def connections(self) -> int:
        """How many connections were used."""
        return len({record.connection_id for record in self.invocations})

    def only(self, host: str) -> bool:
        """Whether no other of the two hosts was asked."""
        return {record.host for record in self.invocations} == {host}

    def report(self, report: Report, calls: int, *, allowed: int = 1) -> None:
        """Say how often the model ran for ``calls`` calls; each may ``allowed`` times."""
        runs = self.runs
        total, most = sum(runs.values()), max(runs.values(), default=0)
        told = f"{_count(total, 'time')} for {_count(calls, 'call')}"
        if calls > 1:
            told += f", for none more than {_count(most, 'time')}"
        report.fact("model ran", told)
        report.expect("the model runs for every call", len(runs) == calls)
        report.expect(f"for no call more than {_count(allowed, 'time')}", most <= allowed)
        hosts = {record.host for record in self.invocations}
        if hosts:
            where = " and ".join(sorted(map(_HOSTS.__getitem__, hosts)))
            report.fact("connections", f"{self.connections} to {where}")


@dataclass
class Lab:
    """The emulator with the wine model on it, and the wines that the model has not seen."""

    emulator: Emulator
    settings: Settings
    model: NearestCentroid
    wines: list[Wine]
    labels: list[int]
    total: int

    def sync(self, endpoint: str, **changes: Any) -> ServingClient:
        """A blocking client with the service principal's credentials."""
        return ServingClient(endpoint, **self._given(changes))

    def asynchronous(self, endpoint: str, **changes: Any) -> AsyncServingClient:
        """An async client with the service principal's credentials."""
        return AsyncServingClient(endpoint, **self._given(changes))

    def _given(self, changes: dict[str, Any]) -> dict[str, Any]:
        credentials = {
            "client_id": self.emulator.client_id,
            "client_secret": self.emulator.client_secret,
        }
        return {
            "host": self.emulator.host,
            "settings": self.settings,
            **({} if "token" in changes else credentials),
            **changes,
        }

    @contextmanager
    def endpoint(self, name: str, **changes: Any) -> Iterator[None]:
        """Change an endpoint of the emulator for a while."""
        plain = {"slots": None, "queue": None, "service_time_s": 0.0}
        self.emulator.change_endpoint(name, **changes)
        try:
            yield
        finally:
            self.emulator.change_endpoint(name, **plain)

    def report(self, report: Report, predictions: Sequence[Prediction], rows: int) -> None:
        """Say what came back for the first ``rows`` wines, in order over all calls."""
        statuses = Counter(prediction.status for prediction in predictions)
        report.fact("answers", ", ".join(f"{n} x {status}" for status, n in statuses.items()))
        report.expect("every call is answered with 200", set(statuses) == {200})
        report.fact("tries", _tries(predictions))
        report.fact("time", _times([prediction.timing for prediction in predictions]))
        values = [value for prediction in predictions for value in prediction.predictions]
        right = sum(value == label for value, label in zip(values, self.labels, strict=False))
        report.fact("accuracy", f"{right} of {rows} wines right ({right / rows:.1%})")
        report.expect(
            "the predictions are the model's own", values == self.model(self.wines[:rows])
        )


@contextmanager
def laboratory() -> Iterator[Lab]:
    """An emulator with the model, fitted to every other wine.

    Raises:
        RuntimeError: The emulator's extra is not installed.
    """
    rows, labels = wines.load()
    model = NearestCentroid(rows[::2], labels[::2])
    emulator = Emulator()
    emulator.add_endpoint(STANDARD, model)
    emulator.add_endpoint(FAST, model, route_optimized=True)
    with emulator:
        settings = Settings(tls=Tls(ca_file=emulator.ca_file))
        yield Lab(emulator, settings, model, rows[1::2], labels[1::2], len(rows))


def attempts_text(attempts: Iterable[Attempt]) -> str:
    """The tries of one call, one after the other."""
    told = []
    for number, attempt in enumerate(attempts, 1):
        waited = f"waited {_ms(attempt.wait_s)}, " if attempt.wait_s else ""
        outcome = attempt.cause or attempt.status
        told.append(f"try {number}: {waited}{outcome} in {_ms(attempt.duration_s)}")
    return "; ".join(told)


def _tries(predictions: Sequence[Prediction]) -> str:
    if len(predictions) == 1:
        return attempts_text(predictions[0].attempts)
    counts = sorted(Counter(len(p.attempts) for p in predictions).items())
    text = ", ".join(f"{calls} x {_count(tries, 'try')}" for tries, calls in counts)
    attempts = [attempt for p in predictions for attempt in p.attempts]
    causes = Counter(attempt.cause for attempt in attempts if attempt.cause)
    if causes:
        text += f"; causes: {', '.join(f'{n} x {cause}' for cause, n in sorted(causes.items()))}"
    waits = [attempt.wait_s for attempt in attempts if attempt.wait_s]
    if waits:
        text += f"; waits {_ms(min(waits))} to {_ms(max(waits))}"
    return text


def _times(timings: Sequence[Timing]) -> str:
    medians = {
        f.name: 1000 * median(getattr(timing, f.name) for timing in timings) for f in fields(Timing)
    }
    shown = [
        f"{label} {medians[name]:.1f}"
        for name, label in _PARTS.items()
        if medians[name] >= _SHOWN_MS
    ]
    which = "" if len(timings) == 1 else "median "
    parts = f" (of it {', '.join(shown)})" if shown else ""
    return f"{which}{medians['total_s']:.1f} ms{parts}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.{0 if seconds >= _NO_DECIMALS_S else 1}f} ms"


def _count(number: int, noun: str) -> str:
    plural = {"try": "tries"}.get(noun, f"{noun}s")
    return f"{number} {noun if number == 1 else plural}"
