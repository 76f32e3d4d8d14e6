"""The line of a load test under way: one on a terminal, gone before anything else is said."""

from __future__ import annotations

import io
import os
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from servingclient.cli import loadtest as cli_loadtest
from servingclient.cli import main
from servingclient.cli.load_line import LoadLine
from servingclient.errors import Throttled
from servingclient.loadtest import Goal, LoadGenerator, LoadTest, State
from servingclient.loadtest.arrivals import Profile
from servingclient.loadtest.crew import Shown
from servingclient.loadtest.load import OpenLoad
from servingclient.loadtest.series import Second

ANEW = "\r\x1b[2K"


class Terminal(io.StringIO):
    """It has no file, so it does not say how wide it is."""

    def isatty(self) -> bool:
        return True


def under_way() -> State:
    load = OpenLoad(Profile.constant(100.0, 60.0))
    return State(load, 30.2, 60.0, 3000, Counter(Throttled=7), Second())


@pytest.mark.parametrize("end", [None, Throttled("no room"), KeyboardInterrupt()])
def test_the_progress_line_is_gone_before_anything_else_is_said(
    end: BaseException | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Generator(LoadGenerator):
        def __init__(self, endpoint: str, *, shown: Shown, **given: Any) -> None:
            self.shown = shown

        def run(self, *loads: Any) -> LoadTest:
            self.shown(under_way())
            if end is not None:
                raise end
            return LoadTest("demo", Goal(), ())

        def close(self) -> None:
            pass

    rows = tmp_path / "rows.csv"
    rows.write_text("a,b\n1,2\n")
    screen = Terminal()  # a terminal shows both outputs
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr(cli_loadtest, "LoadGenerator", Generator)
    assert main(["loadtest", "demo", "--payload", str(rows), "--qps", "100"]) != 0
    asking, shown, told = screen.getvalue().split(ANEW)
    assert asking.endswith("\n")
    assert shown.startswith("100 calls/s, poisson: 30 of at most 60 s, 3,000 calls, 7 failed")
    assert len(shown) < 80
    assert bool(told.strip()) == (not isinstance(end, KeyboardInterrupt))


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_the_progress_line_fits_the_terminal() -> None:
    import fcntl
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with os.fdopen(theirs, "w") as screen:
        with LoadLine(screen) as progress:
            progress.show(under_way())
        shown = ""
        while shown.count(ANEW) < 2:  # a terminal hands on what was written in parts
            shown += os.read(ours, 4096).decode()
    os.close(ours)
    anew, line, end = shown.split(ANEW)
    assert (anew, end) == ("", "")
    assert line == "100 calls/s, poisson: 30 of at most 60 "[:39]


def test_elsewhere_than_on_a_terminal_progress_is_whole_lines() -> None:
    out = io.StringIO()
    with LoadLine(out) as progress:
        progress.show(under_way())
        progress.show(under_way()._replace(elapsed_s=31.0))
    (line,) = out.getvalue().splitlines()
    assert line.endswith("P99 –")
