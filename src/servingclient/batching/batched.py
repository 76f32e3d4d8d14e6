"""The story of a call that may share a request: what the doors call when batching is on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from servingclient._call import Story
from servingclient._failures import Call
from servingclient._prediction import Prediction
from servingclient._stats import BatchingStats
from servingclient._types import WireFault
from servingclient.auth.endpoint import Description
from servingclient.batching.batch import Answered, Batch, Failed
from servingclient.batching.company import Key, Member
from servingclient.batching.sending import twin
from servingclient.errors import ServingError
from servingclient.payload.divide import Divided, divide
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

    def start_alone(self, rows: int) -> bool:
        """Whether a call goes at once; then ``ended`` must follow."""

    def ended(self) -> None:
        """A call that went alone has ended."""

    def passed(self, rows: int) -> None:
        """A call goes by: it can share no request."""

    def stats(self) -> BatchingStats:
        """What was counted."""

    async def share(self, key: Key, story: Story, divided: Divided, call: Call) -> Member[Any]:
        """Wait for company and an answer.

        Returns:
            The call with its answer.

        Raises:
            QueueFull: Too many wait.
            WrongLoopError: The client is in use on another running loop.
        """


class BatchedStory:
    """Stands in for a ``Story`` where calls are made.

    Args:
        story: How this client calls.
        batcher: Whom it shares requests with.
        limits: Of a batch.
    """

    __slots__ = ("_batcher", "_limits", "_rules", "_story")

    def __init__(self, story: Story, batcher: Batcher, limits: Batching) -> None:
        self._story = story
        self._batcher = batcher
        self._limits = limits
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
        if story.fits:
            await story.learn(started_s + timeout_s, priority)
        call = story.begin(
            started_s,
            (inputs, params, client_request_id, usage_context),
            served_model,
            timeout_s,
            idempotent,
            priority,
        )
        rows = call.body.rows or 1
        if batcher.start_alone(rows):
            try:
                return await story.score(call)
            finally:
                batcher.ended()
        # An id or labels name one request in the service's tables.
        if client_request_id is None and usage_context is None and self._small(call):
            divided = divide(call.body, inputs, params, story.settings.payload)
            if divided is not None:
                return await self._share(call, divided)
        batcher.passed(rows)
        return await story.score(call)

    def _small(self, call: Call) -> bool:
        """Whether others would fit into the same request."""
        body, limits = call.body, self._limits
        return (body.rows or 1) < limits.max_batch_rows and len(body.data) < limits.max_batch_bytes

    async def _share(self, call: Call, divided: Divided) -> Prediction:
        key = (divided.head, divided.tail, call.served_model, call.idempotent, self._rules)
        story = self._story
        try:
            member = await self._batcher.share(key, story, divided, call)
            if member.batch is not None:
                _carried(call, member.batch)
            answer = member.answer
            if type(answer) is Failed:
                raise twin(answer.error)
            if type(answer) is WireFault:
                raise story.failures.of_fault(call, answer).error
        except ServingError as error:
            story.failures.told(call, error)
            raise
        assert member.batch is not None
        assert type(answer) is Answered
        reply, values, done_s = answer
        reply_bytes, rows = len(reply.body), member.batch.body.rows
        if rows is not None and rows > member.count:
            values = values[member.first : member.first + member.count]
            reply_bytes = reply_bytes * member.count // rows
        return story.finish(call, reply, values, done_s, reply_bytes)


def calls_of(story: Story, batcher: Batcher | None) -> Story | BatchedStory:
    """What a door calls: the story itself, or in company where its settings want that."""
    limits = story.settings.batching
    if batcher is None or limits is None:
        return story
    return BatchedStory(story, batcher, limits)


def _carried(call: Call, batch: Batch) -> None:
    """What happened to the batch happened to the call; before that, it waited for it."""
    call.queue_s = batch.queue_s
    if batch.sent:
        call.queue_s += batch.boarded_s - call.encoded_s
    call.token_s, call.backoff_s = batch.token_s, batch.backoff_s
    call.attempts, call.advice, call.tried_s = batch.attempts, batch.advice, batch.tried_s
