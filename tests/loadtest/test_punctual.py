"""The loop of the generator: it ends what it began, and wakes when it is due."""

from __future__ import annotations

import asyncio
import selectors
import time

import pytest

from servingclient.loadtest import punctual


def test_what_is_left_is_cancelled_and_an_error_comes_out() -> None:
    ended: list[str] = []

    async def left() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("left")

    async def main() -> None:
        task = asyncio.ensure_future(left())
        await asyncio.sleep(0)
        assert not task.done()
        raise EOFError

    with pytest.raises(EOFError):
        punctual.run(main())
    assert ended == ["left"]


@pytest.mark.skipif(not hasattr(selectors, "EpollSelector"), reason="only epoll counts in ms")
def test_it_wakes_within_less_than_epolls_millisecond() -> None:
    async def main() -> None:
        for _ in range(200):
            due_s = time.monotonic() + 0.0011
            await asyncio.sleep(0.0011)
            late.append(time.monotonic() - due_s)

    late: list[float] = []
    punctual.run(main())
    # the least of many, which no busy machine can spoil: epoll would be told 2 ms each time
    assert 0.0 <= min(late) < 0.0005
