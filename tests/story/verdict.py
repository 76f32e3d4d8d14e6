"""What must hold of every schedule: the books of the far end against what callers were told."""

from __future__ import annotations

from collections.abc import Iterator

from servingclient._types import FaultKind
from servingclient.settings import Settings
from tests.story.remote import Outcome, Request
from tests.story.schedule import Schedule, Told

AFTER_S = 1e-6
"""What floating point may add to an instant."""
FREE_RESENDS = 3
"""Stale, token, moved: each once, beyond ``max_attempts``."""


def verdict(schedule: Schedule) -> list[str]:
    """Which promises a schedule broke, in words."""
    books = schedule.remote.books
    wrong = schedule.wrong + books.wrong
    if books.most_logins > 1:
        wrong.append(f"{books.most_logins} logins were under way at once")
    ended, expected = len(schedule.client.ended), sum(map(_is_told, schedule.told))
    if ended != expected:
        wrong.append(f"observers were told of {ended} ends of {expected} calls")
    sent: dict[int, list[Request]] = {}
    for request in books.requests:
        sent.setdefault(request.call, []).append(request)
    came: dict[int, list[Outcome]] = {}
    for outcome in books.outcomes:
        came.setdefault(outcome.call, []).append(outcome)
    for told in schedule.told:
        number = told.caller.number
        found = [
            *_of_ending(told),
            *_of_sends(told, sent.get(number, []), schedule.settings, books.ran[number]),
        ]
        if schedule.settings.hedge is None:  # with a second request, tries overlap
            found += _of_resends(came.get(number, []), sent.get(number, []), schedule.settings)
        wrong += [f"call {number} {text}" for text in found]
    return wrong


def _is_told(told: Told) -> bool:
    """Whether observers hear of this end: not of who leaves, unless a stream had begun."""
    return told.opened_s is not None or told.ending != "CancelledError"


def _of_ending(told: Told) -> Iterator[str]:
    caller = told.caller
    if told.ended_s < 0.0:
        yield "never ended"
    over_s = told.ended_s if told.opened_s is None else told.opened_s  # a stream's time ends there
    if over_s > told.began_s + caller.timeout_s + AFTER_S:
        yield f"ended {over_s - told.began_s} s after it began, and had {caller.timeout_s} s"
    if told.ending == "CancelledError" and not told.left:
        yield "was cancelled, and nobody had asked for it"


def _of_sends(told: Told, sent: list[Request], settings: Settings, ran: int) -> Iterator[str]:
    caller = told.caller
    if ran > 1 and not caller.idempotent:
        yield f"may not be run twice and ran {ran} times"
    most = settings.retry.max_attempts + FREE_RESENDS + (settings.hedge is not None)
    if len(sent) > most:
        yield f"was sent {len(sent)} times, of {most} at most"
    for request in sent:
        if request.deadline_s > told.began_s + caller.timeout_s + AFTER_S:
            yield "had a try that may last longer than the call"
        if not told.began_s <= request.at_s <= told.ended_s:
            yield f"was sent at {request.at_s}, outside of its time"


def _of_resends(came: list[Outcome], sent: list[Request], settings: Settings) -> Iterator[str]:
    for outcome, following in zip(came, sent[1:], strict=False):
        if outcome.fault is FaultKind.TIMEOUT and not settings.retry.retry_read_timeout:
            yield "was sent again after a time-out"
        if outcome.status == 401 and following.token == outcome.token:
            yield f"was sent again with the token {outcome.token} that was refused"
        if outcome.fault is FaultKind.STALE and following.max_idle_s > 0.0:
            yield "was sent again on an old connection after a stale one"
        if outcome.hint in {"1", "2", "7", "59"} and outcome.status in {429, 503}:
            paused_s = following.at_s - outcome.at_s
            if paused_s < float(outcome.hint) - AFTER_S:
                yield f"was sent again after {paused_s} s, and was asked for {outcome.hint} s"
