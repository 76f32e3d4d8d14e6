"""The life of a token of an hour, at the instants that ``auth/token_state.py`` computes."""

from __future__ import annotations

from shapes import box, line, picture, ticks, words

from servingclient import Token
from servingclient.auth.token_state import plan

LEFT, WIDTH, LIFE_S = 30, 700, 3600.0


def drawn() -> str:
    """Fresh, stale, the margin, the end."""
    span = plan(0.0, LIFE_S, Token(), chance=0.0)
    scale = WIDTH / LIFE_S
    stale, due = span.stale_s * scale, span.due_s * scale
    parts = [
        box(LEFT, 50, stale, 44, "good", "fresh", "used"),
        box(
            LEFT + stale, 50, due - stale, 44, "wait", "stale", "used, and renewed behind the calls"
        ),
        box(LEFT + due, 50, WIDTH - due, 44, "bad"),
        words(LEFT + WIDTH, 40, f"margin: the last {LIFE_S - span.due_s:g} s", "small", "end"),
        line((LEFT, 110), (LEFT + WIDTH, 110)),
        ticks(
            LEFT,
            110,
            [
                (0.0, "0"),
                (stale, f"{span.stale_s / 60:g} min"),
                (WIDTH, f"{LIFE_S / 60:g} min"),
            ],
        ),
        words(
            LEFT,
            164,
            "In the margin a call waits for a new token, once; where none can be had, the old one "
            "serves to its end.",
            "small",
            "start",
        ),
    ]
    return picture(760, 180, "The life of a token", *parts)
