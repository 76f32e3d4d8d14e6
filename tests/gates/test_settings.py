"""Every setting is frozen, keyword-only, reasoned, and written once."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import re
from collections.abc import Iterator

import pytest

from servingclient import settings
from servingclient.errors import ConfigError
from servingclient.settings import Breaker, Caching, EnrichmentSettings, RateLimit, Settings

GROUPS = [
    kind
    for _, kind in inspect.getmembers(settings, inspect.isclass)
    if dataclasses.is_dataclass(kind) and kind.__module__.startswith(settings.__name__)
]
FIELDS = [(group, field) for group in GROUPS for field in dataclasses.fields(group)]

# figures without a unit: counts and shares
UNITLESS = re.compile(
    r"jitter|\w*_(calls|processes|factor|share|samples|in_flight|attempts|lanes)|prewarm|quota_\w+|"
    r"\w+_cost|\w+_credit|smoothing|tolerance|quantile|\w+_digits|\w+_level|\w+_entries|\w+_ratio|"
    r"\w+_threads"
)


def documented(group: type) -> Iterator[tuple[str, str]]:
    """Names of fields with the text that stands below each."""
    body = ast.parse(inspect.getsource(group)).body[0].body  # type: ignore[attr-defined]
    for field, below in itertools.pairwise(body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, text


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_setting_gives_its_reason(group: type) -> None:
    reasons = dict(documented(group))
    assert list(reasons) == [field.name for field in dataclasses.fields(group)]
    assert all(reasons.values())
    assert group.__doc__


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_settings_are_frozen_slotted_and_keyword_only(group: type) -> None:
    assert group.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(group)
    assert all(field.kw_only for field in dataclasses.fields(group))
    assert hash(group()) == hash(group())
    assert group() == group()


@pytest.mark.parametrize(
    ("group", "field"), FIELDS, ids=[f"{g.__name__}.{f.name}" for g, f in FIELDS]
)
def test_figures_carry_their_unit(group: type, field: dataclasses.Field[object]) -> None:
    if re.fullmatch(r"(int|float)( \| None)?", str(field.type)):
        assert UNITLESS.search(field.name) or re.search(r"_(s|ms|bytes|rows)$", field.name)


def test_every_group_is_reached_from_settings() -> None:
    annotated = {
        str(field.type).partition(" |")[0]
        for root in (Settings, EnrichmentSettings)
        for field in dataclasses.fields(root)
    }
    assert annotated >= {group.__name__ for group in GROUPS} - {"Settings", "EnrichmentSettings"}


ENRICHMENT_REFUSALS = [
    (Caching, {"max_entries": 0}, "Caching.max_entries is 0; it must be finite and at least 1."),
    (Caching, {"max_bytes": 1.5}, "Caching.max_bytes must be a whole number, not 1.5."),
    (Caching, {"ttl_jitter": 1.1}, "Caching.ttl_jitter is a share: at most 1."),
    (
        Caching,
        {"ttl_jitter": -0.1},
        "Caching.ttl_jitter is -0.1; it must be finite and at least 0.",
    ),
    (
        Caching,
        {"stale_while_revalidate_s": -1},
        "Caching.stale_while_revalidate_s is -1; it must be finite and at least 0.",
    ),
    (
        Caching,
        {"stale_if_error_s": None},
        "Caching.stale_if_error_s must be a number, not NoneType.",
    ),
    (
        Caching,
        {"negative_ttl_s": math.nan},
        "Caching.negative_ttl_s is nan; it must be finite and at least 0.",
    ),
    (Caching, {"error_ttl_s": 2}, "Caching.error_ttl_s is at most 1 s: a failure must not stick."),
    (
        Caching,
        {"early_refresh_factor": math.inf},
        "Caching.early_refresh_factor is inf; it must be finite and at least 0.",
    ),
    (
        Caching,
        {"follow_cache_control": "no"},
        "Caching.follow_cache_control must be True or False, not str.",
    ),
    (RateLimit, {"calls_per_s": 0}, "RateLimit.calls_per_s is 0; it must be finite and above 0."),
    (
        RateLimit,
        {"burst_calls": 0},
        "RateLimit.burst_calls is 0; it must be finite and at least 1.",
    ),
    (RateLimit, {"learn": 1}, "RateLimit.learn must be True or False, not int."),
    (RateLimit, {"max_pause_s": 0}, "RateLimit.max_pause_s is 0; it must be finite and above 0."),
    (Breaker, {"window_s": 0}, "Breaker.window_s is 0; it must be finite and at least 0.001."),
    (Breaker, {"min_calls": 0}, "Breaker.min_calls is 0; it must be finite and at least 1."),
    (Breaker, {"failure_ratio": 0}, "Breaker.failure_ratio is 0; it must be finite and above 0."),
    (Breaker, {"failure_ratio": 1.1}, "Breaker.failure_ratio is a share: at most 1."),
    (Breaker, {"open_s": 0}, "Breaker.open_s is 0; it must be finite and above 0."),
    (Breaker, {"max_open_s": 4.9}, "Breaker.max_open_s is below Breaker.open_s."),
    (Breaker, {"probe_calls": 0}, "Breaker.probe_calls is 0; it must be finite and at least 1."),
    (Breaker, {"probe_lease_s": 0}, "Breaker.probe_lease_s is 0; it must be finite and above 0."),
    (Breaker, {"probes": 1}, "Breaker has no option 'probes'. Did you mean 'probe_calls'?"),
    (
        EnrichmentSettings,
        {"timeout_s": 0},
        "EnrichmentSettings.timeout_s is 0; it must be finite and above 0.",
    ),
    (
        EnrichmentSettings,
        {"close_timeout_s": -1},
        "EnrichmentSettings.close_timeout_s is -1; it must be finite and at least 0.",
    ),
    (
        EnrichmentSettings,
        {"max_calls": 0},
        "EnrichmentSettings.max_calls is 0; it must be finite and at least 1.",
    ),
    (
        EnrichmentSettings,
        {"max_waiting_calls": -1},
        "EnrichmentSettings.max_waiting_calls is -1; it must be finite and at least 0.",
    ),
    (
        EnrichmentSettings,
        {"max_value_bytes": 0},
        "EnrichmentSettings.max_value_bytes is 0; it must be finite and at least 1.",
    ),
    (
        EnrichmentSettings,
        {"hash_keys": "yes"},
        "EnrichmentSettings.hash_keys must be True or False, not str.",
    ),
    (
        EnrichmentSettings,
        {"allow_private_hosts": None},
        "EnrichmentSettings.allow_private_hosts must be True or False, not NoneType.",
    ),
    (
        EnrichmentSettings,
        {"caching": None},
        "EnrichmentSettings.caching must be a Caching(...), not NoneType.",
    ),
    (
        EnrichmentSettings,
        {"breaker": RateLimit()},
        "EnrichmentSettings.breaker must be a Breaker(...), not RateLimit.",
    ),
]


@pytest.mark.parametrize(
    ("group", "values", "message"),
    ENRICHMENT_REFUSALS,
    ids=[f"{group.__name__}.{next(iter(values))}" for group, values, _ in ENRICHMENT_REFUSALS],
)
def test_a_value_that_cannot_work_is_refused_and_named(
    group: type, values: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        group(**values)
    assert str(refused.value) == message


def test_what_is_at_the_edge_works() -> None:
    Caching(max_entries=1, max_bytes=1, ttl_jitter=1.0, error_ttl_s=1.0, stale_if_error_s=0)
    RateLimit(calls_per_s=None, burst_calls=1, max_pause_s=0.1)
    Breaker(failure_ratio=1.0, open_s=60.0, max_open_s=60.0, min_calls=1, probe_calls=1)
    settings = EnrichmentSettings(breaker=None, max_waiting_calls=0, close_timeout_s=0)
    assert settings.breaker is None
    assert settings.replace(max_calls=3).max_calls == 3
    with pytest.raises(ConfigError, match="Did you mean 'max_calls'"):
        settings.replace(max_cals=3)
