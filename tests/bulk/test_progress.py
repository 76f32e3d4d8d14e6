"""What a job shows of itself: not too often, where one looks, and never at the job's cost."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from servingclient.bulk import progress
from servingclient.bulk.progress import (
    Display,
    Figures,
    LinesScreen,
    NotebookScreen,
    RichScreen,
    Screen,
    clock_time,
    screen,
)
from servingclient.emulator import Emulator
from tests.bulk.kit import mapped
from tests.doors.kit import Door, pat


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Seen:
    """A screen that remembers."""

    every_s = 0.25

    def __init__(self, fails: bool = False) -> None:
        self.figures: list[Figures] = []
        self.closed = 0
        self.fails = fails

    def show(self, figures: Figures) -> None:
        self.figures.append(figures)
        if self.fails:
            raise RuntimeError("the terminal is gone")

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        (Figures(0, None, 0, 0, 0.0), "0 rows, 0 rows/s"),
        (Figures(5000, None, 0, 0, 2.0), "5,000 rows, 2,500 rows/s"),
        (
            Figures(5000, 20000, 3, 0, 2.0),
            "5,000 of 20,000 rows, 2,500 rows/s, 3 failed, 0:06 left",
        ),
        (
            Figures(15000, 20000, 0, 10000, 2.0),
            "15,000 of 20,000 rows, 2,500 rows/s, 10,000 from the checkpoint, 0:02 left",
        ),
        (Figures(20000, 20000, 0, 0, 2.0), "20,000 of 20,000 rows, 10,000 rows/s"),
    ],
)
def test_figures_in_words(figures: Figures, text: str) -> None:
    assert str(figures) == text


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3725, "1:02:05")]
)
def test_times_in_words(seconds: float, shown: str) -> None:
    assert clock_time(seconds) == shown


def test_no_more_than_four_updates_a_second() -> None:
    clock, seen = Clock(), Seen()
    display = Display(1000, clock, lambda: seen)
    for done in range(1000):
        display.update(done, 0, 0)
        clock.now_s += 0.01
    assert 38 <= len(seen.figures) <= 41
    display.close()
    assert seen.figures[-1].done == 999, "the last figures are shown whenever they came"
    assert seen.closed == 1


def test_a_screen_that_fails_is_given_up() -> None:
    clock, seen = Clock(), Seen(fails=True)
    display = Display(None, clock, lambda: seen)
    for _ in range(3):
        clock.now_s += 1.0
        display.update(1, 0, 0)
    display.close()
    assert len(seen.figures) == 1


def test_no_screen_is_no_harm() -> None:
    def none() -> Screen:
        raise ImportError("no such library")

    display = Display(None, Clock(), none)
    display.update(1, 0, 0)
    display.close()


# -- screens ---------------------------------------------------------------------------------------


class Handle:
    def __init__(self) -> None:
        self.updates: list[dict[str, str]] = []

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.updates.append(data)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """IPython as a notebook's kernel has it; the list fills with what was displayed."""
    shown: list[Any] = []

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        shown.append(data)
        shown.append(Handle())
        return shown[-1]

    ipython = types.ModuleType("IPython")
    shell = types.SimpleNamespace(kernel=object())
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    module = types.ModuleType("IPython.display")
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


def test_a_notebook_gets_one_output_that_changes(notebook: list[Any]) -> None:
    chosen = screen()
    assert isinstance(chosen, NotebookScreen)
    chosen.show(Figures(10, 100, 0, 0, 1.0))
    chosen.show(Figures(60, 100, 0, 0, 2.0))
    chosen.close()
    first, handle = notebook
    assert first["text/plain"] == "10 of 100 rows, 10 rows/s, 0:09 left"
    assert 'value="10" max="100"' in first["text/html"]
    (second,) = handle.updates
    assert 'value="60" max="100"' in second["text/html"]


def test_a_plain_shell_is_no_notebook(notebook: list[Any]) -> None:
    del sys.modules["IPython"].get_ipython().kernel
    assert isinstance(screen(), LinesScreen)


def test_a_terminal_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    chosen = screen()
    assert isinstance(chosen, RichScreen)
    chosen.show(Figures(25, 100, 1, 0, 1.0))
    chosen.close()
    assert "25 of 100 rows, 25 rows/s, 1 failed, 0:03 left" in capsys.readouterr().err


def test_a_terminal_without_rich_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for name in ("rich.console", "rich.progress"):
        monkeypatch.setitem(sys.modules, name, None)
    assert isinstance(screen(), LinesScreen)


def test_anything_else_gets_lines_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    display = Display(None, clock)
    for done in range(100):
        display.update(done, 0, 0)
        clock.now_s += 0.5
    display.close()
    lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 7
    assert lines[-1].startswith("map: 99 rows, ")


# -- whole -----------------------------------------------------------------------------------------


ROWS = [{"a": float(n), "b": 0.0} for n in range(100)]


def test_a_job_shows_how_far_it_is(
    door: Door, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    client = door.open("demo", pat(emulator))
    assert len(mapped(door, client, ROWS, progress=True)) == 100
    assert "map: 100 of 100 rows" in capsys.readouterr().err
    assert len(mapped(door, client, ROWS)) == 100
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda: Seen(fails=True), id="fails to show"),
        pytest.param(lambda: 1 / 0, id="fails to open"),
    ],
)
def test_a_broken_display_costs_no_row(
    door: Door, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, broken: Callable[[], Screen]
) -> None:
    monkeypatch.setattr(progress, "screen", broken)
    client = door.open("demo", pat(emulator))
    assert len(mapped(door, client, ROWS, progress=True, rows_per_request=10)) == 100
