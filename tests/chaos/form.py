"""How long a row of the matrix takes: the long form has its own times, shorter ones are scaled.

At 50 calls a second a minute of a fault is 3,000 calls, and two seconds are 100. So whatever is
counted against a number of calls (the retry quota) shrinks with the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from servingclient.settings import Pool, Retry, Settings

SHORT_SCALE = 1 / 30
"""What the default suite runs: a minute in two seconds."""


@dataclass(frozen=True)
class Form:
    """A length of the matrix.

    Attributes:
        scale: 1.0 is the long form, with the times of the matrix.
    """

    scale: float = 1.0

    @property
    def is_long(self) -> bool:
        """The pass numbers of the matrix hold as they stand."""
        return self.scale >= 1.0

    def phase_s(self, long_s: float) -> float:
        """Length of a phase that lasts ``long_s`` in the long form; one second at least."""
        return max(min(1.0, long_s), long_s * self.scale)

    def calls(self, long_calls: int) -> int:
        """The same for a number of calls; 40 at least."""
        return max(min(40, long_calls), round(long_calls * self.scale))

    @property
    def timeout_s(self) -> float:
        """The time of a call: 5 s, never below 1 s."""
        return max(1.0, 5.0 * min(self.scale, 1.0))

    @property
    def window_s(self) -> float:
        """Of the windows in which recovery is looked for: 5 s, never below 0.5 s."""
        return max(0.5, 5.0 * min(self.scale, 1.0))

    @property
    def retry(self) -> Retry:
        """The default retries with a quota that is as large for the calls as in the long form."""
        whole = Retry()
        quota = round(whole.quota_capacity * min(self.scale, 1.0))
        return Retry(quota_capacity=max(whole.retry_cost, quota))

    @property
    def settings(self) -> Settings:
        """The default settings, with the matrix' time-out."""
        ratio = self.timeout_s / 5.0
        connect_s = Pool().connect_timeout_s * ratio
        return Settings(timeout_s=self.timeout_s, pool=Pool(connect_timeout_s=connect_s))
