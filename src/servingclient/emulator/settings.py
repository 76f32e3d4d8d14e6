"""What can be switched about the workspace as a whole, and why the defaults are so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

REQUEST_ID_HEADERS = ("x-databricks-request-id", "databricks-request-id", "x-request-id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Workspace-wide behaviour; change it live with ``Emulator.change(...)``.

    Where the real service's behaviour is unknown, the field says so: the default is a choice, not a
    fact.
    """

    seed: int = 0
    """Seeds traffic split and request ids, so that runs repeat."""

    token_ttl_s: float = 3600.0
    """Life of an OAuth token; the service documents one hour."""

    refuse_before_expiry_s: float = 0.0
    """Tokens with less life left are refused with ``Token is expiring within 30 seconds``. The
    service was reported to do so at 30 s; it is off here because tests use tokens that live shorter
    than that."""

    expired_status: Literal[401, 403] = 403
    """Status for an expired or invalid OAuth token: 403 was reported for the workspace URL, the
    other is unknown."""

    pat_refusal_status: Literal[401, 403] = 401
    """Status for a personal access token on a route-optimized URL; unknown in reality."""

    wrong_endpoint_status: Literal[401, 403] = 403
    """Status for a token that was issued for another endpoint; unknown in reality."""

    off_workspace_status: int = 400
    """Status for a route-optimized endpoint called on the workspace URL; unknown in reality."""

    refuse_empty_scope: bool = True
    """Whether a token without a scope is refused, as Model Serving does."""

    request_id_headers: tuple[str, ...] = REQUEST_ID_HEADERS
    """Reply headers that carry the request id; its real name is unknown, so all three are sent."""

    gzip_requests: Literal["misread", "accepted", "refused"] = "misread"
    """What becomes of a gzip request body. The reference server ignores the header and takes the
    bytes for JSON: a 400. It may also be inflated, or refused with 415, as RFC 7694 has it; what
    the service does is unknown."""

    gzip_replies: bool = False
    """Whether replies are compressed for clients that accept it."""

    oversize: Literal["reply", "close"] = "reply"
    """A body above the limit: a 400, or the connection closed during the upload. Both were seen."""

    workspace_parallel_limit: int | None = None
    """Requests in flight over all standard endpoints before 429; ``None`` means no limit."""

    idle_timeout_s: float | None = None
    """Idle connections are closed after this long; ``None`` keeps them."""

    max_requests_per_connection: int | None = None
    """The reply to this request of a connection says ``connection: close``; ``None`` means
    never."""

    fin_after_reply: bool = False
    """Close after every reply without having announced it."""

    accept: Literal["serve", "hang", "reset"] = "serve"
    """What happens to a new connection: served, accepted and never answered, or reset at once."""

    journal_limit: int = 50_000
    """Records kept; the oldest are dropped first. Execution counts are never dropped."""

    keep_body_bytes: int = 2048
    """Bodies up to this size are kept in the record."""

    def __post_init__(self) -> None:
        """Check the words.

        Raises:
            ValueError: when one is not known; it would otherwise pass for another.
        """
        for name, known in _WORDS.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: known are {', '.join(known)}")


_WORDS = {
    "gzip_requests": ("misread", "accepted", "refused"),
    "oversize": ("reply", "close"),
    "accept": ("serve", "hang", "reset"),
}
