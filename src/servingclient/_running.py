"""One call while it runs: what it carries, and what has happened so far."""

from __future__ import annotations

from typing import Final

from servingclient._ports import Grant
from servingclient._types import Attempt, Sent
from servingclient._watching import Span
from servingclient.payload.body import Body
from servingclient.policies.compression import NO_STATUS
from servingclient.policies.retry import FIRST_TRY, Action, Advice

STOP: Final = Advice(Action.STOP)
"""No other try."""


class Call:
    """One call; the story and those beside it write down here what happens.

    What few calls change stands as a default of the class: setting fifteen fields in every call
    costs 0.6 us.
    """

    queue_s: float = 0.0
    lined_up_s: float | None = None
    """Since when it waits for the place it has or will get; None where it did not have to."""
    token_s: float = 0.0
    learn_s: float = 0.0
    backoff_s: float = 0.0
    grant: Grant | None = None
    attempts: tuple[Attempt, ...] = ()
    seen: Sent = "no"
    """Whether the endpoint may have seen it at any of the tries that failed."""

    had_turn = False
    """Whether it had a place at the gate and needs another: it goes before those that had none."""

    tried_s: float
    progress = FIRST_TRY
    advice = STOP
    coding_refusals = NO_STATUS
    """Statuses by which the endpoint would refuse the compression of the last try."""
    span: Span | None = None
    """Follows it, where calls are traced."""
    gathers = False
    """Whether its body is made at each try: a batch takes all who came until it has its place."""

    def __init__(
        self,
        body: Body,
        served_model: str | None,
        started_s: float,
        encoded_s: float,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001 - internal, and keywords cost on the hot path
        max_idle_s: float,
        priority: int,
    ) -> None:
        self.body = body
        self.served_model = served_model
        self.started_s = started_s
        self.encoded_s = self.tried_s = encoded_s
        self.deadline_s: float = started_s + timeout_s
        self.idempotent = idempotent
        self.max_idle_s = max_idle_s
        self.priority = priority

    def after(self, learn_s: float) -> Call:
        """The call, which waited for the model's signature before it was encoded."""
        self.learn_s: float = learn_s
        return self

    def fill(self) -> Body:
        """The body of the next try; asked for where the call gathers."""
        return self.body
