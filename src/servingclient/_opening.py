"""The story of a call whose reply is a stream, up to the reply's head.

Its order is that of ``_call``: encode, queue, token, send; ``_stream`` tells what comes behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from servingclient._call import Story
from servingclient._failures import TryFailed
from servingclient._ports import StreamedReply
from servingclient._prediction import header, request_id
from servingclient._running import Call
from servingclient._stream import OpenStream
from servingclient._types import Attempt, FaultKind, Reply, WireFault
from servingclient.errors import ResponseFormatError, ServingError
from servingclient.payload.decode import web_page
from servingclient.payload.pack import pack
from servingclient.policies.retry import settle

_OK: Final = 200


async def open_stream(
    story: Story,
    inputs: object,
    params: Mapping[str, object] | None,
    client_request_id: str | None,
    usage_context: Mapping[str, str] | None,
    served_model: str | None,
    timeout_s: float,
    idempotent: bool,  # noqa: FBT001
    priority: int,
) -> OpenStream:
    """Like ``Story.predict``, but returns at the head of a streamed reply.

    The time-out ends there; each piece of the stream then has ``Pool.stream_idle_s``.
    """
    now = story.world.now
    started_s = now()
    if story.fits:
        await story.learn(started_s + timeout_s, priority)
    call = story.begin(
        started_s,
        (inputs, params, client_request_id, usage_context),
        served_model,
        timeout_s,
        idempotent,
        priority,
        stream=True,
    )
    tracer = story.world.tracer
    if tracer is None:
        return await _opened(story, call)
    call.span = span = tracer.call_begun(story.endpoint, now() - started_s, "call")
    try:
        opened = await _opened(story, call)
    except BaseException as error:
        span.ended(call.attempts, error)
        raise
    span.left()
    return opened


async def _opened(story: Story, call: Call) -> OpenStream:
    now = story.world.now
    try:
        try:
            reply = await _try_open(story, call)
        except TryFailed as failed:
            reply = await story.failures.retry(call, failed, partial(_try_open, story))
    except ServingError as error:
        story.failures.told(call, error)
        raise
    except BaseException as error:
        story.failures.broken_off(call, error)
        raise
    story.world.recorder.note(now(), "attempt")
    settle(call.progress, story.world.quota, story.settings.retry)
    last = Attempt(_OK, call.advice.wait_s, None, now() - call.tried_s, request_id(reply.headers))
    return OpenStream(
        story.endpoint,
        story.world,
        call.started_s,
        call.queue_s,
        len(call.body.data),
        (*call.attempts, last),
        call.grant.secrets if call.grant else (),
        reply,
        call.span,
    )


async def _try_open(story: Story, call: Call) -> StreamedReply:
    """One try at a stream. Its place is kept until the stream is closed."""
    world = story.world
    gate = world.gate
    try:
        if not gate.try_enter():
            call.lined_up_s = world.now()
            size_bytes, again = len(call.body.data), call.had_turn
            await gate.enter(call.deadline_s, call.priority, size_bytes, again=again)
        try:
            grant = story.ready(call) or await story.obtain(call)
            target, data = grant.target, call.body.data
            if story.packs:  # never compressed: a stream is not the place to try it
                data, form = pack(data, story.settings.payload, gzip=False)
                target = target.carrying(form)
            if call.span is not None:
                target = call.span.carried(target)
            reply = await world.wire.open(
                target,
                data,
                story.try_deadline_s(call),
                max_idle_s=call.max_idle_s,
            )
            if reply.status != _OK:
                raise story.failures.of_reply(call, grant, await _whole(call, reply))
            await _check_events(story, call, reply)
        except BaseException:
            gate.leave()
            raise
    except WireFault as fault:
        raise story.failures.of_fault(call, fault) from None
    gate.answered(world.now() - call.tried_s)
    return reply


async def _check_events(story: Story, call: Call, reply: StreamedReply) -> None:
    kind = header(reply.headers, b"content-type")
    if kind is None or kind.lower().startswith("text/event-stream"):
        return
    await reply.aclose()
    shown = ascii(kind)[1:-1][:60]
    error = (
        web_page(shown)
        if "html" in kind.lower()
        else ResponseFormatError(
            f"{story.endpoint!r} answered with {shown} instead of a stream of events. Call "
            "predict(), or see whether the model can stream."
        )
    )
    story.failures.answered(call, error, reply.status, reply.headers)
    raise error


async def _whole(call: Call, reply: StreamedReply) -> Reply:
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
