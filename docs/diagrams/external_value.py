"""Where a value of an external API comes from, nearest first."""

from __future__ import annotations

from shapes import arrow, box, picture, words


def drawn() -> str:
    """Each stop answers, or passes the question on."""
    stops = [
        ("good", "memory", "this process"),
        ("plain", "one flight", "once for all"),
        ("good", "Redis", "the fleet, if given"),
        ("wait", "breaker, rate", "may it be asked?"),
        ("net", "API", "with retries"),
    ]
    parts = [
        box(110 + 132 * number, 20, 108, 50, look, name, about)
        for number, (look, name, about) in enumerate(stops)
    ]
    parts += [arrow((218 + 132 * n, 45), (242 + 132 * n, 45)) for n in range(4)]
    parts += [
        words(16, 49, "get(...)", "strong", "start"),
        arrow((72, 45), (110, 45)),
    ]
    told = [
        (164, "fresh: at once"),
        (296, "others wait here"),
        (428, "found: kept too"),
        (560, "no: what is stale,"),
        (692, "kept, with a"),
    ]
    parts += [words(x, 92, text, "small") for x, text in told]
    parts += [
        words(560, 107, "or an error", "small"),
        words(692, 107, "time to live", "small"),
        words(164, 107, "stale: at once, and", "small"),
        words(164, 122, "fetched behind", "small"),
    ]
    return picture(770, 140, "Where a value of an external API comes from", *parts)
