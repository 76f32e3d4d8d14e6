"""What a client does beside its calls: get ready for them, and tell what an input would weigh."""

from __future__ import annotations

from collections.abc import Mapping

from servingclient import _ahead, _explain
from servingclient._call import Story
from servingclient._types import WireFault
from servingclient.errors import ServingError
from servingclient.payload.explain import Subject, explained
from servingclient.payload.report import Explanation


async def explain(
    story: Story,
    inputs: object,
    params: Mapping[str, object] | None,
    client_request_id: str | None,
    usage_context: Mapping[str, str] | None,
    served_model: str | None,
    timeout_s: float,
    priority: int,
) -> Explanation:
    """How ``inputs`` would become a request; the doors say what each argument is."""
    world, settings = story.world, story.settings
    deadline_s = world.now() + timeout_s
    limit_bytes = settings.payload.max_request_bytes
    if limit_bytes is None:
        limit_bytes = await _ahead.limit_bytes(world, served_model, deadline_s, priority)
    await story.learn(deadline_s, priority)
    given = (inputs, params, client_request_id, usage_context)
    began_s = world.now()
    body = story.encoded(given, served_model)
    subject = Subject(
        story.endpoint,
        *given,
        served_model,
        body,
        world.now() - began_s,
        world.access.schema if story.fits else None,
        limit_bytes,
        settings.bulk,
        world.compression.state,
    )
    return explained(subject, settings.payload)


async def warmup(story: Story, timeout_s: float) -> None:
    """Have route, token and connections at hand before the first call."""
    world = story.world
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
                count = max(1, story.settings.pool.prewarm)
                await world.wire.warm(grant.target.origin, count, deadline_s)
            finally:
                gate.leave()
        except WireFault as fault:
            spent_s = world.now() - started_s
            raise _explain.fault_error(
                fault, story.endpoint, 0, spent_s=spent_s, in_time=spent_s < timeout_s
            ) from None
    except ServingError as error:
        error.endpoint = story.endpoint
        error.elapsed_s = world.now() - started_s
        raise
