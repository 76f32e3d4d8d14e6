"""How one time limit is spent, and why a call may end before it."""

from __future__ import annotations

from shapes import box, line, picture, ticks, words

PX_PER_S = 340
LEFT = 30


def drawn() -> str:
    """Two calls with ``timeout=2.0``: one is answered, one ends early."""
    answered = [
        ("wait", "queue", 0.2),
        ("plain", "token", 0.16),
        ("bad", "429", 0.14),
        ("wait", "wait 0.7 s", 0.7),
        ("net", "try 2", 0.3),
    ]
    early = [("wait", "queue", 0.2), ("bad", "429, Retry-After: 5", 0.5)]
    parts = [words(LEFT, 26, "answered after 1.5 s", anchor="start")]
    parts += bars(36, answered)
    parts += [
        words(LEFT, 108, "fails after 0.7 s: a wait of 5 s would not fit", anchor="start"),
        *bars(118, early),
        line((LEFT, 172), (LEFT + 2 * PX_PER_S, 172)),
        ticks(LEFT, 172, [(PX_PER_S * n / 2, f"{n / 2:g} s") for n in range(5)]),
        line((LEFT + 2 * PX_PER_S, 20), (LEFT + 2 * PX_PER_S, 172), look="faint"),
        words(LEFT + 2 * PX_PER_S - 6, 26, "timeout=2.0", "small", "end"),
    ]
    return picture(740, 204, "How one time limit is spent", *parts)


def bars(y: float, spans: list[tuple[str, str, float]]) -> list[str]:
    """Boxes one after the other, as wide as they take time."""
    parts, x = [], float(LEFT)
    for look, name, seconds in spans:
        width = seconds * PX_PER_S
        parts.append(box(x, y, width, 36, look, name))
        x += width
    return parts
