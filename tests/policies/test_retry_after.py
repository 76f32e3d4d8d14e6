"""Retry-After (R4): a hint is honoured, refused or ignored, and never hurts."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.policies.retry_after import (
    LONGEST_S,
    NO_HINT,
    Hint,
    hint_of,
    parse_retry_after,
)
from tests.policies.cases import vectors

TABLE = vectors("retry_after.json")
ROWS = TABLE["openai_python"] + TABLE["own"]
NOW = TABLE["now"]["reply_date"]
CAP_S = TABLE["cap_s"]


def read(value: str | None, date: str | None = NOW, cap_s: float = CAP_S) -> Hint:
    return parse_retry_after(value, reply_date=date, cap_s=cap_s)


def shown(hint: Hint) -> object:
    if hint.wait_s is None:
        return "backoff"
    return "refuse" if hint.refuse else hint.wait_s


def test_r4_the_table_is_whole():
    assert len(ROWS) == 33


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["header"][:32] or "empty")
def test_r4_table(row):
    wanted = row.get("also_fine", row["outcome"])  # a fraction of a second is read: see the module
    assert shown(read(row["header"] * row.get("repeat", 1))) == wanted


def test_r4_no_header():
    assert read(None) == NO_HINT


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("005", 5.0),
        ("0" * 5000 + "7", 7.0),
        ("0.0", "backoff"),
        ("0.25", 0.25),
        ("1." + "9" * 5000, pytest.approx(2.0)),
        ("120.0", 120.0),
        ("120.1", "refuse"),
        ("1.", "backoff"),
        (".5", "backoff"),
        ("1.5.2", "backoff"),
        ("\t5 ", 5.0),
        ("\u00a05", "backoff"),  # strip() would take the no-break space
        ("5\n", "backoff"),
        ("5\x00", "backoff"),
        ("1,5", "backoff"),
        ("999999999", "refuse"),
        ("1000000000", "refuse"),
    ],
)
def test_r4_numbers(text, outcome):
    assert shown(read(text)) == outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (" Fri, 29 Sep 2023 16:26:38 GMT ", 1.0),
        ("fri, 29 Sep 2023 16:26:57 GMT", "backoff"),  # the grammar is case-sensitive
        ("Fri, 29 Sep 2023 16:26:57 UTC", "backoff"),
        ("Fri, 29 Sep 2023 16:26:57 +0000", "backoff"),
        ("Friday, 29-Sep-23 16:26:57 GMT", "backoff"),  # obsolete forms: nobody was seen to send
        ("Fri Sep 29 16:26:57 2023", "backoff"),
        ("Fri, 31 Feb 2024 16:26:57 GMT", "backoff"),
        ("Fri, 29 Sep 2023 25:26:57 GMT", "backoff"),
        ("Fri, 29 Sep 2023 16:26:60 GMT", "backoff"),  # a leap second
        ("Fri, 29 Sep 0000 16:26:57 GMT", "backoff"),
        ("Fri, \u0662\u0669 Sep 2023 16:26:57 GMT", "backoff"),
        ("Fri, 29 Sep 2023 16:26:57 GMT, Fri, 29 Sep 2023 16:26:58 GMT", "backoff"),
    ],
)
def test_r4_dates(text, outcome):
    assert shown(read(text)) == outcome


@pytest.mark.parametrize("date", [None, "", "yesterday", "Fri, 29 Sep 2023 16:26:37"])
def test_r4_a_date_says_nothing_without_the_reply_s_own_date(date):
    # Our clock may be wrong by hours; the server's own two dates cannot disagree.
    assert read("Fri, 29 Sep 2023 16:26:57 GMT", date) == NO_HINT
    assert read("20", date).wait_s == 20.0


def test_r4_every_month_is_read():
    names = "JanFebMarAprMayJunJulAugSepOctNovDec"
    months = [names[at : at + 3] for at in range(0, 36, 3)]
    waits = [
        read(f"Mon, 02 {month} 2023 00:00:00 GMT", "Sun, 01 Jan 2023 00:00:00 GMT").wait_s
        for month in months
    ]
    starts = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334]  # days before each month
    assert waits == [(start + 1) * 86400.0 for start in starts]


@pytest.mark.parametrize("digits", ["9" * 35, "1" * 5000, "1" * 400_000])
def test_r4_a_refused_wait_is_finite(digits):
    assert read(digits) == Hint(LONGEST_S, refuse=True)


@pytest.mark.parametrize(
    ("seconds", "hint"),
    [
        (None, NO_HINT),
        (0.0, NO_HINT),
        (-3.0, NO_HINT),
        (math.nan, NO_HINT),
        (15, Hint(15.0, refuse=False)),
        (120.5, Hint(120.5, refuse=True)),
        (math.inf, Hint(LONGEST_S, refuse=True)),
        (10**400, Hint(LONGEST_S, refuse=True)),
    ],
)
def test_r4_a_number_in_the_body_obeys_the_same_rules(seconds, hint):
    found = hint_of(seconds, cap_s=CAP_S)
    assert found == hint
    assert found.wait_s is None or isinstance(found.wait_s, float)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 2_000_000,
        " " * 2_000_000 + "x",
        "0" * 2_000_000 + "x",
        "1." * 1_000_000,
        "Fri, " * 400_000,
        "1, " * 600_000,
    ],
    ids=["digits", "blanks", "zeros", "points", "days", "list"],
)
def test_r4_long_input_costs_one_pass(text):
    # Quadratic, these take hours and hit the time limit of the test.
    for _ in range(5):
        read(text, text)


def check(value: str, date: str | None, cap_s: float) -> None:
    wait_s, refuse = read(value, date, cap_s)
    if wait_s is None:
        assert refuse is False
    else:
        assert math.isfinite(wait_s)
        assert wait_s > cap_s if refuse else 0.0 < wait_s <= cap_s


CAPS = st.floats(0.0, 1e6)
NEARLY = st.from_regex(
    r"[ \t]?([0-9_+\-.,eE\u0660-\u0669]{0,12}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4,5} "
    r"[0-9]{2}:[0-9]{2}:[0-9]{2} GMT)[ \t\n]?",
    fullmatch=True,
)
DATES = st.datetimes().map(lambda when: f"{when:%a, %d %b} {when.year:04} {when:%H:%M:%S} GMT")
VALUES = st.text() | st.binary().map(lambda raw: raw.decode("latin-1")) | NEARLY | DATES


@given(VALUES, st.none() | VALUES, CAPS)
def test_r4_never_raises_and_stays_within_the_cap(value, date, cap_s):
    check(value, date, cap_s)


@given(st.integers(0, 10**12), CAPS)
def test_r4_whole_seconds_mean_what_they_say(seconds, cap_s):
    hint = read(str(seconds), None, cap_s)
    if seconds == 0:
        assert hint == NO_HINT
    else:
        assert hint == Hint(min(float(seconds), LONGEST_S), refuse=min(seconds, LONGEST_S) > cap_s)


ALPHABET = "0123456789 .,:;+-_eExXGMTFriSep\t\n\x00\u0661\u00b2"


def fuzz(count: int) -> None:
    chance = random.Random(4)
    seeds = [row["header"] for row in ROWS]
    for _ in range(count):
        text = chance.choice(seeds)
        cut = chance.randrange(len(text) + 1)
        noise = "".join(chance.choices(ALPHABET, k=chance.randrange(4)))
        check(text[:cut] + noise + text[cut + chance.randrange(3) :], NOW, CAP_S)


def test_r4_fuzz():
    fuzz(100_000)


@pytest.mark.long
def test_r4_fuzz_a_million():
    fuzz(1_000_000)
