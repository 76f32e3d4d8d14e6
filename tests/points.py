"""Things that happen at chosen points of the library's code, and only where CPython lets them in.

A signal handler, or what another thread raises, runs as a function begins and as a call of C
returns; at the steps between two calls nothing does. A profile function is told of just these, and
what it raises is as if it came from there. (A loop that goes back is such a point too; it hardly
ever is the only one since the step before.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import servingclient

_ROOT = servingclient.__path__[0]
_NOT_OURS = (f"{_ROOT}/emulator/", f"{_ROOT}/payload/")
"""The emulator runs beside the client, and what encodes holds nothing that could be left behind."""


class Interrupted(BaseException):
    """What Ctrl-C is to the main thread."""


def interrupt() -> None:
    """Ctrl-C, where nobody handles it."""
    raise Interrupted


class Points:
    """Does something in the thread that runs ``during``, at the points chosen.

    Args:
        at: Which points, counted from 1; those behind the first count from the one before.
        act: What.
        within: The folder of the library's code whose points are counted.

    Attributes:
        struck: Where it was done.
    """

    def __init__(self, *at: int, act: Callable[[], object] = interrupt, within: str = "") -> None:
        self._at = list(at)
        self._act = act
        self._folder = f"{_ROOT}/{within}"
        self._points = 0
        self.struck: list[str] = []

    def during(self, act: Callable[[], object]) -> None:
        """Run ``act`` to its end, or to the interrupt that it passes on."""
        traced, profiled = sys.gettrace(), sys.getprofile()
        sys.settrace(self._rearmed)
        sys.setprofile(self._point)
        try:
            act()
        except Interrupted:
            pass
        finally:
            sys.setprofile(profiled)
            sys.settrace(traced)

    def _point(self, frame: FrameType, event: str, arg: object) -> None:
        if event not in ("call", "c_return") or not self._ours(frame):
            return
        self._points += 1
        if self._at and self._points == self._at[0]:
            del self._at[0]
            self._points = 0
            self.struck.append(f"{' > '.join(self._names(frame))}, line {frame.f_lineno}")
            self._act()

    def _rearmed(self, frame: FrameType, event: str, arg: object) -> Any:
        """A profile function that has raised is taken off, and is put back here."""
        if not self._ours(frame):
            return None
        if self._at and sys.getprofile() is None:
            sys.setprofile(self._point)
        return self._rearmed

    def _ours(self, frame: FrameType) -> bool:
        path = frame.f_code.co_filename
        return path.startswith(self._folder) and not path.startswith(_NOT_OURS)

    def _names(self, frame: FrameType | None) -> list[str]:
        """The functions of that code it is in, the outermost first."""
        names: list[str] = []
        while frame is not None and self._ours(frame):
            names.insert(0, frame.f_code.co_name)
            frame = frame.f_back
        return names
