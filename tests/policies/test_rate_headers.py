"""What an API says of its limits, in all the ways they are written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.policies.rate_headers import NOTHING, Told, read

WALL_S = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"  # the same instant


def told(**headers: str) -> Told:
    lines = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in headers.items()
    ]
    return read(lines, WALL_S)


# -- the IETF's drafts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "policy", "expected"),
    [
        # version 8 and later
        ('"default";r=50;t=30', None, Told(50, 30.0)),
        ('"default";r=50;t=30', '"default";q=100;w=60', Told(50, 30.0, 100, 60.0)),
        ('"default";r=0;t=30', '"default";q=100;w=60', Told(0, 30.0, 100, 60.0)),
        ('"default" ; r=50 ; t=30', '"default" ; q=100 ; w=60', Told(50, 30.0, 100, 60.0)),
        ('"a;b,c";r=5;t=3', '"a;b,c";q=9;w=6', Told(5, 3.0, 9, 6.0)),
        ('"a\\"b";r=5;t=3', '"a\\"b";q=9;w=6', Told(5, 3.0, 9, 6.0)),
        ('"a=b";r=5;t=3', '"a=b";q=9;w=6', Told(5, 3.0, 9, 6.0)),
        ('"default";t=30;r=50;pk=:dHJpYWwxMjEzMjM=:', None, Told(50, 30.0)),
        ("default;r=50;t=30", "default;q=100;w=60", Told(50, 30.0, 100, 60.0)),
        # a policy of another name is not this one's
        ('"a";r=50;t=30', '"b";q=100;w=60', Told(50, 30.0)),
        ('"b";r=50;t=30', '"a";q=9;w=1, "b";q=100;w=60', Told(50, 30.0, 100, 60.0)),
        # several limits: the one reached first; of those reached, the longest
        (
            '"day";r=4000;t=40000, "minute";r=5;t=20',
            '"day";q=5000;w=86400, "minute";q=60;w=60',
            Told(5, 20.0, 60, 60.0),
        ),
        ('"minute";r=0;t=20, "day";r=0;t=40000', None, Told(0, 40000.0)),
        ('"minute";r=0;t=20, "day";r=7;t=40000', None, Told(0, 20.0)),
        # what does not count requests is none of ours
        ('"up";r=100;t=9', '"up";q=65535;w=10;qu="content-bytes"', NOTHING),
        (
            '"up";r=0;t=9, "calls";r=3;t=5',
            '"up";q=65535;w=10;qu="content-bytes", "calls";q=7;w=10;qu="requests"',
            Told(3, 5.0, 7, 10.0),
        ),
        # Hugging Face
        ('"api";r=489;t=189', '"fixed window";"api";q=500;w=300', Told(489, 189.0, 500, 300.0)),
        # version 7
        ("limit=100, remaining=50, reset=30", None, Told(50, 30.0, 100)),
        ("limit=100, remaining=50, reset=30", "100;w=60", Told(50, 30.0, 100, 60.0)),
        ("limit=100, remaining=0, reset=5", "10;w=1, 100;w=60", Told(0, 5.0, 10, 1.0)),
        # a policy alone
        (None, '"default";q=100;w=60', Told(None, None, 100, 60.0)),
        # parts of it
        ('"default";r=50', None, NOTHING),
        ('"default";t=50', None, NOTHING),
        ('"default"', None, NOTHING),
        ("limit=100, remaining=50", None, Told(limit=100)),
    ],
)
def test_structured_fields(limit: str | None, policy: str | None, expected: Told):
    given_ = {"RateLimit": limit, "RateLimit_Policy": policy}
    assert told(**{name: text for name, text in given_.items() if text}) == expected


def test_limits_on_lines_of_their_own_are_one_list():
    lines = [(b"ratelimit", b'"minute";r=5;t=20'), (b"RateLimit", b'"day";r=4000;t=40000')]
    assert read(lines, WALL_S) == Told(5, 20.0)


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "expected"),
    [
        ("100", "50", "30", Told(50, 30.0, 100)),
        ("100, 100;w=60", "50", "30", Told(50, 30.0, 100, 60.0)),
        ("10, 10;w=1, 100;w=60", "5", "1", Told(5, 1.0, 10, 1.0)),
        ("100;w=21600", "76;w=21600", "", Told(None, None, 100, 21600.0)),  # Docker Hub
        ("100;w=60", "76;w=60", "30;w=60", Told(76, 30.0, 100, 60.0)),
        ("100", "50", "", Told(limit=100)),
        ("100", "", "30", Told(limit=100)),
        ("", "50", "30", Told(50, 30.0)),
    ],
)
def test_three_headers_of_the_earlier_drafts(
    limit: str, remaining: str, reset: str, expected: Told
):
    assert (
        told(RateLimit_Limit=limit, RateLimit_Remaining=remaining, RateLimit_Reset=reset)
        == expected
    )


# -- the ones nobody wrote down -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("30", 30.0),
        ("30.5", 30.5),
        ("0", 0.0),
        ("3600", 3600.0),
        ("1700000030", 30.0),
        ("1700000030.25", 30.25),
        ("1700000030500", 30.5),
        ("1699999000", 0.0),  # over already
        ("999999999", 999999999.0),
        ("1000000000", 0.0),
    ],
)
@pytest.mark.parametrize("family", ["X_RateLimit", "X_Rate_Limit", "x_ratelimit"])
def test_a_reset_is_a_wait_or_an_instant(family: str, reset: str, seconds: float):
    headers = {f"{family}_Limit": "60", f"{family}_Remaining": "7", f"{family}_Reset": reset}
    assert told(**headers) == Told(7, seconds, 60)


def test_an_instant_is_measured_against_the_reply_s_own_date():
    lines = [
        (b"Date", DATE.encode()),
        (b"X-RateLimit-Remaining", b"0"),
        (b"X-RateLimit-Reset", b"1700000030"),
    ]
    assert read(lines, WALL_S + 86_400.0) == Told(0, 30.0)
    assert read(lines[1:], WALL_S + 10.0) == Told(0, 20.0)


def test_part_of_a_request_left_is_none():
    assert told(X_RateLimit_Remaining="0.9", X_RateLimit_Reset="9") == Told(0, 9.0)  # Reddit
    assert told(X_RateLimit_Limit="60.5") == Told(limit=60)


def test_what_is_written_down_counts_more_than_what_is_not():
    headers = {
        "X_RateLimit_Remaining": "1",
        "X_RateLimit_Reset": "1",
        "RateLimit_Remaining": "2",
        "RateLimit_Reset": "2",
    }
    assert told(**headers) == Told(2, 2.0)
    assert told(**headers, RateLimit='"default";r=3;t=3') == Told(3, 3.0)
    # one that says nothing is in nobody's way
    assert told(**headers, RateLimit="gibberish") == Told(2, 2.0)


# -- rubbish --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rubbish",
    ["", " ", "-1", "+5", "1_000", "٣", "nan", "inf", "1e3", "0x10", "5, 7", "soon", "1" * 16, "½"],
)
def test_rubbish_says_nothing(rubbish: str):
    value = rubbish.encode()
    for name in (b"X-RateLimit-Remaining", b"X-RateLimit-Reset"):
        lines = {b"X-RateLimit-Remaining": b"5", b"X-RateLimit-Reset": b"5", name: value}
        assert read(list(lines.items()), WALL_S) == NOTHING
    if "," not in rubbish:
        assert read([(b"RateLimit", b'"default";t=5;r=' + value)], WALL_S) == NOTHING


def test_no_such_headers_say_nothing():
    assert read([], WALL_S) == NOTHING
    assert told(Date=DATE, Content_Type="application/json", Retry_After="5") == NOTHING
    assert told(X_RateLimit_Limit="60") == Told(limit=60)


def test_a_limit_of_nothing_is_no_limit():
    assert told(RateLimit_Policy='"default";q=0;w=60') == NOTHING
    assert told(RateLimit_Policy='"default";q=10;w=0') == NOTHING


def test_an_endless_value_is_not_looked_at():
    assert told(RateLimit='"default";r=5;t=5;x="' + "\\" * 100_000) == NOTHING


WORDS = st.sampled_from(
    ['"', "\\", ";", ",", "=", " ", "r", "t", "q", "w", "qu", "limit", "remaining", "reset", "7"]
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                b"RateLimit",
                b"RateLimit-Policy",
                b"RateLimit-Limit",
                b"RateLimit-Remaining",
                b"X-RateLimit-Reset",
                b"X-RateLimit-Remaining",
                b"Date",
            ]
        ),
        st.one_of(
            st.binary(max_size=40), st.lists(WORDS, max_size=30).map(lambda w: "".join(w).encode())
        ),
    )
)
def test_nothing_an_api_sends_is_an_error(headers: dict[bytes, bytes]):
    found = read(list(headers.items()), WALL_S)
    assert (found.left is None) == (found.reset_s is None)
    for figure in found:
        assert figure is None or (figure >= 0 and math.isfinite(figure))
    assert found.limit is None or (found.limit > 0 and isinstance(found.limit, int))
    assert found.window_s is None or found.window_s > 0.0
