"""The retry quota: a bucket of tokens that retries empty and successes fill.

While a service is well, a few failures are retried for free, since each success gives the tokens
back. When it fails, the bucket runs dry after ``capacity / cost`` retries (500 / 14 = 35) and calls
fail at once instead of multiplying the load: in a total outage 600 calls become 635 requests, not
2,400. AWS standard mode; Brooker, https://brooker.co.za/blog/2022/02/28/retries.html
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final

_UNGUARDED: Final = nullcontext()


class Quota:
    """Tokens shared by all calls to one host. Always 0 <= ``available`` <= ``capacity``.

    What is counted is what was taken, so that a full bucket is seen at one look.

    Args:
        capacity: Tokens at the start and at most.
        guard: Makes a change atomic: a lock where threads share the quota, nothing on one event
            loop.

    Attributes:
        spent: Tokens missing from a full bucket; a success puts some back.
    """

    __slots__ = ("_capacity", "_guard", "spent")

    def __init__(self, capacity: int, guard: AbstractContextManager[object] = _UNGUARDED) -> None:
        self._capacity = capacity
        self.spent: int = 0
        self._guard = guard

    def __repr__(self) -> str:
        return f"Quota({self.available} of {self._capacity})"

    @property
    def available(self) -> int:
        """Tokens left."""
        return self._capacity - self.spent

    def take(self, cost: int) -> bool:
        """Take ``cost`` tokens, or none when there are fewer."""
        with self._guard:
            if self.available < cost:
                return False
            self.spent += cost
            return True

    def refund(self, cost: int) -> None:
        """Give back what the last retry took, because it succeeded."""
        self.credit(cost)

    def credit(self, amount: int) -> None:
        """Put ``amount`` tokens in, up to the capacity."""
        # Read outside the guard: a full bucket is the normal case and costs no lock. A retry that
        # takes tokens at this very moment makes this one credit go missing, which does no harm.
        if not self.spent:
            return
        with self._guard:
            self.spent = max(0, self.spent - amount)
