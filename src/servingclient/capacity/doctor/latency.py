"""Latency against its targets, and what to do about the part that takes most of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from servingclient.capacity.doctor.demand import Demand
from servingclient.capacity.doctor.diagnosis import Check, Dominant, Split
from servingclient.capacity.doctor.load import raised
from servingclient.capacity.doctor.measured import Measured
from servingclient.settings.planning import GPU_WORTH_A_TRY_S
from servingclient.settings.targets import Targets
from servingclient.telemetry.table import percent, seconds

_NOT_KNOWN: Final = (
    "Have the endpoint's own figures read (CAN VIEW) to see whether queue or model takes it; until "
    "then see the checks below."
)


def latency(
    measured: Measured, targets: Targets, split: Split, need: Demand | None
) -> Iterator[Check]:
    """P50, P90 and P99."""
    for name, share, seen_s, goal_s in (
        ("latency P50", 0.50, measured.calls.p50_s, targets.p50_s),
        ("latency P90", 0.90, measured.calls.p90_s, targets.p90_s),
        ("latency P99", 0.99, measured.calls.p99_s, targets.p99_s),
    ):
        target = f"at most {seconds(goal_s)}"
        found_s, why, count = _found(measured, share, seen_s)
        if found_s is None:
            yield Check(name, "–", target, "unknown", why="Neither side saw a call answered.")
        elif found_s <= goal_s:
            yield Check(name, seconds(found_s), target, "ok", why=why)
        else:
            thin = count < _enough(share)
            if thin:
                why += f"; of so few the {name[8:]} is next to the longest, so this only warns"
            action = _action(measured, split, need)
            yield Check(name, seconds(found_s), target, "warn" if thin else "bad", action, why)


def _found(
    measured: Measured, share: float, seen_s: float | None
) -> tuple[float | None, str, float]:
    if seen_s is not None:
        return seen_s, measured.calls.source, measured.calls.count
    latency = measured.figures.latency
    if latency is None or measured.figures.error_rate == 1.0:  # how fast refusals come
        return None, "", 0
    why = "the endpoint's own last minute, without the network"
    return latency.quantile_s(share), why, latency.count


def _enough(share: float) -> int:
    """Calls of which one lies beyond the quantile."""
    return math.ceil(round(1.0 / (1.0 - share), 6))


def _action(measured: Measured, split: Split, need: Demand | None) -> str:
    part = split.dominant
    if part is None:
        return _NOT_KNOWN
    assert split.whole_s is not None
    took_s = dict(split.parts())[part]
    share = percent(min(round(took_s / split.whole_s, 2), 1.0)) if split.whole_s else "most"
    largest = _LARGEST[part].format(took=seconds(took_s), share=share)
    return f"{largest} {_remedy(part, took_s, measured, need)}"


_LARGEST: Final[dict[Dominant, str]] = {
    "client": "The client itself takes {took} of the mean call ({share}).",
    "network": "The network takes {took} of the mean call ({share}).",
    "queue": "Waiting for a slot takes {took} of the mean call ({share}).",
    "model": "The model takes {took} of the mean call ({share}).",
    "service": "The service takes {took} of the mean call ({share}) besides queue and model.",
}


def _remedy(part: Dominant, took_s: float, measured: Measured, need: Demand | None) -> str:
    if part == "client":
        return (
            "See queue_s, token_s, connect_s, backoff_s and the stages in client.stats(): the "
            "largest says whether to raise the limit, keep the client, or cache what is asked."
        )
    if part == "queue":
        return f"{raised(measured, need)} A faster model would free slots too."
    if part == "model":
        return _faster_model(took_s, measured)
    described = measured.described
    optimized = described is not None and described.route_optimized
    own = "" if optimized else ", use a route-optimized endpoint"
    if part == "network":
        return f"Call from the workspace's region, keep one client, send smaller requests{own}."
    if optimized:
        return "It is documented to stay below 20 ms: ask Databricks, with ids of slow requests."
    return "Use a route-optimized endpoint: its documented overhead is 20 ms instead of 50 ms."


def _faster_model(took_s: float, measured: Measured) -> str:
    kind = None if measured.described is None else measured.described.workload_type
    on_gpu = kind is not None and kind.startswith("GPU")
    more = ", try a GPU workload type" if took_s >= GPU_WORTH_A_TRY_S and not on_gpu else ""
    return (
        "Make the model faster: smaller or quantized, pre- and post-processing off the endpoint, "
        f"fewer rows a request{more}. More concurrency does not shorten it."
    )
