"""What a kept answer is good for, and how long it is kept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.enrichment.cache_control import NOTHING_SAID, Said
from servingclient.enrichment.entry import Entry
from servingclient.enrichment.freshness import (
    Answer,
    Freshness,
    entry_of,
    freshness,
    sure_until_s,
    useful_until_s,
)
from servingclient.settings import Caching

ENTRY = Entry("v", 100.0, 10.0, 5.0, 60.0, 0.0, 10)
RULES = Caching(stale_while_revalidate_s=7.0, stale_if_error_s=50.0)

seconds = st.floats(0.0, 1e4)
entries = st.builds(
    Entry, st.none(), seconds, seconds, seconds, seconds, st.floats(0.0, 5.0), st.just(1)
)
chances = st.floats(0.0, 1.0, exclude_max=True)


@pytest.mark.parametrize(
    ("age_s", "verdict"),
    [
        (0.0, Freshness.FRESH),
        (9.999, Freshness.FRESH),
        (10.0, Freshness.REVALIDATE),
        (14.999, Freshness.REVALIDATE),
        (15.0, Freshness.STALE_ON_ERROR),
        (69.999, Freshness.STALE_ON_ERROR),
        (70.0, Freshness.GONE),
    ],
)
def test_what_an_age_means(age_s: float, verdict: Freshness) -> None:
    assert freshness(ENTRY, 100.0 + age_s, 1.0, 0.5) is verdict


def test_a_slow_answer_is_fetched_early_at_random() -> None:
    slow = replace(ENTRY, took_s=1.0)
    assert freshness(slow, 108.0, 1.0, math.exp(-2.1)) is Freshness.REVALIDATE
    assert freshness(slow, 108.0, 1.0, math.exp(-1.9)) is Freshness.FRESH
    assert freshness(slow, 108.0, 0.0, 0.0) is Freshness.FRESH, "switched off"
    assert freshness(replace(slow, negative=True), 109.9, 1.0, 0.0) is Freshness.FRESH


@given(entries, seconds, chances, st.floats(0.0, 3.0))
def test_up_to_that_instant_it_is_fresh_whatever_chance_says(
    entry: Entry, now_s: float, rand: float, factor: float
) -> None:
    if now_s < sure_until_s(entry, factor):
        assert freshness(entry, now_s, factor, rand) is Freshness.FRESH


@given(entries, seconds, chances)
def test_an_age_only_makes_it_worse(entry: Entry, now_s: float, rand: float) -> None:
    order = list(Freshness)
    ranks = [
        order.index(freshness(entry, now_s + more_s, 0.0, rand)) for more_s in (0.0, 1.0, 100.0)
    ]
    assert ranks == sorted(ranks)


@given(entries, seconds, chances)
def test_of_no_use_is_gone(entry: Entry, now_s: float, rand: float) -> None:
    if now_s >= useful_until_s(entry) + 1e-6:
        assert freshness(entry, now_s, 1.0, rand) is Freshness.GONE


def test_a_validator_outlives_its_value() -> None:
    tagged = replace(ENTRY, etag='"e"')
    assert useful_until_s(ENTRY) == 170.0
    assert useful_until_s(tagged) >= 3000.0


def made(said: Said = NOTHING_SAID, *, negative: bool = False, rand: float = 0.0) -> Entry:
    answer = Answer(None if negative else "v", 3, negative, said)
    return entry_of(answer, RULES, ttl_s=20.0, now_s=5.0, took_s=0.5, rand=rand, tags=("t",))


def test_the_settings_decide_where_the_api_says_nothing() -> None:
    assert made() == Entry("v", 5.0, 20.0, 7.0, 50.0, 0.5, 3, tags=("t",))
    assert made(rand=0.5).fresh_s == pytest.approx(19.0), "half of the jitter"
    assert made(negative=True) == Entry(None, 5.0, 5.0, 0.0, 0.0, 0.5, 3, True, tags=("t",))


def test_without_a_setting_it_is_revalidated_as_long_as_it_lived() -> None:
    answer = Answer("v", 3, negative=False, said=NOTHING_SAID)
    found = entry_of(answer, Caching(), ttl_s=20.0, now_s=0.0, took_s=0.0, rand=0.9)
    assert found.revalidate_s == 20.0


@given(
    st.builds(
        Said,
        fresh_s=st.none() | seconds,
        revalidate_s=st.none() | seconds,
        on_error_s=st.none() | seconds,
    ),
    st.booleans(),
    chances,
)
def test_the_api_can_only_shorten(said: Said, negative: bool, rand: float) -> None:
    own, found = made(negative=negative, rand=rand), made(said, negative=negative, rand=rand)
    for name in ("fresh_s", "revalidate_s", "on_error_s"):
        told = getattr(said, name)
        assert getattr(found, name) <= getattr(own, name)
        if told is not None:
            assert getattr(found, name) <= told


def test_what_may_not_be_stored_is_of_no_use_at_once() -> None:
    found = made(Said(store=False, etag='"e"'))
    assert useful_until_s(found) == 5.0
    assert found.etag is None


def test_a_negative_answer_has_no_validator() -> None:
    assert made(Said(etag='"e"'), negative=True).etag is None
    assert made(Said(etag='"e"')).etag == '"e"'


@pytest.mark.parametrize(
    ("own_s", "heard", "revalidate_s"),
    [
        (None, NOTHING_SAID, 60.0),
        (None, Said(fresh_s=10.0), 10.0),
        (None, Said(fresh_s=0.0), 0.0),
        (None, Said(fresh_s=600.0), 60.0),
        (None, Said(fresh_s=10.0, revalidate_s=30.0), 30.0),
        (None, Said(fresh_s=10.0, revalidate_s=300.0), 60.0),
        (5.0, Said(fresh_s=0.0), 5.0),
        (5.0, Said(fresh_s=0.0, revalidate_s=1.0), 1.0),
    ],
)
def test_how_long_beyond_its_time(own_s: float | None, heard: Said, revalidate_s: float) -> None:
    rules = Caching(stale_while_revalidate_s=own_s, ttl_jitter=0.0)
    answer = Answer("v", 1, negative=False, said=heard)
    entry = entry_of(answer, rules, ttl_s=60.0, now_s=0.0, took_s=0.1, rand=0.0)
    assert entry.revalidate_s == revalidate_s
