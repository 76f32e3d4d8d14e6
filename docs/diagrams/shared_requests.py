"""Who shares a request: callers that come while all slots are taken."""

from __future__ import annotations

from shapes import arrow, box, line, picture, words

SLOTS = (70, 126)


def drawn() -> str:
    """Two slots; one caller goes alone, later ones gather and leave together."""
    first, second = SLOTS
    parts = [
        words(20, first + 23, "slot 1", "strong", "start"),
        words(20, second + 23, "slot 2", "strong", "start"),
        box(90, first, 180, 36, "net", "A alone"),
        box(130, second, 180, 36, "net", "B alone"),
        box(270, first, 210, 36, "good", "C D E in one request"),
        box(310, second, 240, 36, "good", "F, when slot 2 is free"),
        box(620, first, 120, 36, "net", "G alone"),
        line((80, 186), (750, 186)),
        words(750, 204, "time", "small", "end"),
    ]
    for name, x, down in (
        ("A", 90, first),
        ("B", 130, second),
        ("C", 180, 0),
        ("D", 205, 0),
        ("E", 245, 0),
        ("F", 290, 0),
        ("G", 620, first),
    ):
        parts.append(words(x, 20, name, "strong"))
        parts.append(arrow((x, 26), (x, down or 52)))
    parts += [
        line((172, 56), (262, 56)),
        words(330, 60, "wait for a slot", "small", "start"),
        words(640, 20, "idle: no wait", "small", "start"),
        words(270, 226, "a slot is free: whoever waits goes", "small"),
        line((270, 186), (270, 212), look="faint"),
    ]
    return picture(770, 240, "Who shares a request", *parts)
