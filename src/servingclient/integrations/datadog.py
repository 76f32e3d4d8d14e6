"""Metrics for Datadog over DogStatsD: ``pip install 'servingclient[datadog]'``.

::

    with DatadogReporter() as reporter:                  # starts it; leaving the block stops it
        client = ServingClient("fraud-model", observers=[reporter])

What clients have counted is sent every ten seconds, so a call pays nothing. DogStatsD adds up the
counts of many processes, but no percentiles: those sent are of one process. Where percentiles over
all are wanted, send OpenTelemetry's histograms to the Datadog Agent over OTLP instead.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, NamedTuple

from datadog.dogstatsd.base import DogStatsd

from servingclient._watching import Figured
from servingclient.errors import ConfigError
from servingclient.integrations.watched import Watched
from servingclient.telemetry.exported import METRICS, PREFIX, Figures, since
from servingclient.telemetry.histogram import Histogram
from servingclient.transport.fork_lock import fork_lock

_log = logging.getLogger("servingclient.export")

_SHARES: Final = (0.5, 0.9, 0.99, 1.0)
_NAMES: Final = ("p50", "p90", "p99", "max")
PARTS: Final = ("count", "sum", *_NAMES)
"""What a histogram is sent as, behind its name and a dot: two counts, four gauges."""


class _Line(NamedTuple):
    """One value to send: a count if it is one, else a gauge."""

    name: str
    value: float
    tags: list[str]
    counts: bool


class DatadogReporter:
    """Sends the figures of the clients it is given to as an observer.

    Nothing is sent before ``start``; where threads are not wanted, call ``report`` at will. In a
    process that forks, start it in the children.

    Args:
        statsd: Where to send; None is a client that goes by ``DD_AGENT_HOST`` and
            ``DD_DOGSTATSD_PORT``.
        interval_s: Seconds between two reports.
        tags: Of every value, such as ``"env:prod"``.

    Raises:
        ConfigError: The interval is no time.
    """

    def __init__(
        self,
        statsd: DogStatsd | None = None,
        *,
        interval_s: float = 10.0,
        tags: Sequence[str] = (),
    ) -> None:
        if not 0.0 < interval_s < threading.TIMEOUT_MAX:
            raise ConfigError(f"interval_s is {interval_s!r}; give seconds above 0, such as 10.")
        self._statsd = DogStatsd() if statsd is None else statsd
        self._interval_s = interval_s
        self._tags = list(tags)
        self._watched = Watched()
        self._lock = fork_lock()
        self._pid = os.getpid()
        self._before: Figures = {}
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def client_opened(self, client: Figured) -> None:
        """See ``_watching.Reader``."""
        self._watched.add(client)

    def client_closed(self, client: Figured) -> None:
        """See ``_watching.Reader``."""
        self._watched.remove(client)

    def start(self) -> None:
        """Report from now on, from a thread of its own. Once started, it does nothing."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._over.clear()
        self._thread = threading.Thread(target=self._run, name="servingclient-datadog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Report once more and end the thread. May be called again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._over.set()
            thread.join()
            self.report()

    def report(self) -> None:
        """Send what has changed since the last report, and what is now. It does not raise."""
        with self._lock:
            if self._pid != os.getpid():  # what the parent has sent says nothing of a child
                self._pid, self._before = os.getpid(), {}
            figures, before = self._watched.figures(), self._before
            self._before = figures
            try:
                with self._statsd as buffered:
                    for name, value, tags, counts in _lines(figures, before):
                        send = buffered.increment if counts else buffered.gauge
                        send(name, value, tags=[*self._tags, *tags])
            except Exception as error:  # noqa: BLE001 - a report that is lost costs no call
                _log.warning("report_failed to=datadog error=%r", error)

    def _run(self) -> None:
        while not self._over.wait(self._interval_s):
            self.report()

    def __enter__(self) -> DatadogReporter:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _lines(figures: Figures, before: Figures) -> Iterator[_Line]:
    for key, value in figures.items():
        name, labels = key
        metric = METRICS[name]
        told = zip(("endpoint", *metric.labels), labels, strict=True)
        tags = [f"{label}:{text}" for label, text in told]
        known = before.get(key)
        if isinstance(value, Histogram):
            new = since(value, known) if isinstance(known, Histogram) else value
            yield from _of_histogram(PREFIX + name, new, tags)
        elif metric.kind == "counter":
            grown = value - known if isinstance(known, (int, float)) else value
            if grown > 0:
                yield _Line(PREFIX + name, grown, tags, counts=True)
        else:
            yield _Line(PREFIX + name, value, tags, counts=False)


def _of_histogram(name: str, new: Histogram, tags: list[str]) -> Iterator[_Line]:
    if not new.count:
        return
    yield _Line(f"{name}.count", new.count, tags, counts=True)
    yield _Line(f"{name}.sum", new.sum, tags, counts=True)
    for part, value in zip(_NAMES, new.quantiles(_SHARES), strict=True):
        if value is not None:
            yield _Line(f"{name}.{part}", value, tags, counts=False)
