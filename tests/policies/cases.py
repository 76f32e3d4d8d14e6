"""Failures and calls as the tests of this folder need them. No clock: time is a number."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from servingclient._types import ErrorDetail, FaultKind, Sent, WireFault
from servingclient.policies.failure import Failure, classify_fault, classify_reply
from servingclient.policies.quota import Quota
from servingclient.policies.retry import Action, Advice, Progress, advise
from servingclient.policies.retry_after import NO_HINT, Hint
from servingclient.settings import Retry

SILENT = ErrorDetail(None, "")
LONG_S = 1e6  # a deadline that never matters


def vectors(name: str) -> Any:
    path = Path(__file__).parents[1] / "vectors" / name
    return json.loads(path.read_text(encoding="utf-8"))


def reply(
    status: int,
    retry_after: str | None = None,
    *,
    code: str | None = None,
    message: str = "",
    in_body_s: float | None = None,
    cap_s: float = 60.0,
    own_host: bool = False,
) -> Failure:
    detail = ErrorDetail(code, message, in_body_s)
    return classify_reply(status, retry_after, None, detail, cap_s=cap_s, route_optimized=own_host)


def fault(kind: FaultKind, sent: Sent = "maybe", detail: str = "") -> Failure:
    return classify_fault(WireFault(kind, detail, sent=sent))


def hinted(failure: Failure, wait_s: float | None, *, refuse: bool = False) -> Failure:
    return replace(failure, hint=NO_HINT if wait_s is None else Hint(wait_s, refuse))


NEVER_SENT = fault(FaultKind.NOT_CONNECTED, "no")
REFUSED = reply(429)
COME_BACK = reply(503, "2")
STALE = fault(FaultKind.STALE)
AMBIGUOUS = reply(500)
SLOW = fault(FaultKind.TIMEOUT)
TOKEN = reply(401)
MOVED = reply(404, own_host=True)
FATAL = reply(400)

ALL = (NEVER_SENT, REFUSED, COME_BACK, STALE, AMBIGUOUS, SLOW, TOKEN, MOVED, FATAL)


def ask(
    failure: Failure,
    progress: Progress = Progress(),  # noqa: B008 - frozen
    *,
    settings: Retry | None = None,
    quota: Quota | None = None,
    idempotent: bool = True,
    remaining_s: float = LONG_S,
    rand: float = 1.0,
) -> Advice:
    return advise(
        failure,
        progress,
        settings or Retry(),
        quota or Quota(500),
        idempotent=idempotent,
        remaining_s=remaining_s,
        rand=rand,
    )


@dataclass
class Ended:
    """How a scripted call ended."""

    advices: list[Advice]
    progress: Progress

    @property
    def sends(self) -> int:
        return 1 + sum(a.action is not Action.STOP for a in self.advices)


def drive(script: list[Failure], **given: Any) -> Ended:
    """Follow the advice on one failure after the other, until it stops or the script ends."""
    progress, advices = Progress(), []
    for failure in script:
        advice = ask(failure, progress, **given)
        advices.append(advice)
        if advice.action is Action.STOP:
            break
        progress = progress.after(advice)
    return Ended(advices, progress)
