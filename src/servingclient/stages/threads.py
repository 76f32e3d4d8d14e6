"""The caller's functions in the calling thread: the blocking client's."""

from __future__ import annotations

from typing import Any

from servingclient.errors import ClientClosedError
from servingclient.stages.functions import Stage, stopped


def closed() -> ClientClosedError:
    """The error of a call that comes too late."""
    return ClientClosedError("The client is closed. Keep it open while calls run.")


class ThreadHands:
    """See ``staging.Hands``."""

    def __init__(self) -> None:
        self._closed = False

    def begin(self) -> None:
        """See ``Hands.begin``."""
        if self._closed:
            raise closed()

    def end(self) -> None:
        """See ``Hands.end``."""

    async def run(self, stage: Stage, arguments: tuple[Any, ...], left_s: float) -> Any:
        """See ``Hands.run``; a function that blocks cannot be ended."""
        try:
            return stage.function(*arguments)
        except StopIteration as error:
            raise stopped(stage) from error

    def refuse(self) -> None:
        """Begin nothing more."""
        self._closed = True
