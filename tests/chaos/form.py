"""How long a row of the matrix takes: the long form has its own times, shorter ones are scaled.

At 50 calls a second a minute of a fault is 3,000 calls, and two seconds are 100. So whatever is
counted against a number of calls (the retry quota) shrinks with the time, and so do time-outs.
"""

from __future__ import annotations

from dataclasses import dataclass

from servingclient.settings import Pool, Retry, Settings

SHORT_SCALE = 1 / 60
"""What the default suite runs: a minute in a second."""


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

    def phase_s(self, long_s: float, least_s: float = 1.0) -> float:
        """Length of a phase that lasts ``long_s`` in the long form."""
        return max(min(least_s, long_s), long_s * self.scale)

    def scaled_s(self, long_s: float) -> float:
        """A time that keeps its relation to the time of a call."""
        return long_s * self.timeout_s / 5.0

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
        """The default settings with ``timeout_s``, for rows that wait for time-outs."""
        pool = Pool(connect_timeout_s=self.scaled_s(Pool().connect_timeout_s))
        return Settings(timeout_s=self.timeout_s, pool=pool)
