"""The life of a call, as ``_call.py`` tells it."""

from __future__ import annotations

from shapes import arrow, box, line, picture, words


def drawn() -> str:
    """From the input to the prediction, and round again after a failed try."""
    steps = [
        ("plain", "encode", "input to bytes"),
        ("wait", "queue", "a place, in order"),
        ("plain", "token", "where to send"),
        ("net", "send", "one exchange"),
        ("plain", "decode", "bytes to values"),
        ("good", "Prediction", "with its tries"),
    ]
    parts = [
        box(16 + 128 * number, 30, 108, 50, look, name, about)
        for number, (look, name, about) in enumerate(steps)
    ]
    parts += [arrow((124 + 128 * n, 55), (144 + 128 * n, 55)) for n in range(5)]
    parts += [
        words(515, 24, "200", "small"),
        arrow((454, 80), (454, 124)),
        words(462, 104, "anything else", "small", "start"),
        box(400, 124, 108, 50, "bad", "classify", "what happened?"),
        arrow((400, 149), (344, 149)),
        box(236, 124, 108, 50, "plain", "again?", "table, time, quota"),
        arrow((236, 149), (180, 149)),
        box(72, 124, 108, 50, "wait", "wait", "backoff or hint"),
        line((126, 124), (126, 102), (198, 102)),
        arrow((198, 102), (198, 80)),
        arrow((290, 174), (290, 206)),
        box(236, 206, 108, 36, "bad", "ServingError"),
        words(298, 194, "no: with all its tries", "small", "start"),
        line((16, 262), (764, 262), look="line"),
        line((16, 256), (16, 268)),
        line((764, 256), (764, 268)),
        words(390, 280, "timeout: one limit over everything between the two ends", "small"),
    ]
    return picture(780, 294, "The life of a call", *parts)
