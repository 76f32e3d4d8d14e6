"""What the doctor holds an endpoint to unless it is told otherwise.

The service's guide for production names the figures and the actions. The numbers are a reader's own
to choose: these suit a small model behind an application that people wait for.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from servingclient.errors import ConfigError
from servingclient.settings.checks import names_checked, number


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What an endpoint and its callers are held to. Durations are in seconds."""

    p50_s: float = 0.1
    """Median of whole calls. The guide counts an application that needs less than 100 ms among
    those worth optimizing for."""
    p90_s: float = 0.25
    """Nine of ten calls: room for a second try after a short backoff."""
    p99_s: float = 0.5
    """99 of 100 calls: people notice a page that takes longer."""
    qps: float | None = None
    """Calls a second the endpoint shall carry; None judges by what it gets now."""
    error_rate: float = 0.01
    """Share of failed calls, after retries."""
    throttled_rate: float = 0.01
    """Share of attempts that met no room (429, 503 with Retry-After, 504). Retries hide them from
    callers, not from the latency."""
    queue_depth: float = 1.0
    """Requests that wait on average, at the endpoint or in the client: at the utilisation and
    spread a plan takes for granted fewer wait, from the smallest size on (Erlang C)."""
    queue_share: float = 0.25
    """Time waited for a slot, as a share of the model's time: likewise it is less than that. A mean
    wait below 1 ms is none."""
    slowdown: float = 3.0
    """Median reply against the fastest 5 % since the start. A model whose times vary like an
    exponential reaches more by itself, so this alone is a hint and no finding."""
    cpu_percent: float = 80.0
    """Processor, mean of all replicas over a minute: beyond it single requests slow each other
    down."""
    memory_percent: float = 80.0
    """Memory, likewise: what reaches its limit is killed and loaded anew."""
    gpu_percent: float = 90.0
    """Graphics processor: made to be kept busy, but requests queue for it."""
    request_bytes: float = 1e6
    """Mean request: larger ones are served but not logged in the inference table."""
    limit_share: float = 0.8
    """Largest request as a share of the documented limit, beyond which requests are refused."""
    route_share: float = 0.8
    """Rate as a share of what standard endpoints get together, from which the move to a
    route-optimized one is due: it takes a new endpoint."""
    reused_share: float = 0.9
    """Calls that find a connection open: another costs two or three round trips to open."""
    cold_start_s: float = 5.0
    """First byte after so long is taken for a cold start where the endpoint may scale to zero:
    waking up usually takes 10 to 20 s."""
    token_left_s: float = 60.0
    """Life a token should have left: the service refuses those that end within 30 s."""
    api_p99_s: float = 0.2
    """The same as ``p99_s`` for an external API that calls wait for."""
    api_error_rate: float = 0.01
    """Share of failed requests to it."""
    api_waiting_share: float = 0.1
    """Values that had to be fetched, of all asked for: below it a slow API is felt by few."""

    def __post_init__(self) -> None:
        number(self, *(field.name for field in fields(self)))
        for name in ("error_rate", "throttled_rate", "limit_share", "route_share", "reused_share"):
            if getattr(self, name) > 1.0:
                raise ConfigError(
                    f"Targets.{name} is {getattr(self, name)}; it is a share: at most 1."
                )
        if not self.p50_s <= self.p90_s <= self.p99_s:
            raise ConfigError(
                f"Targets.p50_s, p90_s and p99_s are {self.p50_s}, {self.p90_s} and {self.p99_s}; "
                "they must ascend."
            )
