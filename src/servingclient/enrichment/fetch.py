"""The story of one request to an external API, retries included.

Breaker, rate limit, a place, credential, send, verdict; and after a failure: again or not. The
breaker is told of each try that says something of the API: not of those that were cancelled, nor
of a time-out that came sooner than replies usually do (``patience``). Pure: written once as
``async def`` over ports, awaited by the async client and stepped by the sync one.
"""

from __future__ import annotations

from typing import Final

from servingclient._prediction import request_id
from servingclient._types import Attempt, FaultKind, Origin, Reply, Target, WireFault
from servingclient.auth.headers import Headers, make_target, standard_headers
from servingclient.enrichment import explain
from servingclient.enrichment.answers import GOOD, UNCHANGED, is_absent, is_answer, value_of
from servingclient.enrichment.auth import provided, secrets_of
from servingclient.enrichment.cache_control import said
from servingclient.enrichment.fetch_ports import Ports
from servingclient.enrichment.patience import Patience
from servingclient.enrichment.request import Fetched, Request
from servingclient.enrichment.turns import Turns
from servingclient.errors import AuthError, ServingError
from servingclient.payload.errors_body import error_detail
from servingclient.policies.breaker import Pass
from servingclient.policies.deadline import attempt_deadline
from servingclient.policies.failure import Failure, FailureClass, classify_fault, classify_reply
from servingclient.policies.retry import FIRST_TRY, Action, advise, settle
from servingclient.settings import EnrichmentSettings

_BRIEF_S: Final = 1.0
"""How long an API is waited for when something past its time can be given out instead, unless its
replies usually take longer: what is fetched behind the callers has the whole time."""
_BRIEF_WAIT_S: Final = 0.05
"""How long the rate limit is waited for then."""
_GOES_ON: Final = frozenset({FailureClass.STALE, FailureClass.TOKEN})
"""Failures that say nothing of the API; after them even such a call is made anew, at once."""


class _Call:
    """One call while it runs."""

    __slots__ = (
        "attempts",
        "deadline_s",
        "max_idle_s",
        "request",
        "sent_s",
        "started_s",
        "wait_s",
        "what",
    )

    def __init__(self, request: Request, what: str, started_s: float, deadline_s: float) -> None:
        self.request = request
        self.what = what
        self.started_s = started_s
        self.deadline_s = deadline_s
        self.max_idle_s = float("inf")
        self.sent_s = started_s
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
        self.api: str = origin.host
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
        self._turns = Turns(ports)
        self._patience = Patience(settings.timeout_s / 2.0)
        self._closed = False

    def refuse(self) -> None:
        """Begin no more tries: the client is being closed."""
        self._closed = True

    async def fetch(self, request: Request, deadline_s: float) -> Fetched:
        """Ask, again where that may help.

        Raises:
            ServingError: There is no answer.
        """
        began_s = self._ports.now()
        if request.brief:
            most_s = max(_BRIEF_S, self._patience.enough_s)
            deadline_s = min(deadline_s, began_s + most_s)
        what = f"{request.method} {request.template} of {self.api}"
        call = _Call(request, what, began_s, deadline_s)
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
        last: ServingError | None = None
        while True:
            try:
                fetched = await self._try(call)
            except _TryFailed as failed:
                failure, last = failed.failure, failed.error
            except ServingError as error:  # refused before it was sent
                if error.__cause__ is None:
                    error.__cause__ = last
                raise
            else:
                settle(progress, ports.quota, rules)
                return fetched
            if call.request.brief and failure.cls not in _GOES_ON:
                raise last
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
            allowed_s = call.deadline_s - call.started_s
            error = explain.out_of_time(call.what, allowed_s, len(call.attempts), last)
            error.__cause__ = last
            return error
        if stopped_by is not None:
            last.stopped_by = stopped_by
        return last

    async def _try(self, call: _Call) -> Fetched:
        """One try. Whatever ends it before the API has said anything gives back what it took."""
        ports = self._ports
        if self._closed:
            raise explain.closed(call.what)
        began_s = ports.now()
        leave = self._turns.admitted(call.what, began_s)
        latest_s = call.deadline_s
        if call.request.brief:
            latest_s = min(latest_s, began_s + _BRIEF_WAIT_S)
        settled = False
        try:
            body = call.request.body
            again = bool(call.attempts)
            await self._turns.taken(call.what, len(body), leave, began_s, latest_s, again=again)
            try:
                target, secrets = await self._target(call)
                call.sent_s = sent_s = ports.now()
                until_s = attempt_deadline(
                    call.deadline_s, self._settings.pool.attempt_timeout_s, sent_s
                )
                idle_s = call.max_idle_s
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
                    f"{call.what}: the function of HeaderProvider raised "
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
        answers = is_answer(status)
        if answers:
            self._patience.replied(now_s - sent_s)
        ports.figures.requested(now_s - sent_s, now_s, failed=not answers, throttled=status == 429)
        request = call.request
        took_s = now_s - call.started_s
        if status in GOOD:
            value = value_of(reply, call.what, self._settings.max_value_bytes)
            return Fetched(value, len(reply.body), False, False, said(reply.headers), took_s)
        if status == UNCHANGED and request.etag is not None:
            return Fetched(None, 0, False, True, said(reply.headers), took_s)
        if is_absent(status, request):
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
        error = explain.reply_error(reply, detail, failure, call.what)
        error.request_id = request_id(reply.headers)
        self._note(call, failure, now_s - sent_s, error.request_id)
        raise _TryFailed(failure, error)

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
        if kind is FaultKind.TIMEOUT:
            tells = tells and now_s - call.sent_s >= self._patience.enough_s
        if tells and leave is not None and ports.breaker is not None:
            ports.breaker.settle(leave, kind is FaultKind.TOO_LARGE, now_s)
        error = explain.fault_error(
            fault,
            call.what,
            spent_s=now_s - call.started_s,
            limit_bytes=self._settings.max_value_bytes,
        )
        self._note(call, failure, now_s - began_s, None)
        return _TryFailed(failure, error), tells

    def _note(self, call: _Call, failure: Failure, spent_s: float, reply_id: str | None) -> None:
        attempt = Attempt(failure.status, call.wait_s, failure.cause, spent_s, reply_id)
        call.attempts += (attempt,)
