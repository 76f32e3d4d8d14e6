"""What an endpoint says of itself, as its ``/metrics`` would."""

from __future__ import annotations

from servingclient._stats import EnrichmentStats, TokenStats
from servingclient.capacity.doctor import Calls, Described, Measured
from servingclient.telemetry.endpoint_metrics import Distribution, EndpointFigures

HEALTHY_MS = {"latency": 45.0, "queue": 2.0, "model": 40.0}


def all_alike(value_ms: float, count: float = 1200.0) -> Distribution:
    """So many values in one bucket that ends at ``value_ms``, with that as their mean."""
    return Distribution(
        (0.9 * value_ms / 1e3, value_ms / 1e3, float("inf")),
        (0.0, count, count),
        count * value_ms / 1e3,
    )


def metrics(
    *,
    requests: float = 1200.0,
    concurrency: float = 4.0,
    latency_ms: float = HEALTHY_MS["latency"],
    queue_ms: float = HEALTHY_MS["queue"],
    model_ms: float = HEALTHY_MS["model"],
    cpu: float = 35.0,
    memory: float = 40.0,
) -> str:
    """Figures of a minute in which all requests took the same."""
    lines = [
        f"cpu_usage_percentage {cpu}",
        f"mem_usage_percentage {memory}",
        f"provisioned_concurrent_requests_total {concurrency}",
        f"request_count_total {requests}",
        "request_4xx_count_total 0",
        "request_5xx_count_total 0",
    ]
    for name, value_ms in (
        ("request_latency_ms", latency_ms),
        ("model_queue_time_ms", queue_ms),
        ("model_prediction_latency_ms", model_ms),
    ):
        found = all_alike(value_ms, requests)
        for bound_s, count in zip(found.bounds_s, found.counts, strict=True):
            bound = "+Inf" if bound_s == float("inf") else f"{bound_s * 1e3:g}"
            lines.append(f'{name}_bucket{{le="{bound}"}} {count}')
        lines.append(f"{name}_count {requests}")
        lines.append(f"{name}_sum {requests * value_ms}")
    return "\n".join([*lines, "# EOF", ""])


WELL = Measured(
    endpoint="fraud",
    calls=Calls(
        source="1,000 calls of this client, last 5 min",
        count=1000,
        qps=20.0,
        p50_s=0.050,
        p90_s=0.060,
        p99_s=0.080,
        mean_s=0.052,
        first_byte_mean_s=0.050,
        first_byte_p50_s=0.049,
        first_byte_longest_s=0.090,
        unloaded_s=0.045,
        attempts=1000,
        waited_mean_s=0.0,
        request_mean_bytes=900.0,
        request_longest_bytes=2000.0,
        reused_share=0.99,
    ),
    described=Described(ready=True, scale_to_zero=False, most_slots=4, workload_type="CPU"),
    figures=EndpointFigures(
        cpu_percent=35.0,
        memory_percent=40.0,
        provisioned_concurrency=4.0,
        requests=1200.0,
        errors_4xx=0.0,
        errors_5xx=0.0,
        latency=all_alike(45.0),
        queue_time=all_alike(2.0),
        model_time=all_alike(40.0),
        samples=20,
    ),
    token=TokenStats(60.0, 3000.0),
    apis=(EnrichmentStats("https://a", calls=100, requests=9, p99_s=0.05, hits=91, misses=9),),
    round_trip_s=0.004,
)
