"""How far a bulk job is: a bar in a terminal, one cell updated in place in a notebook, else lines.

rich and IPython are imported only where a display needs them and they are there. A display that
fails is given up: it costs no job.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol

_log = logging.getLogger("servingclient.bulk")

_EVERY_S = 0.25
"""A notebook keeps each update it is sent until it is drawn; four a second is as fast as one reads.
"""
_LINE_EVERY_S = 10.0
"""Lines stay, so there are few of them."""


class Figures(NamedTuple):
    """Where a job stands.

    Attributes:
        done: Rows with a prediction or an error.
        total: All rows; None where that is not known.
        failed: Rows with an error.
        restored: Rows whose prediction came from a checkpoint.
        elapsed_s: Seconds since the start.
    """

    done: int
    total: int | None
    failed: int
    restored: int
    elapsed_s: float

    @property
    def per_s(self) -> float:
        """Rows a second, without those that came from a checkpoint."""
        return (self.done - self.restored) / self.elapsed_s if self.elapsed_s > 0.0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at that rate; None while nothing tells."""
        if self.total is None or self.per_s <= 0.0:
            return None
        return (self.total - self.done) / self.per_s

    def __str__(self) -> str:
        of_all = "" if self.total is None else f" of {self.total:,}"
        parts = [f"{self.done:,}{of_all} rows", f"{self.per_s:,.0f} rows/s"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.restored:
            parts.append(f"{self.restored:,} from the checkpoint")
        if self.left_s:
            parts.append(f"{clock_time(self.left_s)} left")
        return ", ".join(parts)


def clock_time(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Screen(Protocol):
    """Somewhere to show figures."""

    every_s: float
    """How often to."""

    def show(self, figures: Figures) -> None:
        """Put these in the place of the ones before."""

    def close(self) -> None:
        """Leave the last ones standing."""


class Display:
    """Shows the figures of one job, not too often.

    Args:
        total: All rows; None where that is not known.
        now: Seconds on a clock that never jumps.
        choose: Finds a screen.
    """

    def __init__(
        self,
        total: int | None,
        now: Callable[[], float],
        choose: Callable[[], Screen] | None = None,
    ) -> None:
        self._total = total
        self._now = now
        self._choose = choose or screen
        self._screen: Screen | None = None
        self._failed = False
        self._began_s = self._next_s = now()
        self._figures: Figures | None = None

    def update(self, done: int, failed: int, restored: int) -> None:
        """Say where the job stands."""
        now_s = self._now()
        if self._screen is None:
            self._began_s = now_s
        self._figures = Figures(done, self._total, failed, restored, now_s - self._began_s)
        if now_s >= self._next_s:
            self._show()
            self._next_s = now_s + (_EVERY_S if self._screen is None else self._screen.every_s)

    def close(self) -> None:
        """Show the last figures and end."""
        if self._screen is not None:
            self._show()
            self._quietly(self._screen.close)

    def _show(self) -> None:
        figures = self._figures
        if figures is not None:
            self._quietly(lambda: self._on_screen().show(figures))

    def _on_screen(self) -> Screen:
        if self._screen is None:
            self._screen = self._choose()
        return self._screen

    def _quietly(self, act: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            act()
        except Exception as error:  # noqa: BLE001 - nobody loses a job over a bar
            self._failed = True
            _log.warning("progress_failed error=%r", error)


# ------------------------------------------------------------------------------- screens


def screen() -> Screen:
    """The best one there is here."""
    if _in_notebook():
        return NotebookScreen()
    if sys.stderr.isatty():
        try:
            return RichScreen()
        except ImportError:
            pass
    return LinesScreen()


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


class NotebookScreen:
    """One output of a notebook's cell, updated in place."""

    every_s = _EVERY_S

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, figures: Figures) -> None:
        """See ``Screen.show``."""
        share = f' value="{figures.done}" max="{figures.total}"' if figures.total else ""
        data = {
            "text/plain": str(figures),
            "text/html": f"<progress{share} style='width:20em'></progress> {figures}",
        }
        if self._handle is None:
            display = import_module("IPython.display").display
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def close(self) -> None:
        """See ``Screen.close``."""


class RichScreen:
    """A bar in a terminal, on the error output."""

    every_s = _EVERY_S

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        # without a thread of its own, which would outlive an iterator nobody closes
        self._progress = Progress(
            BarColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            auto_refresh=False,
        )
        self._task = self._progress.add_task("", total=None)
        self._progress.start()

    def show(self, figures: Figures) -> None:
        """See ``Screen.show``."""
        self._progress.update(
            self._task,
            total=figures.total,
            completed=figures.done,
            description=str(figures),
            refresh=True,
        )

    def close(self) -> None:
        """See ``Screen.close``."""
        self._progress.stop()


class LinesScreen:
    """A line now and then, on the error output."""

    every_s = _LINE_EVERY_S

    def show(self, figures: Figures) -> None:
        """See ``Screen.show``."""
        if figures.done:
            sys.stderr.write(f"map: {figures}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """See ``Screen.close``."""
