"""Streams of events (``payload/sse.py``): the same events however the bytes arrive."""

from __future__ import annotations

from servingclient.errors import StreamError
from servingclient.payload.sse import SseEvent, SseParser, event_value
from tests.fuzz.checks.cuts import pieces, single_bytes

_LONGEST_EVENT = 2_000
_FEW = 500  # bytes that are also fed one by one
_SECRET = "hunter2-canary"


def check(data: bytes) -> None:
    events, ended_well = _outcome([data])
    assert _outcome(pieces(data)) == (events, ended_well)
    if len(data) <= _FEW:
        assert _outcome(single_bytes(data)) == (events, ended_well)
    for event in events:
        assert len(event.data) <= _LONGEST_EVENT
        try:
            event_value(event, (_SECRET,))
        except StreamError as error:
            assert _SECRET not in str(error)


def _outcome(arriving: list[bytes]) -> tuple[list[SseEvent], bool]:
    parser = SseParser(_LONGEST_EVENT)
    events: list[SseEvent] = []
    try:
        for piece in arriving:
            events += parser.feed(piece)
        parser.finish()
    except StreamError:
        return events, False
    return events, True
