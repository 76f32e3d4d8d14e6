"""When an API that fails is left alone. Pure: time is an argument.

*Closed*: calls pass, and how they end is counted over a sliding window. Too large a share of
failures opens the breaker, and so does a run of them: after a busy half minute the share alone
would need another quarter of a minute to see that nothing works any more.

*Open*: calls are refused. After a while it is *half open*: a few probes pass, never more at once
than there are places. When as many have succeeded it closes; one that fails opens it again, for
twice as long.

Every change of state starts a new generation. A pass is worth something in the generation that
gave it out and in no other: calls sent before an outage end during it, and must not decide what
the probes are there to find out (resilience4j and Polly count them).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, NamedTuple

from servingclient.settings import Breaker as Rules

State = Literal["closed", "open", "half_open"]

SLICES: Final = 10
"""Parts of the window: what is counted is 0.9 to 1.0 of it, and a call costs the same however many
came before."""
_MOST_DOUBLINGS: Final = 63  # beyond, the longest time holds and a float could overflow
_UNGUARDED: Final = nullcontext()


class Pass(NamedTuple):
    """Leave to make one call; to be settled or released once.

    Attributes:
        generation: The state of the breaker that gave it.
        probe: The call tells whether the API is back.
        number: Which probe of its generation.
    """

    generation: int
    probe: bool
    number: int = 0


class Breaker:
    """The breaker of one API, or of one shared cache.

    Args:
        rules: When it opens, for how long, and how it closes.
        guard: Makes a change atomic: a lock where threads share the breaker, nothing on one event
            loop.

    Attributes:
        refused: Calls that were not let through.
    """

    __slots__ = (
        "__weakref__",
        "_counts",
        "_doublings",
        "_generation",
        "_guard",
        "_leases",
        "_open",
        "_plain",
        "_probes",
        "_replaced",
        "_rules",
        "_run",
        "_successes",
        "_until_s",
        "refused",
    )

    def __init__(self, rules: Rules, guard: AbstractContextManager[object] = _UNGUARDED) -> None:
        self._rules = rules
        self._guard = guard
        self._generation = 0
        self._plain = Pass(0, probe=False)
        self._open = False  # not closed: half open from ``_until_s`` on
        self._until_s = 0.0
        self._doublings = 0
        self._counts = _Window(rules.window_s)
        self._run = 0
        self._leases: dict[int, float] = {}
        self._probes = 0
        self._replaced = 0
        self._successes = 0
        self.refused: int = 0

    def admit(self, now_s: float) -> Pass | None:
        """Let a call through, or refuse it with None."""
        with self._guard:
            if not self._open:
                return self._plain
            if now_s < self._until_s or not self._has_place(now_s):
                self.refused += 1
                return None
            self._probes += 1
            self._leases[self._probes] = now_s + self._rules.probe_lease_s
            return Pass(self._generation, probe=True, number=self._probes)

    def settle(self, pass_: Pass, ok: bool, now_s: float) -> None:  # noqa: FBT001 - the verdict
        """A call has ended; ``ok`` says whether the API did its part."""
        with self._guard:
            if pass_.generation != self._generation:
                return
            if pass_.probe:
                self._probed(pass_.number, now_s, ok=ok)
            else:
                self._counted(now_s, ok=ok)

    def release(self, pass_: Pass, now_s: float) -> None:
        """A call has ended without telling anything of the API: it was cancelled.

        The place of a probe is free at once, as often in a row as there are places. Beyond that it
        is free when its lease ends, or callers that give up quickly would probe without end an API
        that hangs.
        """
        with self._guard:
            if pass_.generation == self._generation and self._replaced < self._rules.probe_calls:
                until_s = self._leases.pop(pass_.number, now_s)
                self._replaced += until_s > now_s

    def stands(self, pass_: Pass) -> bool:
        """Whether a call that had to wait since it was let through may still go.

        Not when the breaker has opened or closed meanwhile: a thousand calls may stand in a queue.
        """
        return pass_.generation == self._generation

    def retry_after_s(self, now_s: float) -> float:
        """Seconds until a call may be let through; 0 when one would be now."""
        with self._guard:
            if not self._open:
                return 0.0
            if now_s < self._until_s:
                return self._until_s - now_s
            if self._has_place(now_s):
                return 0.0
            return min(self._leases.values()) - now_s

    def state(self, now_s: float) -> State:
        """How it stands."""
        if not self._open:
            return "closed"
        return "open" if now_s < self._until_s else "half_open"

    def forget_count(self) -> None:
        """In a forked child: what the parent refused is not its doing. How the API is, is known."""
        self.refused = 0

    def __repr__(self) -> str:
        return f"Breaker({'not closed' if self._open else 'closed'}, refused {self.refused})"

    # --- inside, guarded

    def _has_place(self, now_s: float) -> bool:
        for number in [one for one, until_s in self._leases.items() if until_s <= now_s]:
            del self._leases[number]
        return len(self._leases) + self._successes < self._rules.probe_calls

    def _counted(self, now_s: float, *, ok: bool) -> None:
        rules, counts = self._rules, self._counts
        counts.add(now_s, failed=not ok)
        if ok:
            self._run = 0
            return
        self._run += 1
        share_is_up = (
            counts.calls >= rules.min_calls
            and counts.failures >= rules.failure_ratio * counts.calls
        )
        if share_is_up or self._run >= rules.min_calls:
            self._doublings = 0
            self._left_alone(now_s)

    def _probed(self, number: int, now_s: float, *, ok: bool) -> None:
        self._leases.pop(number, None)
        if not ok:
            self._doublings = min(self._doublings + 1, _MOST_DOUBLINGS)
            self._left_alone(now_s)
            return
        self._successes += 1
        if self._successes >= self._rules.probe_calls:
            self._open = False
            self._begin()

    def _left_alone(self, now_s: float) -> None:
        rules = self._rules
        self._open = True
        self._until_s = now_s + min(rules.open_s * 2.0**self._doublings, rules.max_open_s)
        self._begin()

    def _begin(self) -> None:
        self._generation += 1
        self._plain = Pass(self._generation, probe=False)
        self._counts = _Window(self._rules.window_s)
        self._run = self._probes = self._replaced = self._successes = 0
        self._leases.clear()


class _Window:
    """Calls and failures of the last seconds, in slices that are thrown away whole."""

    __slots__ = ("_slice", "_slices", "_width_s", "calls", "failures")

    def __init__(self, window_s: float) -> None:
        self._width_s = window_s / SLICES
        self._slices = [[0, 0] for _ in range(SLICES)]
        self._slice: int | None = None
        self.calls = 0
        self.failures = 0

    def add(self, now_s: float, *, failed: bool) -> None:
        """Count one call."""
        self._advance(int(now_s // self._width_s))
        assert self._slice is not None
        slot = self._slices[self._slice % SLICES]
        slot[0] += 1
        slot[1] += failed
        self.calls += 1
        self.failures += failed

    def _advance(self, to: int) -> None:
        if self._slice is None:
            self._slice = to
        # a clock read before the guard was had may be a little behind: such a call counts as now
        for passed in range(self._slice + 1, min(to, self._slice + SLICES) + 1):
            slot = self._slices[passed % SLICES]
            self.calls -= slot[0]
            self.failures -= slot[1]
            slot[0] = slot[1] = 0
        self._slice = max(self._slice, to)
