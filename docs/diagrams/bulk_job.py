"""How ``map`` works: rows are read as results are asked for, and the window bounds memory."""

from __future__ import annotations

from shapes import arrow, box, line, picture, words


def drawn() -> str:
    """From the input to results in order; what is refused goes round in halves."""
    parts = [
        box(16, 60, 110, 50, "plain", "input", "any size"),
        box(166, 60, 110, 50, "plain", "split", "rows, bytes, time"),
        box(316, 40, 130, 26, "net", "request"),
        box(316, 72, 130, 26, "net", "request"),
        box(316, 104, 130, 26, "net", "request"),
        box(486, 60, 110, 50, "wait", "in order", "those done wait"),
        box(636, 60, 110, 50, "good", "results", "one a row"),
        arrow((126, 85), (166, 85)),
        arrow((276, 85), (316, 85)),
        arrow((446, 85), (486, 85)),
        arrow((596, 85), (636, 85)),
        # what is refused for its content
        line((416, 130), (416, 160), (346, 160)),
        arrow((346, 160), (346, 130)),
        words(381, 176, "refused: in halves, until", "small"),
        words(381, 191, "the rows to blame are alone", "small"),
        # the checkpoint
        arrow((541, 110), (541, 150)),
        box(486, 150, 110, 40, "plain", "checkpoint", "on a local disk"),
        line((166, 30), (596, 30)),
        line((166, 24), (166, 36)),
        line((596, 24), (596, 36)),
        words(381, 20, "the window: nothing more is read before results are taken", "small"),
    ]
    return picture(762, 206, "How map works", *parts)
