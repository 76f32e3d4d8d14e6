"""Where the time of a call goes: network, queue, model. Pure."""

from __future__ import annotations

from servingclient.capacity.doctor.diagnosis import Split
from servingclient.capacity.doctor.measured import Measured
from servingclient.telemetry.table import seconds

_MEANS = "Means of what answered: this client's calls, and the endpoint's own figures of the last "


def split(measured: Measured) -> Split:
    """The mean call, taken apart as far as the figures go.

    The client's time to the first byte holds network, queue, model and the service's own work; the
    endpoint's latency holds all but the network. So the network is their difference, under the
    assumption that the endpoint's other callers ask for much the same.
    """
    calls, figures = measured.calls, measured.figures
    latency_s = None if figures.latency is None else figures.latency.mean_s
    seen_s = calls.first_byte_mean_s
    network_s, assumption = _network(measured, latency_s)
    whole_s = calls.mean_s
    if whole_s is None:
        if latency_s is None:
            return Split()
        whole_s = latency_s + (network_s or 0.0)  # what a caller here would see
    client_s = None if seen_s is None else max(whole_s - seen_s, 0.0)
    queue_s, model_s = measured.queue_mean_s, measured.model_mean_s
    service_s = None
    if latency_s is not None and model_s is not None:
        service_s = max(latency_s - model_s - (queue_s or 0.0), 0.0)
    return Split(whole_s, client_s, network_s, queue_s, model_s, service_s, assumption)


def _network(measured: Measured, latency_s: float | None) -> tuple[float | None, str]:
    seen_s, trip_s = measured.calls.first_byte_mean_s, measured.round_trip_s
    bound = "" if trip_s is None else f" A request that runs no model takes {seconds(trip_s)}"
    ended = f"{bound}." if bound else ""
    if seen_s is not None and latency_s is not None:
        assumption = (
            f"{_MEANS}minute, assumed to be of requests alike; network is the time to the first "
            f"byte less the endpoint's latency.{ended}"
        )
        if latency_s > seen_s:
            assumption = (
                f"{_MEANS}minute. The endpoint's latency, {seconds(latency_s)}, is above this "
                f"client's time to the first byte, {seconds(seen_s)}: other callers' requests take "
                f"longer, so the network counts as 0.{ended}"
            )
        return max(seen_s - latency_s, 0.0), assumption
    if seen_s is not None and trip_s is not None:
        return min(trip_s, seen_s), (
            "The endpoint's own latency is not known. Network is taken to be a request that runs "
            f"no model, {seconds(trip_s)}, and is that at most; the rest is queue and model."
        )
    if seen_s is not None:
        return None, "The endpoint's own latency is not known: nothing can be told apart."
    taken = "" if trip_s is None else f"{bound}, which stands for the network."
    return trip_s, f"{_MEANS}minute. No call of this client to compare with.{taken}"
