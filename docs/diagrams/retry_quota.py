"""The retry quota through an outage, computed with the library's own numbers."""

from __future__ import annotations

from shapes import arrow, curve, line, picture, words

from servingclient import Retry

LEFT, BOTTOM, WIDTH, HEIGHT = 56, 210, 680, 170
BEFORE, DOWN, AFTER = 100, 200, 700


def levels(retry: Retry) -> list[int]:
    """Tokens after each call: good ones, then ones that fail with 503, then good ones again."""
    tokens, found = retry.quota_capacity, []
    for call in range(BEFORE + DOWN + AFTER):
        if BEFORE <= call < BEFORE + DOWN:
            for _ in range(retry.max_attempts - 1):
                if tokens >= retry.retry_cost:
                    tokens -= retry.retry_cost
        else:
            tokens = min(retry.quota_capacity, tokens + retry.success_credit)
        found.append(tokens)
    return found


def drawn() -> str:
    """Tokens by call; where they are used up, each call is one request."""
    retry = Retry()
    found = levels(retry)
    across, up = WIDTH / len(found), HEIGHT / retry.quota_capacity
    retries = retry.quota_capacity // retry.retry_cost
    places = [(LEFT + across * n, BOTTOM - up * level) for n, level in enumerate(found)]
    begins, ends = LEFT + across * BEFORE, LEFT + across * (BEFORE + DOWN)
    parts = [
        area(begins, ends),
        line((LEFT, BOTTOM - HEIGHT), (LEFT, BOTTOM), (LEFT + WIDTH, BOTTOM)),
        words(LEFT - 8, BOTTOM + 4, "0", "small", "end"),
        words(LEFT - 8, BOTTOM - HEIGHT + 4, str(retry.quota_capacity), "small", "end"),
        words(LEFT, 24, "tokens", "small"),
        words((begins + ends) / 2, 34, f"{DOWN} calls fail", "small"),
        curve(places[:: max(1, len(places) // 500)]),
        words(begins + 22, BOTTOM - 60, f"{retries} retries, then", "small", "start"),
        words(begins + 22, BOTTOM - 44, "one request a call", "small", "start"),
        words(
            ends + 130, BOTTOM - 24, f"+{retry.success_credit} for each good call", "small", "start"
        ),
        arrow((LEFT + WIDTH - 60, BOTTOM + 22), (LEFT + WIDTH, BOTTOM + 22)),
        words(LEFT + WIDTH - 68, BOTTOM + 26, "calls", "small", "end"),
    ]
    return picture(760, 250, "The retry quota through an outage", *parts)


def area(begins: float, ends: float) -> str:
    """Where calls fail."""
    return (
        f'<rect class="bad" x="{begins:g}" y="{BOTTOM - HEIGHT}" width="{ends - begins:g}" '
        f'height="{HEIGHT}" opacity="0.45"/>'
    )
