"""What a reply says about keeping it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.enrichment.cache_control import NOTHING_SAID, Said, said

DATE = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT")


def heard(*headers: tuple[str, str]) -> Said:
    return said([(name.encode(), value.encode()) for name, value in headers])


def control(text: str) -> Said:
    return heard(("Cache-Control", text))


def test_a_reply_that_says_nothing() -> None:
    assert heard(("Content-Type", "application/json")) == NOTHING_SAID


@pytest.mark.parametrize(
    ("text", "fresh_s"),
    [
        ("max-age=60", 60.0),
        ("MAX-AGE=60", 60.0),
        ("public, max-age=60", 60.0),
        ('max-age="60"', 60.0),
        ("max-age=60, s-maxage=30", 30.0),
        ("max-age=30,s-maxage=60", 30.0),
        ("max-age=0", 0.0),
        ("max-age=99999999999999999999", 2.0**31),
        ("max-age=" + "9" * 5000, 2.0**31),
        ("max-age=2147483649", 2.0**31),
        ("max-age=abc", 0.0),
        ("max-age=abc, stale-while-revalidate=99999999999999999999", 0.0),
        ("max-age", 0.0),
        ("max-age=", 0.0),
        ("max-age=-1", 0.0),
        ("max-age=1e9", 0.0),
        ("max-age=60, max-age=60", 60.0),
        ("max-age=60, max-age=600", 0.0),
        ("no-cache", 0.0),
        ("no-cache, max-age=60", 0.0),
        ('no-cache="set-cookie", max-age=60', 0.0),
        ("=,;;garbage\\, max-age=60", 60.0),
        ("immutable", None),
        ("", None),
    ],
)
def test_lifetimes(text: str, fresh_s: float | None) -> None:
    assert control(text).fresh_s == fresh_s


def test_age_is_taken_off() -> None:
    assert heard(("Cache-Control", "max-age=60"), ("Age", "20")).fresh_s == 40.0
    assert heard(("Cache-Control", "max-age=60"), ("Age", "90")).fresh_s == 0.0
    assert heard(("Cache-Control", "max-age=60"), ("Age", "x")).fresh_s == 60.0


@pytest.mark.parametrize(
    ("expires", "fresh_s"),
    [
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sun, 06 Nov 1994 08:48:37 GMT", 0.0),
        ("0", 0.0),
        ("-1", 0.0),
        ("soon", 0.0),
        ("Sun, 06 Nov 99999999 08:50:37 GMT", 0.0),
    ],
)
def test_expires_is_read_against_date(expires: str, fresh_s: float) -> None:
    assert heard(("Expires", expires), DATE).fresh_s == fresh_s


def test_expires_without_date_is_past_and_max_age_goes_before_it() -> None:
    later = ("Expires", "Sun, 06 Nov 1994 08:50:37 GMT")
    assert heard(later).fresh_s == 0.0
    assert heard(later, DATE, ("Cache-Control", "max-age=5")).fresh_s == 5.0


def test_what_may_be_kept_and_where() -> None:
    assert control("no-store").store is False
    assert heard(("Vary", "*")).store is False
    assert heard(("Vary", "Accept")).store is True
    assert control("private").share is False
    assert control("private").store is True
    assert control('private="x-user"').share is False


def test_stale_values() -> None:
    found = control("max-age=1, stale-while-revalidate=2, stale-if-error=3")
    assert found[2:5] == (1.0, 2.0, 3.0)
    assert control("stale-while-revalidate=x").revalidate_s == 0.0
    for strict in ("must-revalidate", "proxy-revalidate", "no-cache"):
        found = control(f"max-age=1, stale-while-revalidate=2, stale-if-error=3, {strict}")
        assert (found.revalidate_s, found.on_error_s) == (0.0, 0.0)


@pytest.mark.parametrize("etag", ['"abc"', 'W/"abc"', '""', '"é"'])
def test_validators(etag: str) -> None:
    expected = etag if etag.isascii() else None
    assert heard(("ETag", etag)).etag == expected


@pytest.mark.parametrize("etag", ["abc", '"a"b"', '"a', '"a b"', '"' + "x" * 300 + '"', 'w/"a"'])
def test_a_malformed_validator_is_none(etag: str) -> None:
    assert heard(("ETag", etag)).etag is None


def test_repeated_lines_are_one() -> None:
    found = heard(("Cache-Control", "private"), ("cache-control", "max-age=9"))
    assert (found.share, found.fresh_s) == (False, 9.0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Cache-Control", "Expires", "Date", "Age", "ETag", "Vary"]),
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
            | st.sampled_from(["max-age=5", "no-store", "no-cache", "stale-if-error=9", '"e"']),
        ),
        max_size=6,
    )
)
def test_anything_is_read_without_an_error(headers: list[tuple[str, str]]) -> None:
    found = heard(*headers)
    for seconds in (found.fresh_s, found.revalidate_s, found.on_error_s):
        assert seconds is None or 0.0 <= seconds < 1e13
