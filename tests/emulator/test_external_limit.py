"""The external API's limit: a window, and the ways to tell of it."""

from __future__ import annotations

import pytest

from servingclient.emulator.external_limit import LIMIT_HEADERS, Standing, Window, headers


def test_a_window_begins_with_its_first_request() -> None:
    window = Window()
    assert window.take(2, 10.0, 100.0) == (False, 1, 10.0)
    assert window.take(2, 10.0, 105.0) == (False, 0, 5.0)
    assert window.take(2, 10.0, 109.0) == (True, 0, 1.0)
    assert window.take(2, 10.0, 110.0) == (False, 1, 10.0)


def test_no_request_at_all_may_be_allowed() -> None:
    assert Window().take(0, 1.0, 0.0) == (True, 0, 1.0)


LEFT = Standing(refused=False, left=3, reset_s=6.2)
REFUSED = Standing(refused=True, left=0, reset_s=6.2)


@pytest.mark.parametrize(
    ("style", "standing", "expected"),
    [
        ("none", REFUSED, {}),
        ("retry_after", LEFT, {}),
        ("retry_after", REFUSED, {"retry-after": "7"}),
        (
            "ietf",
            LEFT,
            {"ratelimit": '"default";r=3;t=7', "ratelimit-policy": '"default";q=5;w=10'},
        ),
        (
            "ietf_07",
            REFUSED,
            {"ratelimit": "limit=5, remaining=0, reset=7", "ratelimit-policy": "5;w=10"},
        ),
        (
            "ietf_03",
            LEFT,
            {"ratelimit-limit": "5", "ratelimit-remaining": "3", "ratelimit-reset": "7"},
        ),
        (
            "x_seconds",
            LEFT,
            {"x-ratelimit-limit": "5", "x-ratelimit-remaining": "3", "x-ratelimit-reset": "7"},
        ),
        (
            "x_epoch",
            LEFT,
            {
                "x-ratelimit-limit": "5",
                "x-ratelimit-remaining": "3",
                "x-ratelimit-reset": "1700000007",
            },
        ),
        (
            "x_rate_epoch",
            REFUSED,
            {
                "x-rate-limit-limit": "5",
                "x-rate-limit-remaining": "0",
                "x-rate-limit-reset": "1700000007",
            },
        ),
    ],
)
def test_each_style_tells_in_its_own_way(
    style: str, standing: Standing, expected: dict[str, str]
) -> None:
    assert dict(headers(style, 5, 10.0, standing, 1_700_000_000.0)) == expected


def test_every_style_is_known() -> None:
    for style in LIMIT_HEADERS:
        headers(style, 5, 10.0, REFUSED, 0.0)
