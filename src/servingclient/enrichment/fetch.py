"""The story of one request to an external API, retries included.

Breaker, rate limit, a place, credential, send, verdict; and after a failure: again or not. Pure:
written once as ``async def`` over ports, awaited by the async client and stepped by the sync one.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from servingclient._prediction import request_id
from servingclient._types import Attempt, FaultKind, Origin, Reply, Target, WireFault
from servingclient.auth.headers import Headers, make_target, standard_headers
from servingclient.enrichment import explain
from servingclient.enrichment.auth import provided, secrets_of
from servingclient.enrichment.cache_control import said
from servingclient.enrichment.fetch_ports import Ports
from servingclient.enrichment.request import Fetched, Request
from servingclient.errors import AuthError, ServingError
from servingclient.payload.errors_body import error_detail
from servingclient.policies.breaker import Pass
from servingclient.policies.deadline import attempt_deadline
from servingclient.policies.failure import Failure, FailureClass, classify_fault, classify_reply
from servingclient.policies.retry import FIRST_TRY, Action, advise, settle
from servingclient.settings import EnrichmentSettings

_NONE_SUCH: Final = frozenset({404, 410})
_NO_BODY: Final = frozenset({204, 205})
_EARLY_S: Final = 0.01
"""A wait that ends so much before its time was ended by somebody; less is the timer's."""
_GOOD: Final = frozenset({200, 201, 202, 203, *_NO_BODY})


class _Call:
    """One call while it runs."""

    __slots__ = ("attempts", "deadline_s", "max_idle_s", "request", "started_s", "wait_s")

    def __init__(self, request: Request, started_s: float, deadline_s: float) -> None:
        self.request = request
        self.started_s = started_s
        self.deadline_s = deadline_s
        self.max_idle_s = float("inf")
        self.wait_s = 0.0
        self.attempts: tuple[Attempt, ...] = ()


class _TryFailed(Exception):  # noqa: N818 - an internal signal
    def __init__(self, failure: Failure, error: ServingError) -> None:
        super().__init__(failure.cause)
        self.failure = failure
        self.error = error


class Fetcher:
    """How one client asks one API.

    Args:
        origin: Where it is.
        base_path: What stands before each path, without a slash at its end.
        headers: Header lines of every request, checked.
        settings: The settings.
        ports: The world.
        version: The library's version, for ``User-Agent``.

    Attributes:
        api: Its host as messages name it.
    """

    def __init__(
        self,
        origin: Origin,
        base_path: str,
        headers: Headers,
        settings: EnrichmentSettings,
        ports: Ports,
        version: str,
    ) -> None:
        self.api = origin.host
        self._origin = origin
        self._base_path = base_path
        self._settings = settings
        self._ports = ports
        self._headers = {
            "GET": standard_headers(version, content_type=None, extra=headers),
            "POST": standard_headers(version, extra=headers),
        }
        self._secrets = secrets_of(headers)
        idle_s = settings.pool.keepalive_unsafe_s
        self._max_idle_s = (idle_s, float("inf"))

    async def fetch(self, request: Request, deadline_s: float) -> Fetched:
        """Ask, again where that may help.

        Raises:
            ServingError: There is no answer.
        """
        call = _Call(request, self._ports.now(), deadline_s)
        call.max_idle_s = self._max_idle_s[request.idempotent]
        try:
            return await self._until_answered(call)
        except ServingError as error:
            error.endpoint = self.api
            error.attempts = call.attempts
            error.elapsed_s = self._ports.now() - call.started_s
            # anew: frames on the way hold the error, and it would hold them
            raise error.with_traceback(None) from error.__cause__

    async def _until_answered(self, call: _Call) -> Fetched:
        ports, rules = self._ports, self._settings.retry
        progress = FIRST_TRY
        while True:
            try:
                fetched = await self._try(call)
            except _TryFailed as failed:
                failure, last = failed.failure, failed.error
            else:
                settle(progress, ports.quota, rules)
                return fetched
            advice = advise(
                failure,
                progress,
                rules,
                ports.quota,
                idempotent=call.request.idempotent,
                remaining_s=call.deadline_s - ports.now(),
                rand=ports.rand(),
            )
            useless = advice.action is Action.RENEW_TOKEN and ports.provide is None
            if useless or advice.action in (Action.STOP, Action.SEND_PLAIN, Action.RERESOLVE):
                raise self._final(call, last, advice.stopped_by)
            if advice.action is Action.RESEND_NEW_LANE:
                call.max_idle_s = 0.0
            progress = progress.after(advice)
            call.wait_s = advice.wait_s
            if advice.wait_s > 0.0:
                await ports.sleep(advice.wait_s)

    def _final(self, call: _Call, last: ServingError, stopped_by: str | None) -> ServingError:
        if stopped_by == "deadline" and not isinstance(last, TimeoutError):
            what, allowed_s = self._what(call.request), call.deadline_s - call.started_s
            error = explain.out_of_time(what, allowed_s, len(call.attempts), last)
            error.__cause__ = last
            return error
        if stopped_by is not None:
            last.stopped_by = stopped_by
        return last

    async def _try(self, call: _Call) -> Fetched:
        """One try. Whatever ends it before the API has said anything gives back what it took."""
        ports = self._ports
        began_s = ports.now()
        leave = self._admitted(call, began_s)
        settled = False
        try:
            await self._in_turn(call, leave, began_s)
            try:
                target, secrets = await self._target(call)
                sent_s = ports.now()
                until_s = attempt_deadline(
                    call.deadline_s, self._settings.pool.attempt_timeout_s, sent_s
                )
                body, idle_s = call.request.body, call.max_idle_s
                reply = await ports.wire.send(target, body, until_s, max_idle_s=idle_s)
            finally:
                ports.gate.leave()
            settled = True
            return self._answered(call, reply, leave, sent_s, secrets)
        except WireFault as fault:
            failed, settled = self._faulted(call, fault, leave, began_s)
            try:
                raise failed from None
            finally:
                del failed  # its traceback holds this frame
        finally:
            if not settled and leave is not None and ports.breaker is not None:
                ports.breaker.release(leave, ports.now())

    def _admitted(self, call: _Call, now_s: float) -> Pass | None:
        breaker = self._ports.breaker
        if breaker is None:
            return None
        leave = breaker.admit(now_s)
        if leave is None:
            raise explain.circuit_open(self._what(call.request), breaker.retry_after_s(now_s))
        return leave

    async def _in_turn(self, call: _Call, leave: Pass | None, now_s: float) -> None:
        """Wait for what the rate limit says, then for a place."""
        ports = self._ports
        go_s = await self._paced(call, now_s)
        try:
            if not ports.gate.try_enter():
                await ports.gate.enter(call.deadline_s, 1, len(call.request.body))
        except BaseException:  # it does not go after all: the token is another's
            ports.bucket.unreserve(ports.now(), go_s)
            raise
        breaker = ports.breaker
        if leave is not None and breaker is not None and not breaker.stands(leave):
            # opened while this call waited, and with it a thousand others
            now_s = ports.now()
            ports.gate.leave()
            ports.bucket.unreserve(now_s, go_s)
            raise explain.circuit_open(self._what(call.request), breaker.retry_after_s(now_s))

    async def _paced(self, call: _Call, now_s: float) -> float:
        """Wait for what the rate limit says, anew when the API asks for a pause meanwhile.

        Returns:
            The instant the token is for.
        """
        ports = self._ports
        while True:
            left_s = call.deadline_s - now_s
            wait_s = ports.bucket.reserve(now_s, max(0.0, left_s))
            go_s = now_s + wait_s
            if wait_s <= 0.0:
                return go_s
            if wait_s >= left_s:
                raise explain.too_fast(self._what(call.request), wait_s, left_s)
            try:
                await ports.sleep(wait_s)
            except BaseException:
                ports.bucket.unreserve(ports.now(), go_s)
                raise
            now_s = ports.now()
            # ended early, it was the client that closed: the gate will say so
            if now_s < go_s - _EARLY_S or not ports.bucket.paused(now_s):
                return go_s
            ports.bucket.unreserve(now_s, go_s)

    async def _target(self, call: _Call) -> tuple[Target, tuple[str, ...]]:
        request, secrets = call.request, self._secrets
        headers = self._headers[request.method]
        if self._ports.provide is not None:
            try:
                given = provided(await self._ports.provide(call.deadline_s))
            except (ServingError, WireFault):
                raise
            except Exception as error:
                raise AuthError(
                    f"{self._what(request)}: the function of HeaderProvider raised "
                    f"{type(error).__name__}; nothing was sent. The cause says more."
                ) from error
            secrets += secrets_of(given)
            headers += given
        if request.etag is not None:
            headers += (("If-None-Match", request.etag),)
        path = self._base_path + request.path
        return make_target(self._origin, request.method, path, headers), secrets

    def _answered(
        self,
        call: _Call,
        reply: Reply,
        leave: Pass | None,
        sent_s: float,
        secrets: tuple[str, ...],
    ) -> Fetched:
        """Learn from a reply, and say what it is."""
        ports = self._ports
        now_s = ports.now()
        status = reply.status
        ports.gate.answered(reply.first_byte_s - reply.sent_s)
        ports.bucket.learn(status, reply.headers, now_s, ports.wall())
        well = status < 500
        if leave is not None and ports.breaker is not None:
            ports.breaker.settle(leave, well, now_s)
        failed = status not in _GOOD and status != 304 and status not in _NONE_SUCH
        ports.figures.requested(now_s - sent_s, now_s, failed=failed, throttled=status == 429)
        request = call.request
        took_s = now_s - call.started_s
        if status in _GOOD:
            value = self._value(request, reply)
            return Fetched(value, len(reply.body), False, False, said(reply.headers), took_s)
        if status == 304 and request.etag is not None:
            return Fetched(None, 0, False, True, said(reply.headers), took_s)
        if status in _NONE_SUCH and request.absent:
            return Fetched(None, len(reply.body), True, False, said(reply.headers), took_s)
        detail = error_detail(reply.body, reply.header(b"content-type"), secrets)
        failure = classify_reply(
            status,
            reply.header(b"retry-after"),
            reply.header(b"date"),
            detail,
            cap_s=self._settings.retry.retry_after_cap_s,
            route_optimized=False,
        )
        error = explain.reply_error(reply, detail, failure, self._what(request))
        error.request_id = request_id(reply.headers)
        self._note(call, failure, now_s - sent_s, error.request_id)
        raise _TryFailed(failure, error)

    def _value(self, request: Request, reply: Reply) -> Any:
        if len(reply.body) > self._settings.max_value_bytes:
            limit, size = self._settings.max_value_bytes, len(reply.body)
            raise self._complete(explain.too_large(self._what(request), size, limit), reply)
        if reply.status in _NO_BODY and not reply.body:
            return None
        try:
            return orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            kind = reply.header(b"content-type")
            found = explain.not_json(self._what(request), len(reply.body), kind)
        raise self._complete(found, reply)

    def _complete(self, error: ServingError, reply: Reply) -> ServingError:
        error.status_code, error.sent = reply.status, "yes"
        error.request_id = request_id(reply.headers)
        return error

    def _faulted(
        self, call: _Call, fault: WireFault, leave: Pass | None, began_s: float
    ) -> tuple[_TryFailed, bool]:
        """What a try without a reply means, and whether the breaker has been told."""
        ports, now_s = self._ports, self._ports.now()
        failure = classify_fault(fault)
        if failure.cls is FailureClass.SLOW:
            ports.gate.unanswered(now_s - began_s)
        # No time left in our own queue, and closing, say nothing of the API; nor does a connection
        # that died while it was idle: it is replaced at once, and the next try tells.
        kind = fault.kind
        own = kind is FaultKind.CLOSED or (kind is FaultKind.TIMEOUT and fault.sent == "no")
        tells = not own and failure.cls is not FailureClass.STALE
        if not own:
            ports.figures.requested(now_s - began_s, now_s, failed=tells, throttled=False)
        if tells and leave is not None and ports.breaker is not None:
            ports.breaker.settle(leave, kind is FaultKind.TOO_LARGE, now_s)
        error = explain.fault_error(
            fault,
            self._what(call.request),
            spent_s=now_s - call.started_s,
            limit_bytes=self._settings.max_value_bytes,
        )
        self._note(call, failure, now_s - began_s, None)
        return _TryFailed(failure, error), tells

    def _note(self, call: _Call, failure: Failure, spent_s: float, reply_id: str | None) -> None:
        attempt = Attempt(failure.status, call.wait_s, failure.cause, spent_s, reply_id)
        call.attempts += (attempt,)

    def _what(self, request: Request) -> str:
        return f"{request.method} {request.template} of {self.api}"
