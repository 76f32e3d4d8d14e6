"""What callers bring with them: payload, connections, token, external APIs. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from servingclient._stats import EnrichmentStats
from servingclient.capacity.doctor.diagnosis import Check
from servingclient.capacity.doctor.measured import Measured
from servingclient.settings.targets import Targets
from servingclient.telemetry.table import percent, seconds, size, span

_FEWEST_CALLS = 20
"""Below it most calls are the first on their connection."""


def payload(measured: Measured, targets: Targets) -> Check:
    """The size of requests, against what is logged and what is taken."""
    name, calls = "payload", measured.calls
    target = f"mean at most {size(targets.request_bytes)}"
    mean, longest = calls.request_mean_bytes, calls.request_longest_bytes
    if mean is None or longest is None:
        return Check(name, "–", target, "unknown", why="This client made no calls.")
    limit = 16 * 1024 * 1024 if measured.described is None else measured.described.limit_bytes
    shown = f"mean {size(mean)}, largest {size(longest)}"
    why = f"the endpoint takes {size(limit)} (documented); {calls.source}"
    action = (
        "Send fewer rows a request (client.map splits), narrow numbers (Payload.floats), drop "
        "columns the model does not take; client.explain(inputs) shows what each saves."
    )
    if longest > targets.limit_share * limit:
        why = f"the largest is {percent(round(longest / limit, 3))} of the limit; {why}"
        return Check(name, shown, target, "bad", action, why)
    if mean > targets.request_bytes:
        why = f"not logged in the inference table, and slow to send and parse; {why}"
        return Check(name, shown, target, "bad", action, why)
    return Check(name, shown, target, "ok", why=why)


def reuse(measured: Measured, targets: Targets) -> Check:
    """Whether calls find a connection open."""
    name, share = "connection reuse", measured.calls.reused_share
    target = f"at least {percent(targets.reused_share)} of calls"
    if share is None or measured.calls.count < _FEWEST_CALLS:
        why = f"It takes {_FEWEST_CALLS} answered calls: the first on a connection opens it."
        return Check(name, "–", target, "unknown", why=why)
    shown = percent(round(share, 3))
    if share >= targets.reused_share:
        return Check(name, shown, target, "ok", why=measured.calls.source)
    action = (
        "Make one client and keep it, not one a call or a request; where calls are rare, raise "
        "Pool.keepalive_s; a proxy that closes connections must keep them longer."
    )
    return Check(name, shown, target, "warn", action, measured.calls.source)


def token(measured: Measured, targets: Targets) -> Check:
    """What kind of token calls carry, and how long it lasts."""
    name, target, found = "token", "OAuth, renewed in time", measured.token
    if found is None:
        if measured.why_no_token:
            action = "Log in again, or give the service principal CAN QUERY; see the error."
            return Check(name, "none", target, "bad", action, measured.why_no_token)
        return Check(name, "–", target, "unknown", why="None was needed or could be had yet.")
    if found.left_s is None:
        return _fixed(name, target, route_optimized=found.route_optimized)
    shown = f"OAuth, {span(found.left_s)} left"
    if found.failing:
        action = (
            f"Renewing fails: in {span(found.left_s)} calls will. Check the secret of the service "
            "principal, and that this machine reaches the workspace's login."
        )
        return Check(name, f"{shown}, renewing fails", target, "bad", action, measured.why_no_token)
    if found.left_s < targets.token_left_s:
        action = (
            "It is renewed by itself, but tokens that live so short leave no time for a login that "
            "is slow: have the workspace issue longer ones, the service's live an hour."
        )
        why = "the service refuses tokens that end within 30 s"
        return Check(name, shown, target, "warn", action, why)
    return Check(name, shown, target, "ok")


def _fixed(name: str, target: str, *, route_optimized: bool) -> Check:
    if route_optimized:
        return Check(name, "OAuth, end not known", target, "ok")
    action = (
        "Sign in as a service principal (client_id and client_secret): a fixed token ends some day "
        "with nobody renewing it, and route-optimized endpoints refuse personal ones."
    )
    return Check(name, "fixed, such as a personal access token", target, "warn", action)


def apis(measured: Measured, targets: Targets) -> Iterator[Check]:
    """External APIs that calls ask."""
    for one in measured.apis:
        yield _api(one, targets)


def _api(one: EnrichmentStats, targets: Targets) -> Check:
    name = f"API {one.api}"
    target = f"P99 at most {seconds(targets.api_p99_s)}, errors at most "
    target += percent(targets.api_error_rate)
    if not one.requests:
        return Check(name, "–", target, "unknown", why="Nothing was asked of it yet.")
    asked = one.hits + one.misses + one.stale + one.coalesced + one.negatives
    waiting = (one.misses + one.coalesced) / asked if asked else 1.0
    shown = f"P99 {seconds(one.p99_s)}, {percent(round(one.error_rate, 3))} failed"
    why = f"{percent(round(waiting, 3))} of {asked:,} values had to be waited for"
    if one.breaker in {"open", "half_open"}:
        action = "It is down: answers kept or none are used until it is back; tell its owner."
        return Check(name, f"{shown}, breaker {one.breaker}", target, "bad", action, why)
    if one.error_rate > targets.api_error_rate:
        action = "Ask its owner; until then serve kept answers (stale-if-error), retry less."
        return Check(name, shown, target, "bad", action, why)
    if one.p99_s is not None and one.p99_s > targets.api_p99_s:
        action = (
            "Keep its answers longer (TTL) and fetch many ids at once (get_many); ask for what the "
            "model needs before the call that needs it."
        )
        felt = waiting > targets.api_waiting_share
        return Check(name, shown, target, "bad" if felt else "warn", action, why)
    if one.throttled:
        action = "Give its client a rate limit below what the API allows."
        return Check(name, f"{shown}, {one.throttled:,} slowed down", target, "warn", action, why)
    return Check(name, shown, target, "ok", why=why)
