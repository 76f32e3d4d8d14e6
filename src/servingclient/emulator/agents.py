"""Chat agents: an unwrapped reply, or a stream of events that ends in ``[DONE]``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from servingclient.emulator import json_text
from servingclient.emulator.wire import EVENT_STREAM, Reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servingclient.emulator.endpoints import EndpointSpec
    from servingclient.emulator.scoring import Parsed

DONE = b"data: [DONE]\n\n"


def reply(spec: EndpointSpec, parsed: Parsed, said: Any, request_id: str | None) -> Reply:
    """Answer with a chat completion, whole or as a stream of its words.

    A model that returns a dict, or a list of them for a stream, decides the shape itself.
    """
    common = {"id": f"chatcmpl-{request_id}", "created": int(time.time()), "model": spec.name}
    if parsed.stream:
        events = tuple(event(chunk) for chunk in _chunks(common, said))
        return Reply(
            200, b"", EVENT_STREAM, events=(*events, DONE), event_interval_s=spec.stream_interval_s
        )
    if isinstance(said, dict):
        return json_reply(200, said)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": str(said)},
        "finish_reason": "stop",
    }
    return json_reply(200, {**common, "object": "chat.completion", "choices": [choice]})


def event(chunk: object) -> bytes:
    """Return one event of a stream."""
    return b"data: " + json_text.dumps(chunk) + b"\n\n"


def _chunks(common: dict[str, object], said: Any) -> Iterator[object]:
    if isinstance(said, list):
        yield from said
        return
    words = str(said).split(" ")
    for place, word in enumerate(words):
        text = word if place == len(words) - 1 else f"{word} "
        delta = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
        yield {**common, "object": "chat.completion.chunk", "choices": [delta]}
    yield {
        **common,
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    }
