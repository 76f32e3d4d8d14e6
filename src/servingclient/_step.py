"""Run a coroutine that never suspends.

The story of a call is written once, as ``async def``. The async client awaits it; the sync client
steps it: its ports block instead of suspending, so one ``send(None)`` runs it to its end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run ``story`` to its end in the calling thread and return its result.

    Raises:
        RuntimeError: The coroutine suspended: a port that belongs to asyncio leaked in.
    """
    try:
        leaked = story.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    story.close()
    raise RuntimeError(f"a blocking call suspended on {leaked!r}; an async port leaked into it")


def iterate(stream: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """Step an async generator whose waits block, one item at a time; it is closed with this one."""
    try:
        while True:
            try:
                item = run(_next(stream))
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(stream.aclose())


async def _next(stream: AsyncGenerator[T, None]) -> T:
    return await stream.__anext__()
