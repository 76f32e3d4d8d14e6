"""Every error the library raises.

::

    ServingError
    ├─ ConfigError (ValueError)
    │  ├─ UntrustedEndpointError
    │  ├─ RouteOptimizedRequiresOAuth
    │  └─ WrongLoopError
    ├─ AuthError
    │  ├─ TokenRefreshError
    │  └─ PermissionDenied
    ├─ PayloadError (ValueError)
    │  ├─ PayloadTooLarge
    │  └─ SchemaMismatch
    ├─ BadRequest
    ├─ NotFound
    ├─ UnexpectedRedirect
    ├─ Throttled
    ├─ ServerError
    ├─ ConnectionFailed                nothing was sent
    │  └─ TLSError
    ├─ ConnectionLost                  the endpoint may have run the request
    │  └─ StreamError
    ├─ ResponseFormatError
    │  ├─ BatchScatterError
    │  └─ ResponseTooLarge
    ├─ DeadlineExceeded (TimeoutError)
    ├─ QueueFull
    ├─ CircuitOpen
    ├─ ClientClosedError
    └─ CheckpointError

Each message says what happened, with figures, then what to do. None holds a payload, a header or a
secret, and all of them pickle: an error raised inside a Spark task or a process pool arrives whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servingclient._types import Attempt, Sent


class ServingError(Exception):
    """Root of all errors of this library. Catch it to catch everything.

    Attributes:
        endpoint: Name of the serving endpoint, where one is known.
        attempts: Every try of the call, in order, the first included.
        elapsed_s: Seconds from the start of the call to this error.
        request_id: Id the service gave the last reply, if it gave one.
        sent: Whether the endpoint may have seen the request, at any try: ``"no"``, ``"maybe"`` or
            ``"yes"``.
        status_code: HTTP status of the last reply, if there was one.
        retryable: Whether sending the same request later can help; ``None`` when unknown.
        stopped_by: What ended the retries: ``"attempts"``, ``"quota"``, ``"retry_after"``,
            ``"deadline"`` or ``None`` when the error is not one that is retried.
        row: Position (from 0) of the row at fault, where there is one.
    """

    endpoint: str | None = None
    attempts: tuple[Attempt, ...] = ()
    elapsed_s: float | None = None
    request_id: str | None = None
    sent: Sent = "no"
    status_code: int | None = None
    retryable: bool | None = False
    stopped_by: str | None = None
    row: int | None = None


class ConfigError(ServingError, ValueError):
    """An argument or setting is wrong. Nothing was sent. Correct the value the message names."""


class UntrustedEndpointError(ConfigError):
    """The credential was about to go to a host that is not trusted.

    If the host is yours (a private link, a gateway), list it in ``Settings.trusted_hosts``.
    """


class RouteOptimizedRequiresOAuth(ConfigError):  # noqa: N818 - named by what is required
    """A personal access token was given for a route-optimized endpoint, which takes OAuth only.

    Pass ``client_id`` and ``client_secret`` of a service principal with CAN QUERY.
    """


class WrongLoopError(ConfigError):
    """An async client was used on two running event loops at once. Make one client per loop."""


class AuthError(ServingError):
    """The service refused the credential, also after one refresh. Log in again or renew it."""


class TokenRefreshError(AuthError):
    """No token could be had from the workspace in time. The message names the cause."""


class PermissionDenied(AuthError):  # noqa: N818 - the service's own term
    """The credential is valid but lacks CAN QUERY on the endpoint. Ask its owner to grant it."""


class PayloadError(ServingError, ValueError):
    """The input cannot be sent as it is. Nothing was sent; the message names row and column.

    Attributes:
        column: Name of the column at fault, where there is one.
    """

    column: str | None = None


class PayloadTooLarge(PayloadError):  # noqa: N818 - says what happened
    """The encoded request is larger than the endpoint accepts. ``map`` splits it by rows.

    Attributes:
        size_bytes: Size of the encoded request.
        limit_bytes: Largest size the endpoint accepts.
    """

    size_bytes: int | None = None
    limit_bytes: int | None = None


class SchemaMismatch(PayloadError):  # noqa: N818 - says what happened
    """The input does not fit the model's signature. Nothing was sent; the message names the column.

    Correct the column, or switch the check off with ``Payload(validate=False)``.
    """


class BadRequest(ServingError):  # noqa: N818 - the service's own term
    """The endpoint refused the input, or the model raised on it. Check it against the schema."""


class NotFound(ServingError):  # noqa: N818 - the service's own term
    """No such endpoint, or no such served model. Check the name and the workspace."""


class UnexpectedRedirect(ServingError):  # noqa: N818 - says what happened
    """The service answered with a redirect, which is never followed: it would move the request
    and its data to another host. Check ``host``; a login page or a proxy often answers so.
    """


class Throttled(ServingError):  # noqa: N818 - says what happened
    """The service refused the request unprocessed (429) and retrying did not help in time.

    Raise the provisioned concurrency, lower the request rate, or allow a longer ``timeout_s``.

    Attributes:
        retry_after_s: Seconds the service asked to wait, if it said so.
    """

    retry_after_s: float | None = None


class ServerError(ServingError):
    """The service failed (5xx). ``sent`` says whether the model may have run.

    Attributes:
        retry_after_s: Seconds the service asked to wait, if it said so.
        ambiguous: True when the request may have been processed.
    """

    retry_after_s: float | None = None
    ambiguous: bool = True


class ConnectionFailed(ServingError):  # noqa: N818 - says what happened
    """No connection could be made, so nothing was sent. Check host, network and firewall."""


class TLSError(ConnectionFailed):
    """The server's certificate or TLS version was refused; never retried.

    For a private certificate authority pass ``Settings(tls=Tls(ca_file=...))``.
    """


class ConnectionLost(ServingError):  # noqa: N818 - says what happened
    """The connection broke after sending began.

    Attributes:
        ambiguous: True when the endpoint may have run the request: resend only if that is safe.
    """

    ambiguous: bool = True


class StreamError(ConnectionLost):
    """A stream broke or was malformed after it began; what was yielded before it stands."""


class ResponseFormatError(ServingError):
    """The reply is not what a serving endpoint sends (a login page, a proxy's page, bad JSON)."""


class BatchScatterError(ResponseFormatError):
    """The reply to a batch, or to a part of ``map``, is no list of one value a row, so no value of
    it was given out.

    If the model does not answer row by row, leave batching off and call ``predict``.

    Attributes:
        rows: How many rows were sent.
    """

    rows: int | None = None


class ResponseTooLarge(ResponseFormatError):  # noqa: N818 - says what happened
    """The reply exceeds ``Pool.max_reply_bytes`` after decoding.

    Attributes:
        limit_bytes: The limit that was exceeded.
    """

    limit_bytes: int | None = None


class DeadlineExceeded(ServingError, TimeoutError):  # noqa: N818 - says what happened
    """The call's total time ran out; the last failure, if there was one, is the ``__cause__``."""


class QueueFull(ServingError):  # noqa: N818 - says what happened
    """Too many calls wait already, or this one could not be answered within its time.

    Nothing was sent, or nothing more. Send fewer at once, allow a longer timeout, or raise
    ``Queue.max_calls``.
    """


class CircuitOpen(ServingError):  # noqa: N818 - says what happened
    """An external API failed too often, so it is left alone for a while. Nothing was sent.

    Attributes:
        retry_after_s: Seconds until it is tried again.
    """

    retry_after_s: float | None = None


class ClientClosedError(ServingError):
    """The client was closed before or during the call. Keep it open while calls run."""


class CheckpointError(ServingError):
    """The checkpoint file of a bulk job cannot be used or written; its rows so far stand in it.

    It belongs to another job or another input, another process is at it, or the disk is full.
    ``row`` is the first row of the part of the input that differs.
    """
