"""How a batch is sent and its answer taken apart; the same for threads and tasks.

========================================  ======================================================
what came                                 what its members get
========================================  ======================================================
a list of one value a row                 each the values of its own rows, in order
anything else                             ``BatchScatterError``, all of them: nobody's is known
the same for one member alone             what came, whatever it is
refused as a bad request, or too large    two halves are sent in its place, down to one member
any other error                           a copy of it, all of them
========================================  ======================================================

The halves are no retries: no backoff, no tokens of the retry quota. But their members had a place
before, so at the gate they go before those who had none. One bad member in 16 costs 8 requests
more, and 15 get their values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from servingclient._types import FaultKind, WireFault
from servingclient.batching.batch import Answer, Answered, Batch, Deserted, Failed
from servingclient.batching.company import Member
from servingclient.errors import BadRequest, BatchScatterError, PayloadTooLarge

Deliver = Callable[[Batch, Answer], None]
"""Hands an answer to the members of a batch and wakes their callers."""

_POISONED = frozenset({400, 422})


async def send(parts: list[Batch], deliver: Deliver) -> None:
    """Bring batches to their end, the last first.

    Args:
        parts: The batches. One that has ended is taken off, so what is left when this is
            interrupted has not ended.
        deliver: Called once for each batch, or for each of the parts it was divided into.
    """
    while parts:
        batch = parts[-1]
        broken, batch.broken = batch.broken, None
        try:
            reply, values, done_s = await batch.terms.story.answer(batch, broken)
        except Deserted as nobody:
            batch.traced(nobody)
            parts.pop()
        except Exception as error:  # noqa: BLE001 - also what a foreign transport may raise
            batch.traced(error)
            if len(batch.members) > 1 and _divisible(batch, error):
                parts[-1:] = batch.halves()
            else:
                deliver(batch, Failed(twin(error)))
                parts.pop()
        except BaseException as interrupt:
            batch.traced(interrupt)
            raise
        else:
            batch.traced()
            deliver(batch, scattered(batch, Answered(reply, values, done_s)))
            parts.pop()


def _divisible(batch: Batch, error: Exception) -> bool:
    """Whether a single member may be what was refused, and the others may be sent again.

    A model that raises at one row may have worked on those before it: what may not run twice is
    not sent twice.
    """
    if isinstance(error, PayloadTooLarge):
        return True
    refused = isinstance(error, BadRequest) and error.status_code in _POISONED
    return refused and batch.idempotent


def scattered(batch: Batch, answer: Answered) -> Answer:
    """An answer the members may take their parts of, or the error for all."""
    reply, values, _ = answer
    rows = batch.body.rows
    if len(batch.members) == 1 or (type(values) is list and len(values) == rows):
        batch.terms.story.world.recorder.note(answer.done_s, "attempt")
        return answer
    error = BatchScatterError(
        f"{batch.terms.story.endpoint!r} answered {rows} rows of {len(batch.members)} callers with "
        f"{_shown(values)}, so no caller's part is known and nobody got one. If the model does not "
        "answer row by row, leave Settings.batching off for it."
    )
    error.rows = rows
    batch.attempts = batch.attempts[:-1]  # the last seemed good
    batch.terms.story.failures.answered(batch, error, reply.status, reply.headers)
    return Failed(error)


def _shown(values: Any) -> str:
    if isinstance(values, list):
        return f"a list of {len(values)} values"
    return f"a single {type(values).__name__}" if values is not None else "null"


def twin(error: BaseException) -> BaseException:
    """A copy, its cause copied too, without tracebacks: their frames hold everybody's rows."""
    try:
        own = copy.copy(error)
    except Exception:  # noqa: BLE001 - a foreign error that cannot be copied is better than none
        return error.with_traceback(None)
    if error.__cause__ is not None:
        own.__cause__ = twin(error.__cause__)
    return own


def late(member: Member[Any]) -> WireFault:
    """Its time is up."""
    if member.batch is not None and member.batch.sent:
        return WireFault(FaultKind.TIMEOUT, "no complete reply in time", sent="maybe")
    return WireFault(FaultKind.TIMEOUT, "its rows still waited for a request", sent="no")


def closed() -> WireFault:
    """The client closes, and what waited is not sent any more."""
    return WireFault(FaultKind.CLOSED, "the client is closed", sent="no")
