"""The histogram: how exact it is, that merging is concatenating, and how it travels."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servingclient.telemetry.exported import since
from servingclient.telemetry.histogram import Histogram, buckets_of, lower_bound, merged

SHARES = (0.5, 0.9, 0.99, 0.999)
SAMPLES = 1_000_000

Shape = Callable[[np.random.Generator], Any]


def bimodal(rng: np.random.Generator) -> Any:
    slow = rng.random(SAMPLES) < 0.3
    return np.where(slow, rng.normal(0.8, 0.05, SAMPLES), rng.normal(0.02, 0.002, SAMPLES))


SHAPES: dict[str, Shape] = {
    "uniform": lambda rng: rng.uniform(0.001, 0.5, SAMPLES),
    "exponential": lambda rng: rng.exponential(0.04, SAMPLES),
    "lognormal": lambda rng: rng.lognormal(-3.0, 1.0, SAMPLES),
    "bimodal": bimodal,
    "constant": lambda _: np.full(SAMPLES, 0.0417),
    "heavy tail": lambda rng: 1e-6 * (1.0 + rng.pareto(0.7, SAMPLES)),
}

durations = st.floats(min_value=1e-6, max_value=3600.0)
values = st.lists(st.one_of(st.just(0.0), durations, st.integers(0, 1 << 30)))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_million_samples_are_told_within_one_percent(shape: str) -> None:
    samples = np.abs(SHAPES[shape](np.random.default_rng(7)))
    histogram = Histogram()
    for part in np.array_split(samples, 100):
        histogram.extend(part.tolist())
    for share, found in zip(SHARES, histogram.quantiles(SHARES), strict=True):
        exact = float(np.quantile(samples, share, method="inverted_cdf"))
        assert found == pytest.approx(exact, rel=0.01)
    assert histogram.count == SAMPLES
    assert histogram.sum == pytest.approx(float(samples.sum()))
    assert histogram.max == samples.max()
    assert histogram.min == samples.min()


@given(st.lists(durations, min_size=1), st.floats(0.0, 1.0))
def test_any_quantile_is_half_a_percent_off_at_most(samples: list[float], share: float) -> None:
    exact = sorted(samples)[max(1, math.ceil(share * len(samples))) - 1]
    assert Histogram(samples).quantile(share) == pytest.approx(exact, rel=0.004)


@given(values, values)
def test_merging_is_concatenating(first: list[float], second: list[float]) -> None:
    both = Histogram([*first, *second])
    for one, other in [(first, second), (second, first)]:
        histogram = Histogram(one)
        histogram.merge(Histogram(other).packed())
        histogram_sum, histogram.sum = histogram.sum, both.sum  # rounds in another order
        assert histogram_sum == pytest.approx(both.sum)
        assert histogram == both
    assert merged([Histogram(first), Histogram(second)]).count == both.count


@given(values)
def test_what_is_encoded_comes_back(samples: list[float]) -> None:
    histogram = Histogram(samples)
    for kept in (histogram, histogram.packed()):
        assert Histogram.decode(json.loads(json.dumps(kept.encode()))) == histogram
        assert pickle.loads(pickle.dumps(kept)) == histogram
        assert kept.quantiles(SHARES) == histogram.quantiles(SHARES)
        assert kept.copy() == histogram


@given(values, st.lists(durations, max_size=8))
def test_counts_up_to_bounds_are_right_but_for_one_bucket(
    samples: list[float], bounds: list[float]
) -> None:
    bounds = [*sorted(bounds), math.inf]
    found = Histogram(samples).up_to(bounds)
    assert found == sorted(found)
    assert found[-1] == len(samples)
    for bound, count in zip(bounds, found, strict=True):
        assert sum(sample <= bound for sample in samples) <= count
        assert count <= sum(sample <= bound * 1.008 for sample in samples)


@given(durations)
def test_a_bucket_is_less_than_one_percent_wide(value: float) -> None:
    (bucket,) = buckets_of((value,))
    single = float(np.float32(value))
    assert lower_bound(bucket) <= single < lower_bound(bucket + 1)
    assert lower_bound(bucket + 1) / lower_bound(bucket) <= 1 + 1 / 128


@pytest.mark.parametrize("value", [-1e-9, math.inf, -math.inf, math.nan, 1e39])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_no_duration_is_refused_and_nothing_of_it_kept(value: float, place: int) -> None:
    histogram = Histogram([1.0])
    samples = [2.0, 3.0]
    samples.insert(place, value)
    with pytest.raises(ValueError, match="from 0 to 3e38"):
        histogram.extend(samples)
    assert histogram == Histogram([1.0])


def test_an_empty_one_says_nothing() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.5) is None
    assert histogram.mean is None
    assert (histogram.count, histogram.sum, histogram.max) == (0, 0.0, 0.0)
    histogram.merge(Histogram())
    histogram.extend([])
    assert histogram == Histogram()
    assert "empty" in repr(histogram)


def test_equal_values_are_told_as_they_are() -> None:
    histogram = Histogram([0.0417] * 1000)
    assert histogram.quantiles((0.0, 0.5, 0.999, 1.0)) == [0.0417] * 4


@pytest.mark.parametrize("shares", [(-0.1,), (1.1,), (0.9, 0.5), (math.nan,)])
def test_shares_out_of_range_or_order_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        Histogram([1.0]).quantiles(shares)


@pytest.mark.parametrize(
    "encoded",
    [
        [],
        [2, 1.0, 1.0, 1.0, [16256], [1]],
        [1, 1.0, 1.0, 1.0, [16256], [1, 2]],
        [1, 1.0, 1.0, 1.0, [16256, 16256], [1, 2]],
        [1, 1.0, 1.0, 1.0, [16256], [0]],
        [1, 1.0, 1.0, 1.0, [40000], [1]],
        [1, 1.0, 1.0, 1.0, [1.5], [1]],
        [1, math.nan, 1.0, 1.0, [16256], [1]],
        [1, 1.0, 2.0, 1.0, [16256], [1]],
        [1, 1.0, 1.0, 1.0, None, None],
    ],
)
def test_what_is_no_histogram_is_not_read(encoded: list[Any]) -> None:
    with pytest.raises(ValueError, match="no encoded histogram"):
        Histogram.decode(encoded)


def test_a_packed_one_takes_no_more() -> None:
    packed = Histogram([1.0]).packed()
    with pytest.raises(TypeError):
        packed.add(1.0)
    with pytest.raises(TypeError):
        packed.merge(Histogram([1.0]))
    assert packed.count == 1


@given(st.lists(st.floats(0.0, 1e30), max_size=20), st.lists(st.floats(0.0, 1e30), max_size=20))
@example([], [0.99999999])
@example([0.5], [0.99999999])
def test_what_was_added_since_can_be_told(before: list[float], after: list[float]) -> None:
    found = since(Histogram([*before, *after]), Histogram(before))
    assert found.count == len(after)
    assert Histogram.decode(found.encode()) == found
    assert not after or 0.0 <= found.min <= found.max


@pytest.mark.parametrize("values", [[-0.0, 1.0], [1.0, -0.0], [-0.0], [-0.0, -0.0, 0.0]])
def test_minus_zero_is_zero(values: list[float]) -> None:
    found = Histogram(values)
    assert found == Histogram([abs(value) for value in values])
    assert Histogram.decode(found.encode()) == found
    assert found.up_to((0.0,)) == [sum(value == 0.0 for value in values)]
