"""How far a load test is: the line on a terminal."""

from __future__ import annotations

import math
import os
from typing import Final, TextIO

from servingclient.loadtest import State
from servingclient.telemetry.table import count, rate, seconds

_LINE_ANEW: Final = "\r\x1b[2K"
_COLUMNS: Final = 80
"""Of a terminal that does not say."""


class LoadLine:
    """One line that is written again and again on a terminal, and every 10 s elsewhere.

    It is taken away at the end, however that comes: what is said next has a line of its own.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._said_s = -math.inf

    def __enter__(self) -> LoadLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and self._said_s >= 0.0:
            self._out.write(_LINE_ANEW)
            self._out.flush()

    def show(self, state: State) -> None:
        """Say how far it is."""
        if not self._live and 0.0 <= state.elapsed_s - self._said_s < 10.0:
            return
        self._said_s = state.elapsed_s
        last = state.last
        line = (
            f"{state.load.name}: {state.elapsed_s:.0f} of at most {state.seconds:.0f} s, "
            f"{count(state.calls)} calls, {count(state.errors.total())} failed, last second "
            f"{rate(last.answered)}/s, P99 {seconds(last.latency.quantile(0.99))}"
        )
        if self._live:  # a line that wraps is not taken away whole
            line = _LINE_ANEW + line[: _columns(self._out) - 1]
        else:
            line += "\n"
        self._out.write(line)
        self._out.flush()


def _columns(terminal: TextIO) -> int:
    try:
        return os.get_terminal_size(terminal.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS
