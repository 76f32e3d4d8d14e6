"""The instruments of one meter provider, and the clients they tell of.

An SDK gives out the instrument it has when one is made a second time, without the second's
callbacks: so all observers of a provider share one set.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from servingclient._version import __version__
from servingclient._watching import Figured
from servingclient.integrations.watched import Watched
from servingclient.telemetry import exported
from servingclient.telemetry.exported import METRICS, PREFIX, SECONDS, Figures, Metric
from servingclient.telemetry.histogram import Histogram
from servingclient.transport.fork_lock import fork_lock

_FRESH_S: Final = 0.2
"""So long one reading of the clients serves all instruments: they are read one after the other."""

Attributes = Mapping[str, str | int | float | bool]


class Instruments:
    """What is recorded of calls, and what is read of clients when it is collected.

    Args:
        provider: Where metrics go.

    Attributes:
        requests: Durations of attempts.
        calls: Durations of calls.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self._watched = Watched()
        self._changes = 0
        self._read: tuple[int, float] = (-1, 0.0)
        self._figures: Figures = {}
        meter = metrics.get_meter("servingclient", __version__, provider)
        self.requests: metrics.Histogram = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Attempts: requests to the endpoint",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.calls: metrics.Histogram = meter.create_histogram(
            f"{PREFIX}call.duration",
            unit="s",
            description=METRICS["call.duration"].text,
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        for name, metric in METRICS.items():
            if name != "call.duration":
                self._observe(meter, metric)
        meter.create_observable_up_down_counter(
            "http.client.active_requests",
            [partial(self._values, METRICS["concurrency.inflight"])],
            unit="{request}",
            description="Requests under way",
        )
        meter.create_observable_up_down_counter(
            "http.client.open_connections",
            [self._connections],
            unit="{connection}",
            description="Open connections",
        )

    def opened(self, client: Figured) -> None:
        """Tell of a client."""
        self._watched.add(client)
        self._changes += 1

    def closed(self, client: Figured) -> None:
        """It is closed. What is collected right after, as at the end of a program, is all of it."""
        self._watched.remove(client)
        self._changes += 1

    def _observe(self, meter: metrics.Meter, metric: Metric) -> None:
        """Histograms have no instrument that is only read: of those the count and the sum."""
        name = PREFIX + metric.name
        if metric.kind == "counter":
            meter.create_observable_counter(
                name, [partial(self._values, metric)], metric.unit, metric.text
            )
        elif metric.kind != "histogram":
            meter.create_observable_gauge(
                name, [partial(self._values, metric)], metric.unit, metric.text
            )
        else:
            for part, unit in (("count", "{value}"), ("sum", metric.unit)):
                meter.create_observable_counter(
                    f"{name}.{part}",
                    [partial(self._part, metric, part)],
                    unit,
                    f"{metric.text}: {part}",
                )

    def _of(self, metric: Metric) -> Iterable[tuple[Attributes, exported.Value]]:
        now_s, changes = time.monotonic(), self._changes
        if self._read[0] != changes or now_s - self._read[1] > _FRESH_S:
            self._figures = self._watched.figures()
            self._read = changes, now_s
        names = (f"{PREFIX}endpoint", *(f"{PREFIX}{label}" for label in metric.labels))
        for (name, labels), value in self._figures.items():
            if name == metric.name:
                yield dict(zip(names, labels, strict=True)), value

    def _values(self, metric: Metric, _: CallbackOptions) -> Iterable[Observation]:
        for attributes, value in self._of(metric):
            assert not isinstance(value, Histogram)
            yield Observation(value, attributes)

    def _part(self, metric: Metric, part: str, _: CallbackOptions) -> Iterable[Observation]:
        for attributes, value in self._of(metric):
            yield Observation(getattr(value, part), attributes)

    def _connections(self, _: CallbackOptions) -> Iterable[Observation]:
        for attributes, value in self._of(METRICS["connections"]):
            assert not isinstance(value, Histogram)
            state = attributes[f"{PREFIX}state"]
            yield Observation(
                value,
                {
                    f"{PREFIX}endpoint": attributes[f"{PREFIX}endpoint"],
                    "http.connection.state": state,
                },
            )


_lock: Final = fork_lock()
_made: Final[weakref.WeakKeyDictionary[MeterProvider, Instruments]] = weakref.WeakKeyDictionary()
_stand_in: MeterProvider | None = None


def instruments_of(given: MeterProvider | None) -> Instruments:
    """Those of a meter provider, made when they are first asked for.

    Args:
        given: The provider; None is the global one. The API stands in for that until the program
            sets one, and then moves the instruments over: they are the same ones.
    """
    global _stand_in  # noqa: PLW0603 - of which there is one, too
    with _lock:
        now = metrics.get_meter_provider()
        provider = now if given is None else given
        found = _made.get(provider)
        if found is None and provider is now and _stand_in is not None:
            found = _made.get(_stand_in)
        if found is None:
            found = Instruments(provider)
        _made[provider] = found
        if type(provider).__module__.startswith(metrics.__name__):
            _stand_in = provider
        return found
