"""The story of one call, from the caller's input to a prediction.

The only place that knows the order: encode, queue, token, send, answer; and after a failure: what
the policies advise. Written once; the async client awaits it, the sync client steps it.

The first try runs straight. tenacity's loop is entered only once it has failed: around every call
it would cost 12-40 us, half of what the whole call may.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NoReturn, TypeVar

import tenacity

from servingclient import _explain
from servingclient._ports import (
    AttemptEnded,
    CallEnded,
    Grant,
    StreamedReply,
    World,
    tell,
)
from servingclient._prediction import Prediction, header, request_id
from servingclient._stream import OpenStream
from servingclient._types import (
    Attempt,
    ErrorDetail,
    FaultKind,
    RawHeaders,
    Reply,
    WireFault,
)
from servingclient.errors import ResponseFormatError, ResponseTooLarge, ServingError
from servingclient.payload.body import Body
from servingclient.payload.decode import predictions
from servingclient.payload.encode import check_size, encode
from servingclient.payload.errors_body import error_detail
from servingclient.policies.deadline import attempt_deadline
from servingclient.policies.failure import Failure, classify_fault, classify_reply
from servingclient.policies.retry import FIRST_TRY, Action, Advice, advise, settle
from servingclient.settings import Settings

T = TypeVar("T")

_OK: Final = 200
_STOP: Final = Advice(Action.STOP)


class _Call:
    """One call while it runs: what it carries and what has happened so far.

    What few calls change stands as a default of the class: setting fifteen fields in every call
    costs 0.6 us.
    """

    queue_s = 0.0
    token_s = 0.0
    backoff_s = 0.0
    grant: Grant | None = None
    attempts: tuple[Attempt, ...] = ()
    progress = FIRST_TRY
    advice = _STOP

    def __init__(
        self,
        body: Body,
        served_model: str | None,
        started_s: float,
        encoded_s: float,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001 - internal, and keywords cost on the hot path
        max_idle_s: float,
    ) -> None:
        self.body = body
        self.served_model = served_model
        self.started_s = started_s
        self.encoded_s = self.tried_s = encoded_s
        self.deadline_s = started_s + timeout_s
        self.idempotent = idempotent
        self.max_idle_s = max_idle_s


class _TryFailed(Exception):  # noqa: N818 - an internal signal
    """One try failed: why, in the policies' terms, and the error a user would see."""

    def __init__(self, failure: Failure, error: ServingError) -> None:
        super().__init__(failure.cause)
        self.failure = failure
        self.error = error


class Story:
    """How one client calls one endpoint."""

    __slots__ = ("endpoint", "settings", "world")

    def __init__(self, endpoint: str, settings: Settings, world: World) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.world = world

    async def predict(
        self,
        inputs: object,
        params: Mapping[str, object] | None,
        client_request_id: str | None,
        usage_context: Mapping[str, str] | None,
        served_model: str | None,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001
    ) -> Prediction:
        """Score ``inputs``; the doors say what each argument is."""
        now = self.world.now
        started_s = now()
        body = self._encode(inputs, params, client_request_id, usage_context, stream=False)
        call = self._call(body, served_model, started_s, timeout_s, idempotent)
        try:
            try:
                reply = await self._try(call)
            except _TryFailed as failed:
                reply = await self._again(call, failed, self._try)
            done_s = now()
            try:
                values = predictions(reply.body, None, wrapped=body.wrapped)
            except ServingError:
                raise self._no_predictions(call, reply) from None
        except ServingError as error:
            self._failed(call, error)
            raise
        ended_s = now()
        settle(call.progress, self.world.quota, self.settings.retry)
        for observer in self.world.observers:
            observer.call_ended(
                CallEnded(
                    self.endpoint,
                    _OK,
                    None,
                    ended_s - started_s,
                    call.queue_s,
                    len(call.attempts) + 1,
                    len(body.data),
                    len(reply.body),
                )
            )
        last = Attempt(_OK, call.advice.wait_s, None, done_s - call.tried_s, None)
        return Prediction(
            values,
            reply.headers,
            (*call.attempts, last),
            (
                call.encoded_s - started_s,
                call.queue_s,
                call.token_s,
                reply.connect_s,
                reply.first_byte_s - reply.sent_s,
                ended_s - done_s,
                call.backoff_s,
                ended_s - started_s,
            ),
            _OK,
        )

    def _encode(
        self,
        inputs: object,
        params: Mapping[str, object] | None,
        client_request_id: str | None,
        usage_context: Mapping[str, str] | None,
        *,
        stream: bool,
    ) -> Body:
        try:
            return encode(
                inputs,
                params=params,
                client_request_id=client_request_id,
                usage_context=usage_context,
                settings=self.settings.payload,
                stream=stream,
            )
        except ServingError as error:
            error.endpoint = self.endpoint
            raise

    def _call(
        self,
        body: Body,
        served_model: str | None,
        started_s: float,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001
    ) -> _Call:
        # A connection that died unnoticed costs an idempotent call one free resend, any other call
        # an error: those reuse only what was in use a moment ago.
        max_idle_s = math.inf if idempotent else self.settings.pool.keepalive_unsafe_s
        encoded_s = self.world.now()
        return _Call(body, served_model, started_s, encoded_s, timeout_s, idempotent, max_idle_s)

    async def warmup(self, timeout_s: float) -> None:
        """Have route, token and connections at hand before the first call."""
        world = self.world
        gate = world.gate
        started_s = world.now()
        deadline_s = started_s + timeout_s
        try:
            try:
                # A place like any call's: a closed client has none, and closing waits for it.
                if not gate.try_enter():
                    await gate.enter(deadline_s)
                try:
                    grant = await world.access.obtain(None, deadline_s)
                    count = max(1, self.settings.pool.prewarm)
                    await world.wire.warm(grant.target.origin, count, deadline_s)
                finally:
                    gate.leave()
            except WireFault as fault:
                raise _explain.fault_error(fault, self.endpoint, 0) from None
        except ServingError as error:
            error.endpoint = self.endpoint
            error.elapsed_s = world.now() - started_s
            raise

    async def _try(self, call: _Call) -> Reply:
        """One try: a place in the queue, a grant, an exchange."""
        world = self.world
        gate = world.gate
        began_s = world.now()
        try:
            if not gate.try_enter():
                await gate.enter(call.deadline_s)
            try:
                grant = self._ready(call, began_s) or await self._obtain(call)
                reply = await world.wire.send(
                    grant.target,
                    call.body.data,
                    self._try_deadline_s(call),
                    max_idle_s=call.max_idle_s,
                )
            finally:
                gate.leave()
        except WireFault as fault:
            raise self._fault(call, fault) from None
        if reply.status != _OK:
            raise self._refusal(call, grant, reply)
        return reply

    def _ready(self, call: _Call, began_s: float) -> Grant | None:
        """Where to send and with what token, if that is known."""
        now_s = self.world.now()
        call.queue_s += now_s - began_s
        call.tried_s = now_s
        grant = self.world.access.ready(call.served_model, now_s)
        if grant is not None:
            self._use(call, grant)
        return grant

    async def _obtain(self, call: _Call) -> Grant:
        """Wait for route and token."""
        began_s = call.tried_s
        grant = await self.world.access.obtain(call.served_model, call.deadline_s)
        call.tried_s = self.world.now()
        call.token_s += call.tried_s - began_s
        self._use(call, grant)
        return grant

    def _use(self, call: _Call, grant: Grant) -> None:
        call.grant = grant
        limit_bytes = self.settings.payload.max_request_bytes or grant.max_request_bytes
        if len(call.body.data) > limit_bytes:
            check_size(call.body, limit_bytes)

    def _try_deadline_s(self, call: _Call) -> float:
        return attempt_deadline(call.deadline_s, self.settings.pool.attempt_timeout_s, call.tried_s)

    async def open(
        self,
        inputs: object,
        params: Mapping[str, object] | None,
        client_request_id: str | None,
        usage_context: Mapping[str, str] | None,
        served_model: str | None,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001
    ) -> OpenStream:
        """Like ``predict``, but returns at the head of a streamed reply.

        The time-out ends there; each piece of the stream then has ``Pool.stream_idle_s``.
        """
        now = self.world.now
        started_s = now()
        body = self._encode(inputs, params, client_request_id, usage_context, stream=True)
        call = self._call(body, served_model, started_s, timeout_s, idempotent)
        try:
            try:
                reply = await self._try_open(call)
            except _TryFailed as failed:
                reply = await self._again(call, failed, self._try_open)
        except ServingError as error:
            self._failed(call, error)
            raise
        settle(call.progress, self.world.quota, self.settings.retry)
        last = Attempt(
            _OK, call.advice.wait_s, None, now() - call.tried_s, request_id(reply.headers)
        )
        return OpenStream(
            self.endpoint,
            self.world,
            started_s,
            call.queue_s,
            len(body.data),
            (*call.attempts, last),
            call.grant.secrets if call.grant else (),
            reply,
        )

    async def _try_open(self, call: _Call) -> StreamedReply:
        """One try at a stream. Its place is kept until the stream is closed."""
        world = self.world
        gate = world.gate
        began_s = world.now()
        try:
            if not gate.try_enter():
                await gate.enter(call.deadline_s)
            try:
                grant = self._ready(call, began_s) or await self._obtain(call)
                reply = await world.wire.open(
                    grant.target,
                    call.body.data,
                    self._try_deadline_s(call),
                    max_idle_s=call.max_idle_s,
                )
                if reply.status != _OK:
                    raise self._refusal(call, grant, await self._whole(call, reply))
                await self._check_events(call, reply)
            except BaseException:
                gate.leave()
                raise
        except WireFault as fault:
            raise self._fault(call, fault) from None
        return reply

    async def _check_events(self, call: _Call, reply: StreamedReply) -> None:
        kind = header(reply.headers, b"content-type")
        if kind is None or kind.lower().startswith("text/event-stream"):
            return
        await reply.aclose()
        error = ResponseFormatError(
            f"{self.endpoint!r} answered with {kind[:60]} instead of a stream of events. Call "
            "predict(), or see whether the model can stream."
        )
        self._answered(call, error, reply.status, reply.headers)
        raise error

    async def _whole(self, call: _Call, reply: StreamedReply) -> Reply:
        """An error reply that came where a stream was asked for, read as far as time allows."""
        body: list[bytes] = []
        pieces = reply.chunks(call.deadline_s)
        try:
            async for piece in pieces:
                body.append(piece)  # noqa: PERF401 - what came before a fault counts
        except WireFault as fault:
            if fault.kind is not FaultKind.TIMEOUT:  # what has come says enough
                raise
        finally:
            try:
                await pieces.aclose()
            finally:
                await reply.aclose()
        sent_s = call.tried_s
        return Reply(reply.status, reply.headers, b"".join(body), sent_s, sent_s, 0.0)

    # After a failure --------------------------------------------------------------------------

    def _fault(self, call: _Call, fault: WireFault) -> _TryFailed:
        failure = classify_fault(fault)
        grant = call.grant
        if fault.kind is FaultKind.NO_NAME and grant is not None and grant.route_optimized:
            self.world.access.moved(grant)  # an endpoint made anew has another host
        error = _explain.fault_error(fault, self.endpoint, len(call.body.data))
        if isinstance(error, ResponseTooLarge):
            error.limit_bytes = self.settings.pool.max_reply_bytes
        self._note(call, failure, None)
        return _TryFailed(failure, error)

    def _refusal(self, call: _Call, grant: Grant, reply: Reply) -> _TryFailed:
        detail: ErrorDetail = error_detail(reply.body, reply.header(b"content-type"), grant.secrets)
        failure = classify_reply(
            reply.status,
            reply.header(b"retry-after"),
            reply.header(b"date"),
            detail,
            cap_s=self.settings.retry.retry_after_cap_s,
            route_optimized=grant.route_optimized,
        )
        error = _explain.reply_error(
            reply, detail, self.endpoint, len(call.body.data), failure.hint.wait_s
        )
        error.request_id = request_id(reply.headers)
        error.sent = failure.sent
        self._note(call, failure, error.request_id)
        return _TryFailed(failure, error)

    def _no_predictions(self, call: _Call, reply: Reply) -> ServingError:
        """The error of a reply with status 200 that holds no predictions."""
        grant = call.grant
        error: ServingError
        try:
            # Once more, now with what only the message needs: looking it up costs 0.6 us.
            predictions(
                reply.body,
                reply.header(b"content-type"),
                wrapped=call.body.wrapped,
                secrets=grant.secrets if grant else (),
            )
        except ServingError as found:
            error = found.with_traceback(None)  # which holds this frame, which holds the error
        self._answered(call, error, reply.status, reply.headers)
        return error

    def _answered(self, call: _Call, error: ServingError, status: int, headers: RawHeaders) -> None:
        """Complete the error of a try that was answered 200 with something unfit."""
        error.status_code, error.sent = status, "yes"
        error.request_id = request_id(headers)
        spent_s = self.world.now() - call.tried_s
        cause = type(error).__name__
        last = Attempt(status, call.advice.wait_s, cause, spent_s, error.request_id)
        call.attempts += (last,)

    def _note(self, call: _Call, failure: Failure, reply_id: str | None) -> None:
        spent_s = self.world.now() - call.tried_s
        attempt = Attempt(failure.status, call.advice.wait_s, failure.cause, spent_s, reply_id)
        call.attempts += (attempt,)
        for observer in self.world.observers:
            observer.attempt_failed(AttemptEnded(self.endpoint, attempt))

    async def _again(
        self, call: _Call, failed: _TryFailed, again: Callable[[_Call], Awaitable[T]]
    ) -> T:
        """Retry. The loop's first round repeats, without sending, how the first try failed."""
        first = [failed]

        async def next_try() -> T:
            if first:
                raise first.pop()
            call.tried_s = self.world.now()
            return await again(call)

        def wait(state: tenacity.RetryCallState) -> float:
            assert state.outcome is not None
            problem = state.outcome.exception()
            assert isinstance(problem, _TryFailed)
            return self._advise(call, problem.failure)

        async def sleep(seconds: float) -> None:
            if seconds > 0.0:
                call.backoff_s += seconds
                await self.world.sleep(seconds)

        retrying = tenacity.AsyncRetrying(
            sleep=sleep,
            wait=wait,
            stop=lambda _state: call.advice.action is Action.STOP,
            retry=tenacity.retry_if_exception_type(_TryFailed),
            reraise=True,
        )
        try:
            return await retrying(next_try)
        except _TryFailed as last:
            last.__traceback__ = failed.__traceback__ = None
            self._give_up(call, last)
        finally:
            # A cycle of tenacity's, which would hold the payload until the collector comes.
            retrying.iter_state.actions.clear()
            del failed

    def _advise(self, call: _Call, failure: Failure) -> float:
        """Ask the policy, and do what its advice needs before the next try."""
        world = self.world
        advice = advise(
            failure,
            call.progress,
            self.settings.retry,
            world.quota,
            idempotent=call.idempotent,
            remaining_s=call.deadline_s - world.now(),
            rand=world.rand(),
        )
        if not self._possible(call, advice):
            advice = _STOP
        call.advice = advice
        if advice.action is Action.RESEND_NEW_LANE:
            call.max_idle_s = 0.0
        call.progress = call.progress.after(advice)
        return advice.wait_s

    def _possible(self, call: _Call, advice: Advice) -> bool:
        """Whether another token or address can be had, where the advice needs one."""
        if call.grant is None:
            return True
        if advice.action is Action.RENEW_TOKEN:
            return self.world.access.reject(call.grant)
        if advice.action is Action.RERESOLVE:
            return self.world.access.moved(call.grant)
        return True

    def _give_up(self, call: _Call, last: _TryFailed) -> NoReturn:
        """Raise what the user gets. No frame of its traceback holds it: that would be a cycle."""
        error = self._final(call, last.error)
        cause = None if error is last.error else last.error
        del last.error
        try:
            raise error from cause
        finally:
            del error, cause

    def _final(self, call: _Call, last: ServingError) -> ServingError:
        stopped_by = call.advice.stopped_by
        if stopped_by == "deadline" and not isinstance(last, TimeoutError):
            tries = len(call.attempts)
            timeout_s = call.deadline_s - call.started_s
            error = _explain.deadline_error(self.endpoint, timeout_s, tries, last)
            error.request_id = last.request_id
            last.attempts = call.attempts
            return error
        out_of_time = isinstance(last, TimeoutError) and self.world.now() >= call.deadline_s
        if stopped_by is not None and not out_of_time:
            last.stopped_by = stopped_by
        return last

    def _failed(self, call: _Call, error: ServingError) -> None:
        """Complete an error on its way to the caller."""
        elapsed_s = self.world.now() - call.started_s
        error.endpoint = self.endpoint
        error.attempts = call.attempts
        error.elapsed_s = elapsed_s
        event = CallEnded(
            self.endpoint,
            error.status_code,
            type(error).__name__,
            elapsed_s,
            call.queue_s,
            len(call.attempts),
            len(call.body.data),
            0,
        )
        tell(self.world, event)
