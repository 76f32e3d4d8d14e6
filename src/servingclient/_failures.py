"""What follows a failed try: the error it would be, and whether there is another try.

tenacity's loop is entered only here, once the first try has failed: around every call it would cost
12-40 us, half of what the whole call may.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, TypeVar

import tenacity

from servingclient import _explain
from servingclient._ports import Grant, World
from servingclient._prediction import request_id
from servingclient._running import STOP, Call
from servingclient._types import (
    Attempt,
    ErrorDetail,
    FaultKind,
    RawHeaders,
    Reply,
    Sent,
    WireFault,
)
from servingclient._watching import AttemptEnded, CallEnded, complain, tell
from servingclient.errors import ResponseTooLarge, ServingError
from servingclient.payload.decode import predictions
from servingclient.payload.errors_body import error_detail
from servingclient.policies.concurrency import says_no_room
from servingclient.policies.failure import (
    Failure,
    FailureClass,
    classify_fault,
    classify_reply,
)
from servingclient.policies.retry import Action, Advice, advise
from servingclient.settings import Settings

T = TypeVar("T")

_SEEN: Final[tuple[Sent, ...]] = ("no", "maybe", "yes")


def _surest(one: Sent, other: Sent) -> Sent:
    """Whether the endpoint may have seen a call of two tries."""
    return max(one, other, key=_SEEN.index)


class TryFailed(Exception):  # noqa: N818 - an internal signal
    """One try failed: why, in the policies' terms, and the error a user would see."""

    def __init__(self, failure: Failure, error: ServingError) -> None:
        super().__init__(failure.cause)
        self.failure = failure
        self.error = error


class Failures:
    """What one client makes of failed tries."""

    __slots__ = ("_endpoint", "_settings", "_world")

    def __init__(self, endpoint: str, settings: Settings, world: World) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._world = world

    def of_fault(self, call: Call, fault: WireFault) -> TryFailed:
        """A try that got no complete reply."""
        failure = classify_fault(fault)
        grant = call.grant
        if fault.kind is FaultKind.NO_NAME and grant is not None and grant.route_optimized:
            self._world.access.moved(grant)  # an endpoint made anew has another host
        now_s = self._world.now()
        if failure.cls is FailureClass.SLOW:
            self._world.gate.unanswered(now_s - call.tried_s)
        error = _explain.fault_error(
            fault,
            self._endpoint,
            len(call.body.data),
            spent_s=now_s - call.started_s,
            in_time=now_s < call.deadline_s,
            seen=call.seen,
        )
        if isinstance(error, ResponseTooLarge):
            error.limit_bytes = self._settings.pool.max_reply_bytes
        self._note(call, failure, None)
        return TryFailed(failure, error)

    def of_reply(self, call: Call, grant: Grant, reply: Reply) -> TryFailed:
        """A try that was answered with anything but 200."""
        detail: ErrorDetail = error_detail(reply.body, reply.header(b"content-type"), grant.secrets)
        failure = classify_reply(
            reply.status,
            reply.header(b"retry-after"),
            reply.header(b"date"),
            detail,
            cap_s=self._settings.retry.retry_after_cap_s,
            route_optimized=grant.route_optimized,
            coding_refusals=call.coding_refusals,
        )
        error = _explain.reply_error(
            reply, detail, self._endpoint, len(call.body.data), failure.hint.wait_s
        )
        error.request_id = request_id(reply.headers)
        error.sent = failure.sent
        if says_no_room(failure):
            self._world.gate.throttled()
            self._world.recorder.note(self._world.now(), "throttled")
        self._note(call, failure, error.request_id)
        return TryFailed(failure, error)

    def of_predictions(self, call: Call, reply: Reply) -> ServingError:
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
                msgpack=self._settings.payload.codec == "msgpack",
            )
        except ServingError as found:
            error = found.with_traceback(None)  # which holds this frame, which holds the error
        self.answered(call, error, reply.status, reply.headers)
        return error

    def answered(self, call: Call, error: ServingError, status: int, headers: RawHeaders) -> None:
        """Complete the error of a try that was answered 200 with something unfit."""
        error.status_code, error.sent = status, "yes"
        error.request_id = request_id(headers)
        self._attempt_failed(call, status, type(error).__name__, error.request_id, "unfit")

    def _note(self, call: Call, failure: Failure, reply_id: str | None) -> None:
        reason = failure.cls.value if failure.status is None else str(failure.status)
        call.seen = _surest(call.seen, failure.sent)
        self._attempt_failed(call, failure.status, failure.cause, reply_id, reason)

    def _attempt_failed(
        self, call: Call, status: int | None, cause: str, reply_id: str | None, reason: str
    ) -> None:
        spent_s = self._world.now() - call.tried_s
        attempt = Attempt(status, call.advice.wait_s, cause, spent_s, reply_id)
        call.attempts += (attempt,)
        self._world.recorder.note(call.tried_s + spent_s, "failed_attempt", reason, spent_s)
        if call.span is not None:
            call.span.attempt_failed(attempt)
        for observer in self._world.observers:
            try:
                observer.attempt_failed(AttemptEnded(self._endpoint, attempt, reason))
            except Exception as error:  # noqa: BLE001 - it is not the caller's business
                complain(observer, error)

    async def retry(
        self, call: Call, failed: TryFailed, again: Callable[[Call], Awaitable[T]]
    ) -> T:
        """Retry. The loop's first round repeats, without sending, how the first try failed."""
        first = [failed]

        async def next_try() -> T:
            if first:
                raise first.pop()
            call.tried_s, call.had_turn = self._world.now(), True
            self._world.recorder.note(call.tried_s, "retry")
            return await again(call)

        def wait(state: tenacity.RetryCallState) -> float:
            assert state.outcome is not None
            problem = state.outcome.exception()
            assert isinstance(problem, TryFailed)
            return self._advise(call, problem.failure)

        async def sleep(seconds: float) -> None:
            if seconds > 0.0:
                call.backoff_s += seconds
                await self._world.sleep(seconds)

        states: list[tenacity.RetryCallState] = []

        def try_failed(state: tenacity.RetryCallState) -> bool:
            states[:] = [state]
            return state.outcome is not None and isinstance(state.outcome.exception(), TryFailed)

        retrying = tenacity.AsyncRetrying(
            sleep=sleep,
            wait=wait,
            stop=lambda _state: call.advice.action is Action.STOP,
            retry=try_failed,
            reraise=True,
        )
        try:
            result: T = await retrying(next_try)
        except TryFailed as last:
            last.__traceback__ = failed.__traceback__ = None
            self._give_up(call, last)
        finally:
            # Cycles of tenacity's, which would hold the payload until the collector comes: its
            # actions, and what went through its frame, which holds the state that holds it.
            retrying.iter_state.actions.clear()
            while states:
                states.pop().outcome = None
            del failed
        if call.progress.plain_used:
            self._world.compression.refused()
        return result

    def _advise(self, call: Call, failure: Failure) -> float:
        """Ask the policy, and do what its advice needs before the next try."""
        world = self._world
        advice = advise(
            failure,
            call.progress,
            self._settings.retry,
            world.quota,
            idempotent=call.idempotent,
            remaining_s=call.deadline_s - world.now(),
            rand=world.rand(),
        )
        if not self._possible(call, advice):
            advice = STOP
        call.advice = advice
        if advice.action is Action.RESEND_NEW_LANE:
            call.max_idle_s = 0.0
        call.progress = call.progress.after(advice)
        return advice.wait_s

    def _possible(self, call: Call, advice: Advice) -> bool:
        """Whether another token or address can be had, where the advice needs one."""
        if call.grant is None:
            return True
        if advice.action is Action.RENEW_TOKEN:
            return self._world.access.reject(call.grant)
        if advice.action is Action.RERESOLVE:
            return self._world.access.moved(call.grant)
        return True

    def _give_up(self, call: Call, last: TryFailed) -> NoReturn:
        """Raise what the user gets. No frame of its traceback holds it: that would be a cycle."""
        error = self._final(call, last.error)
        cause = None if error is last.error else last.error
        del last.error
        try:
            raise error from cause
        finally:
            del error, cause

    def _final(self, call: Call, last: ServingError) -> ServingError:
        stopped_by = call.advice.stopped_by
        if stopped_by == "deadline" and not isinstance(last, TimeoutError):
            tries = len(call.attempts)
            timeout_s = call.deadline_s - call.started_s
            error = _explain.deadline_error(self._endpoint, timeout_s, tries, last)
            error.request_id = last.request_id
            last.attempts = call.attempts
            return error
        out_of_time = isinstance(last, TimeoutError) and self._world.now() >= call.deadline_s
        if stopped_by is not None and not out_of_time:
            last.stopped_by = stopped_by
        return last

    def told(self, call: Call, error: ServingError) -> None:
        """Complete an error on its way to the caller."""
        elapsed_s = self._world.now() - call.started_s
        error.endpoint = self._endpoint
        error.attempts = call.attempts
        error.sent = _surest(call.seen, error.sent)
        error.elapsed_s = elapsed_s
        self._failed(call, error, error.status_code, elapsed_s)

    def broken_off(self, call: Call, error: BaseException) -> None:
        """Record a call that ends with no error of ours: it was cancelled, or something broke."""
        elapsed_s = self._world.now() - call.started_s
        if isinstance(error, Exception):
            self._failed(call, error, None, elapsed_s)
        else:
            kind = type(error).__name__
            self._world.recorder.note(call.started_s + elapsed_s, "cancelled", kind, elapsed_s)

    def _failed(self, call: Call, error: Exception, status: int | None, elapsed_s: float) -> None:
        kind = type(error).__name__
        self._world.recorder.note(call.started_s + elapsed_s, "failed", kind, elapsed_s)
        event = CallEnded(
            self._endpoint,
            status,
            kind,
            elapsed_s,
            call.queue_s,
            len(call.attempts),
            len(call.body.data),
            0,
        )
        tell(self._world.observers, event)
