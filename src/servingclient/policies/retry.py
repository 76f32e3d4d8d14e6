"""Whether a failed try is sent again, and after how long.

The table below is the whole question of *what* may be resent. The rest answers *when*: tries left,
then the wait against hint and deadline, then the quota. Order and numbers are those of the AWS
SDKs' standard mode; ``tests/vectors`` holds its published table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Literal, NamedTuple

from servingclient.policies.failure import Failure, FailureClass
from servingclient.policies.quota import Quota
from servingclient.settings import Retry

StoppedBy = Literal["attempts", "quota", "retry_after", "deadline"]


class Action(Enum):
    """What to do after a failed try. Each but ``STOP`` first waits ``Advice.wait_s``."""

    WAIT_AND_SEND = "wait_and_send"
    """Send again."""
    RESEND_NEW_LANE = "resend_new_lane"
    """Send again on a new connection."""
    RENEW_TOKEN = "renew_token"  # noqa: S105 - a word, not a secret
    """Reject the token, get another, send again."""
    SEND_PLAIN = "send_plain"
    """Send again without compression."""
    RERESOLVE = "reresolve"
    """Read the endpoint's address again, send again."""
    STOP = "stop"
    """Raise."""


class Cost(Enum):
    """Which of the settings' costs a retry takes from the quota."""

    NONE = "none"
    RETRY = "retry_cost"
    THROTTLED = "throttled_cost"


class Rule(NamedTuple):
    """One row of the table.

    Attributes:
        idempotent: Whether it is resent when running it twice does no harm; "if_asked" means with
            ``Retry.retry_read_timeout``.
        otherwise: Whether it is resent when it does.
        free: A resend that is made once per call, at once, uncounted and without cost.
        cost: What any other resend takes; ``Cost.NONE``: there is no other.
    """

    idempotent: Literal["yes", "no", "if_asked"]
    otherwise: Literal["yes", "no"]
    free: Action | None
    cost: Cost


RESEND: Final[dict[FailureClass, Rule]] = {
    # what happened           idempotent  otherwise  first, free             then
    FailureClass.NEVER_SENT: Rule("yes", "yes", None, Cost.RETRY),
    FailureClass.REFUSED: Rule("yes", "yes", None, Cost.THROTTLED),
    # a proxy may add Retry-After to a 503 that was sent after the model had run (mlflow's source)
    FailureClass.COME_BACK: Rule("yes", "no", None, Cost.THROTTLED),
    FailureClass.STALE: Rule("yes", "no", Action.RESEND_NEW_LANE, Cost.RETRY),
    FailureClass.AMBIGUOUS: Rule("yes", "no", None, Cost.RETRY),
    # resending a slow request multiplies wait and load: openai-python#3828 waited 92 s of 30
    FailureClass.SLOW: Rule("if_asked", "no", None, Cost.RETRY),
    FailureClass.TOKEN: Rule("yes", "yes", Action.RENEW_TOKEN, Cost.NONE),
    FailureClass.CODING: Rule("yes", "yes", Action.SEND_PLAIN, Cost.NONE),
    FailureClass.MOVED: Rule("yes", "yes", Action.RERESOLVE, Cost.NONE),
    FailureClass.FATAL: Rule("no", "no", None, Cost.NONE),
}


class Advice(NamedTuple):
    """What to do now.

    Attributes:
        action: The step to take.
        wait_s: Seconds to wait before it; always less than what remains of the call.
        cost: Tokens that were taken from the quota for it.
        stopped_by: What ended the retries; None while they go on, and for what is never resent.
        counted: Whether the next try counts against ``max_attempts``.
    """

    action: Action
    wait_s: float = 0.0
    cost: int = 0
    stopped_by: StoppedBy | None = None
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """The retries of one call so far.

    Attributes:
        tries: Tries that count against ``max_attempts``, the first included.
        last_cost: Tokens the last counted retry took.
        stale_used: The free resend on a new connection was made.
        token_used: The token was renewed.
        plain_used: It was sent again without compression.
        moved_used: The address was read again.
    """

    tries: int = 1
    last_cost: int = 0
    stale_used: bool = False
    token_used: bool = False
    plain_used: bool = False
    moved_used: bool = False

    def after(self, advice: Advice) -> Progress:
        """The progress once ``advice`` is followed."""
        if advice.counted:
            return replace(self, tries=self.tries + 1, last_cost=advice.cost)
        used = _USED.get(advice.action)
        return self if used is None else replace(self, **{used: True})

    def used(self, action: Action) -> bool:
        """Whether the free resend ``action`` was made already."""
        return bool(getattr(self, _USED[action]))


_USED: Final = {
    Action.RESEND_NEW_LANE: "stale_used",
    Action.RENEW_TOKEN: "token_used",
    Action.SEND_PLAIN: "plain_used",
    Action.RERESOLVE: "moved_used",
}

FIRST_TRY: Final = Progress()
"""Where every call starts."""


def advise(
    failure: Failure,
    progress: Progress,
    settings: Retry,
    quota: Quota,
    *,
    idempotent: bool,
    remaining_s: float,
    rand: float,
) -> Advice:
    """Decide what follows a failed try. Takes the tokens from ``quota`` when it is a retry.

    Args:
        failure: The try that failed.
        progress: The call's retries before it.
        settings: Attempts, backoff and costs.
        quota: Tokens shared by all calls to the host.
        idempotent: Whether running the request twice does no harm.
        remaining_s: Seconds left of the call.
        rand: A number in [0, 1).
    """
    rule = RESEND[failure.cls]
    if not _may_resend(rule, failure, settings, idempotent=idempotent):
        return Advice(Action.STOP)
    if rule.free is not None and not progress.used(rule.free):
        return Advice(rule.free) if remaining_s > 0.0 else _stop("deadline")
    if rule.cost is Cost.NONE:
        return Advice(Action.STOP)
    if progress.tries >= settings.max_attempts:
        return _stop("attempts")
    wait_s = _wait(failure, progress, settings, rule, remaining_s=remaining_s, rand=rand)
    if isinstance(wait_s, str):
        return _stop(wait_s)
    # Last, so that a retry which is not made takes nothing.
    cost: int = getattr(settings, rule.cost.value)
    if not quota.take(cost):
        return _stop("quota")
    return Advice(rule.free or Action.WAIT_AND_SEND, wait_s, cost, counted=True)


def settle(progress: Progress, quota: Quota, settings: Retry) -> None:
    """Put tokens back after a success. A failed call gives nothing back."""
    if progress.tries == 1:
        quota.credit(settings.success_credit)
    else:
        quota.refund(progress.last_cost)


def backoff_s(tries: int, base_s: float, settings: Retry, rand: float) -> float:
    """Seconds to wait after the ``tries``-th failure: full jitter unless ``jitter`` says less.

    Full jitter (``rand * min(base * 2**n, cap)``) spreads a crowd best:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    doublings = min(tries - 1, 63)  # beyond, the cap holds and a float could overflow
    longest_s = min(base_s * 2.0**doublings, settings.backoff_cap_s)
    return longest_s * (1.0 - settings.jitter + settings.jitter * rand)


def _stop(reason: StoppedBy) -> Advice:
    return Advice(Action.STOP, stopped_by=reason)


def _may_resend(rule: Rule, failure: Failure, settings: Retry, *, idempotent: bool) -> bool:
    if idempotent:
        return rule.idempotent == "yes" or (
            rule.idempotent == "if_asked" and settings.retry_read_timeout
        )
    # Whatever the class says, what may have run is not run again: a 400 about an expired token can
    # come from the model's own calls.
    return rule.otherwise == "yes" and failure.sent == "no"


def _wait(
    failure: Failure,
    progress: Progress,
    settings: Retry,
    rule: Rule,
    *,
    remaining_s: float,
    rand: float,
) -> float | StoppedBy:
    """Seconds to wait, or what makes waiting pointless."""
    throttled = rule.cost is Cost.THROTTLED
    base_s = settings.throttled_base_s if throttled else settings.backoff_base_s
    wait_s = backoff_s(progress.tries, base_s, settings, rand)
    hint = failure.hint
    if hint.wait_s is None:
        return wait_s if wait_s < remaining_s else "deadline"
    window_s = settings.retry_after_window_s
    if window_s is not None:  # AWS: the hint counts only near the own backoff, so no cap is needed
        wait_s = min(max(hint.wait_s, wait_s), wait_s + window_s)
        return wait_s if wait_s < remaining_s else "retry_after"
    if hint.refuse or hint.wait_s > settings.retry_after_cap_s or hint.wait_s >= remaining_s:
        return "retry_after"
    return _spread(hint.wait_s, settings, remaining_s=remaining_s, rand=rand)


def _spread(hint_s: float, settings: Retry, *, remaining_s: float, rand: float) -> float:
    """The hint plus some chance, within the cap; half of what is left stays for the try itself."""
    room_s = min(settings.retry_after_cap_s - hint_s, (remaining_s - hint_s) / 2)
    return hint_s + rand * min(hint_s * settings.retry_after_jitter, room_s)
