"""Again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass

from servingclient.errors import ConfigError
from servingclient.settings.checks import names_checked, number, switch, whole


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a failed attempt is tried again, and after how long."""

    max_attempts: int = 4
    """Tries per call, the first included. AWS, SRE and OpenAI take 3; 429 while an endpoint scales
    up is the normal case here, and the quota, not the count, is what stops a storm."""
    backoff_base_s: float = 0.05
    """Full jitter: wait = random * min(base * 2**n, cap). AWS standard mode, 2026."""
    throttled_base_s: float = 1.0
    """The base after 429 and 503 with Retry-After. AWS standard mode, 2026."""
    backoff_cap_s: float = 8.0
    """Longest backoff; more rarely fits a call's deadline."""
    retry_after_cap_s: float = 60.0
    """Longest Retry-After that is waited for; a longer one fails the call at once and says so."""
    retry_after_window_s: float | None = None
    """With a value w, a server hint h becomes min(max(h, backoff), backoff + w), as AWS does; None
    honours the hint as it is."""
    jitter: float = 1.0
    """Share of the backoff that is random: 1.0 is full jitter, 0.0 none. Full jitter spreads a
    crowd best."""
    retry_after_jitter: float = 0.1
    """Up to this share is added to an honoured hint, so a crowd does not return in one instant."""
    quota_capacity: int = 500
    """Tokens of the retry quota at the start and at most, per client. Success-funded: in simulation
    eight clients with one each are well 5 s after a 10 s brown-out at 90 % load, as they are
    without retries; without quota and concurrency limit they never are."""
    retry_cost: int = 14
    """Tokens a retry takes; the last one's are given back when it succeeds."""
    throttled_cost: int = 5
    """Tokens a retry takes after the service refused the request unprocessed."""
    success_credit: int = 1
    """Tokens a call that succeeds at once puts in."""
    retry_read_timeout: bool = False
    """Send again when no reply came in time. Off: the model may have run, and sending again
    multiplies both the wait and the load."""

    def __post_init__(self) -> None:
        whole(self, "max_attempts", "quota_capacity")
        whole(self, "retry_cost", "throttled_cost", "success_credit", least=0)
        number(self, "backoff_base_s", "throttled_base_s", "backoff_cap_s", "retry_after_cap_s")
        number(self, "retry_after_window_s", "jitter", "retry_after_jitter")
        if self.jitter > 1.0 or self.retry_after_jitter > 1.0:
            raise ConfigError("Retry.jitter and Retry.retry_after_jitter are shares: at most 1.")
        switch(self, "retry_read_timeout")

    @classmethod
    def aws_standard_v21(cls) -> Retry:
        """The numbers of the AWS SDKs' standard mode 2.1 (2026)."""
        return cls(
            max_attempts=3, backoff_cap_s=20.0, retry_after_window_s=5.0, retry_after_jitter=0.0
        )

    @classmethod
    def aws_standard_v20(cls) -> Retry:
        """The numbers of the AWS SDKs' standard mode 2.0: every retry costs 5, base 1 s."""
        return cls(
            max_attempts=3,
            backoff_base_s=1.0,
            backoff_cap_s=20.0,
            retry_cost=5,
            retry_after_jitter=0.0,
        )
