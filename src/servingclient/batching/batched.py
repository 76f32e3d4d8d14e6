"""The story of a call that may share a request: what the doors call when batching is on."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol

from servingclient._call import Story
from servingclient._prediction import Prediction
from servingclient._running import Call
from servingclient._stats import BatchingStats
from servingclient._types import WireFault
from servingclient.auth.endpoint import Description
from servingclient.batching.batch import Answered, Failed
from servingclient.batching.company import Key, Member, Slot
from servingclient.batching.sending import twin
from servingclient.errors import QueueFull, ServingError
from servingclient.payload.divide import divide
from servingclient.settings import Batching, Settings

_SMALLEST_SIZE: Final = 4
"""Provisioned concurrency of the smallest size sold: slots where the endpoint tells none."""


class Described(Protocol):
    """Knows the endpoint."""

    @property
    def description(self) -> Description | None:
        """The endpoint as last described; None before the first call."""


def slots_of(settings: Settings, endpoint: Described) -> int:
    """How many requests at once before calls gather: this process's part of what is provisioned.

    Args:
        settings: Of a client that batches.
        endpoint: What it calls.
    """
    limits, described = settings.batching, endpoint.description
    if limits is not None and limits.max_in_flight is not None:
        return limits.max_in_flight
    provisioned = described.provisioned_concurrency if described is not None else None
    return max(1, (provisioned or _SMALLEST_SIZE) // settings.concurrency.client_processes)


class Batcher(Protocol):
    """Brings callers together: one per client, shared by its copies; a class per colour."""

    def start_alone(self, slot: Slot, rows: int, now_s: float) -> bool:
        """Whether a call goes at once; then it holds ``slot``, and ``give_back`` must follow."""

    def give_back(self, slot: Slot) -> None:
        """A call that went alone has ended. Once more mends what an interrupt left half done."""

    def passed(self, rows: int) -> None:
        """A call goes by: it can share no request."""

    def line_up(
        self, key: Key, story: Story, priority: int, member: Member[Any]
    ) -> Awaitable[None]:
        """Look for company.

        Args:
            key: Equal for calls that may share a request.
            story: Sends it.
            priority: Rank at the gate.
            member: What the caller wants.

        Returns:
            What the caller waits for. Then there is an answer.

        Raises:
            QueueFull: At once or when waited for: too many wait.
            WrongLoopError: The client is in use on another running loop.
        """

    def left(self, member: Member[Any]) -> None:
        """A caller has ended its wait by an exception. Once more, likewise."""

    def stats(self) -> BatchingStats:
        """What was counted."""


class BatchedStory:
    """Stands in for a ``Story`` where calls are made.

    Args:
        story: How this client calls.
        batcher: Whom it shares requests with.
        limits: Of a batch.
    """

    __slots__ = ("_batcher", "_most_bytes", "_most_rows", "_rules", "_story")

    def __init__(self, story: Story, batcher: Batcher, limits: Batching) -> None:
        self._story = story
        self._batcher = batcher
        self._most_rows = limits.max_batch_rows
        self._most_bytes = limits.max_batch_bytes
        settings = story.settings
        # Copies may have other rules, and then share no request. By identity: a copy that does not
        # change the rules has the very same, and to compare them at every call costs 2 us.
        self._rules = (id(settings.retry), id(settings.payload))

    async def predict(
        self,
        inputs: object,
        params: Mapping[str, object] | None,
        client_request_id: str | None,
        usage_context: Mapping[str, str] | None,
        served_model: str | None,
        timeout_s: float,
        idempotent: bool,  # noqa: FBT001
        priority: int,
    ) -> Prediction:
        """Like ``Story.predict``, in company where there is any."""
        story, batcher = self._story, self._batcher
        started_s = story.world.now()
        learn_s = await story.learn(started_s + timeout_s, priority) if story.fits else 0.0
        body = story.encoded((inputs, params, client_request_id, usage_context), served_model)
        rows, encoded_s = body.rows or 1, story.world.now()
        slot = Slot()
        try:
            if batcher.start_alone(slot, rows, encoded_s):
                call = story.call_of(body, started_s, served_model, timeout_s, idempotent, priority)
                return await story.score(call.after(learn_s) if learn_s else call)
        finally:
            try:
                if slot.taken:
                    batcher.give_back(slot)
            except BaseException:  # interrupted on the way
                batcher.give_back(slot)
                raise
        divided = None
        # An id or labels name one request in the service's tables; and others must fit beside it.
        if (
            client_request_id is None
            and usage_context is None
            and rows < self._most_rows
            and len(body.data) < self._most_bytes
        ):
            divided = divide(body, inputs, params, story.settings.payload)
        if divided is None:
            batcher.passed(rows)
            call = story.call_of(body, started_s, served_model, timeout_s, idempotent, priority)
            return await story.score(call.after(learn_s) if learn_s else call)
        head, own_rows, tail = divided
        key = (head, tail, served_model, idempotent, self._rules)
        deadline_s = started_s + timeout_s
        member: Member[Any] = Member(body, own_rows, started_s, encoded_s, deadline_s)
        if learn_s:
            member.learn_s = learn_s
        tracer = story.world.tracer
        if tracer is not None:
            member.span = tracer.call_begun(story.endpoint, encoded_s - started_s, "member")
        return await self._in_company(key, priority, member)

    async def _in_company(self, key: Key, priority: int, member: Member[Any]) -> Prediction:
        story, batcher = self._story, self._batcher
        try:
            try:
                await batcher.line_up(key, story, priority, member)
            except QueueFull:  # it never stood in the line
                raise
            except BaseException:
                try:
                    batcher.left(member)
                except BaseException:  # interrupted once more
                    batcher.left(member)
                    raise
                raise
            return self._part_of(member)
        except ServingError as error:
            story.failures.told(self._call_of(member, key, priority), error)
            raise
        except WireFault as fault:
            raise self._error_of(fault, self._call_of(member, key, priority)) from None
        except BaseException as error:
            story.failures.broken_off(self._call_of(member, key, priority), error)
            raise
        finally:
            if member.span is not None:
                attempts = () if member.batch is None else member.batch.attempts
                member.span.ended(attempts, sys.exc_info()[1])

    def _part_of(self, member: Member[Any]) -> Prediction:
        """What its caller gets: its part of the answer, or a copy of the error."""
        answer, batch = member.answer, member.batch
        if type(answer) is WireFault:
            raise answer
        if type(answer) is Failed:
            raise twin(answer.error)
        assert type(answer) is Answered
        assert batch is not None
        reply, values, done_s = answer
        reply_bytes, rows = len(reply.body), batch.body.rows or 1
        if rows > member.count:
            values = values[member.first : member.first + member.count]
            reply_bytes = reply_bytes * member.count // rows
        member.queue_s = batch.boarded_s - member.encoded_s + batch.queue_s
        return self._story.finish(member, batch, reply, values, done_s, reply_bytes)

    def _call_of(self, member: Member[Any], key: Key, priority: int) -> Call:
        """The call as if it had been sent alone: what happened to its batch happened to it."""
        _, _, served_model, idempotent, _ = key
        timeout_s = member.deadline_s - member.started_s
        call = self._story.call_of(
            member.body, member.started_s, served_model, timeout_s, idempotent, priority
        )
        batch = member.batch
        if batch is not None:
            call.queue_s, call.attempts, call.seen = batch.queue_s, batch.attempts, batch.seen
            call.advice, call.tried_s = batch.advice, batch.tried_s
            if batch.sent:
                call.queue_s += batch.boarded_s - member.encoded_s
        return call

    def _error_of(self, fault: WireFault, call: Call) -> ServingError:
        error = self._story.failures.of_fault(call, fault).error
        self._story.failures.told(call, error)
        return error


def calls_of(story: Story, batcher: Batcher | None) -> Story | BatchedStory:
    """What a door calls: the story itself, or in company where its settings want that."""
    limits = story.settings.batching
    if batcher is None or limits is None:
        return story
    return BatchedStory(story, batcher, limits)
