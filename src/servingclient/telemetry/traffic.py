"""Calls that ended within one window of time. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from servingclient.telemetry.histogram import Histogram, merged
from servingclient.telemetry.tally import Tally

_QUANTILES: Final = (0.5, 0.9, 0.99, 0.999, 1.0)

Five = tuple[float | None, float | None, float | None, float | None, float | None]


@dataclass(frozen=True)
class Traffic:
    """Calls that ended within one window of time. Durations are in seconds.

    A call is what a caller asked for; an attempt is a request to the endpoint, of which a call may
    need several, and several calls may share one. Histograms give any quantile, sum, mean, maximum:
    ``traffic.queue_s.quantile(0.99)``. They are put together when first read, 0.3 ms each.

    Attributes:
        span_s: Length of the window.
        answered: Calls that returned predictions.
        failed: Calls that raised an error.
        cancelled: Calls that were interrupted or cancelled by their caller.
        streams: Streams that have ended well; they are no calls in ``calls`` and the durations.
        attempts: Requests that were sent or tried, without the second ones of hedged calls.
        retries: Attempts after the first of a call.
        throttled: Attempts the endpoint refused for want of room: 429, 503 with Retry-After, 504.
        errors: Failed calls by the class of their error.
        failed_attempts: Attempts that failed, by what happened: a status such as ``"429"``, else a
            kind such as ``"never_sent"`` or ``"slow"``.
        stage_errors: Times ``preprocess``, ``enrich``, ``postprocess`` or ``on_enrichment_error``
            raised or took too long, by that name.
        tallies: What the histograms are put together of.
    """

    span_s: float = 0.0
    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    streams: int = 0
    attempts: int = 0
    retries: int = 0
    throttled: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    failed_attempts: Mapping[str, int] = field(default_factory=dict)
    stage_errors: Mapping[str, int] = field(default_factory=dict)
    tallies: tuple[Tally, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(cls, tallies: Sequence[Tally], span_s: float) -> Traffic:
        """What tallies say of a window, together. They are not changed any more."""
        counts: Counter[str] = Counter()
        for tally in tallies:
            counts.update(tally.counts)
        return cls(
            span_s=span_s,
            answered=counts["answered"],
            failed=counts["failed"],
            cancelled=counts["cancelled"],
            streams=counts["stream"],
            attempts=counts["attempt"] + counts["failed_attempt"],
            retries=counts["retry"],
            throttled=counts["throttled"],
            errors=_by_label(tallies, "failed"),
            failed_attempts=_by_label(tallies, "failed_attempt"),
            stage_errors=_by_label(tallies, "stage_failed"),
            tallies=tuple(tallies),
        )

    def _merged(self, *names: str) -> Histogram:
        found = (tally.histograms.get(name) for tally in self.tallies for name in names)
        return merged(histogram for histogram in found if histogram is not None)

    @property
    def calls(self) -> int:
        """Calls that ended, however they did."""
        return self.answered + self.failed + self.cancelled

    @property
    def qps(self) -> float:
        """Calls that ended, a second."""
        return self.calls / self.span_s if self.span_s > 0.0 else 0.0

    @property
    def error_rate(self) -> float:
        """Share of the calls that failed; 0.0 without calls."""
        return self.failed / self.calls if self.calls else 0.0

    @property
    def throttle_rate(self) -> float:
        """Share of the attempts that met no room; 0.0 without attempts."""
        return self.throttled / self.attempts if self.attempts else 0.0

    @property
    def reused_share(self) -> float | None:
        """Share of the answered calls that found an open connection; None without any."""
        connected = self.connect_s
        return connected.up_to((0.0,))[0] / connected.count if connected.count else None

    @cached_property
    def _five(self) -> Five:
        p50, p90, p99, p999, most = self.duration_s.quantiles(_QUANTILES)
        return p50, p90, p99, p999, most

    @property
    def p50_s(self) -> float | None:
        """Median duration of calls, answered and failed; None without any. So are the others."""
        return self._five[0]

    @property
    def p90_s(self) -> float | None:
        """The 90th percentile."""
        return self._five[1]

    @property
    def p99_s(self) -> float | None:
        """The 99th percentile."""
        return self._five[2]

    @property
    def p999_s(self) -> float | None:
        """The 99.9th percentile."""
        return self._five[3]

    @property
    def max_s(self) -> float | None:
        """The longest call."""
        return self._five[4]

    @cached_property
    def duration_s(self) -> Histogram:
        """Whole calls, answered and failed, as their callers saw them."""
        return self._merged("answered", "failed")

    @cached_property
    def answered_s(self) -> Histogram:
        """Whole calls that were answered."""
        return self._merged("answered")

    @cached_property
    def failed_s(self) -> Histogram:
        """Whole calls that failed."""
        return self._merged("failed")

    @cached_property
    def stream_s(self) -> Histogram:
        """Streams, from the call to their end."""
        return self._merged("stream")

    @cached_property
    def encode_s(self) -> Histogram:
        """Turning inputs into bytes; this and the following parts are of answered calls."""
        return self._merged("encode")

    @cached_property
    def queue_s(self) -> Histogram:
        """Waiting for a place."""
        return self._merged("queue")

    @cached_property
    def token_s(self) -> Histogram:
        """Waiting for route, token or signature; 0.0 when all were at hand."""
        return self._merged("token")

    @cached_property
    def connect_s(self) -> Histogram:
        """Opening the connection; 0.0 on a reused one."""
        return self._merged("connect")

    @cached_property
    def first_byte_s(self) -> Histogram:
        """From the end of sending to the first byte of the reply: network there and back, queue and
        model time on the server.
        """
        return self._merged("first_byte")

    @cached_property
    def decode_s(self) -> Histogram:
        """Turning the reply into values."""
        return self._merged("decode")

    @cached_property
    def backoff_s(self) -> Histogram:
        """Pauses between attempts."""
        return self._merged("backoff")

    @cached_property
    def preprocess_s(self) -> Histogram:
        """Running ``preprocess`` where it returned, for calls and for parts of ``map``."""
        return self._merged("preprocess")

    @cached_property
    def enrich_s(self) -> Histogram:
        """Likewise ``enrich``."""
        return self._merged("enrich")

    @cached_property
    def postprocess_s(self) -> Histogram:
        """Likewise ``postprocess``."""
        return self._merged("postprocess")

    @cached_property
    def failed_attempt_s(self) -> Histogram:
        """Attempts that failed."""
        return self._merged("failed_attempt")

    @cached_property
    def request_bytes(self) -> Histogram:
        """Encoded requests, before any compression."""
        return self._merged("request")

    @cached_property
    def reply_bytes(self) -> Histogram:
        """Decoded replies."""
        return self._merged("reply")

    @cached_property
    def unpacked_bytes(self) -> Histogram:
        """Requests that were sent in another form than plain JSON, as JSON."""
        return self._merged("unpacked")

    @cached_property
    def packed_bytes(self) -> Histogram:
        """The same as they were sent: compressed, or MessagePack."""
        return self._merged("packed")


def _by_label(tallies: Sequence[Tally], name: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for tally in tallies:
        for label, count in tally.labels.get(name, {}).items():  # Counter's own way: three times
            found[label] = found.get(label, 0) + count
    return found
