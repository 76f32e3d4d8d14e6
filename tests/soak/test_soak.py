"""Short forms of ``make soak``, and proof that its instruments see what they are there for."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from tests.soak.gauges import slope_mb
from tests.soak.parts import PARTS
from tests.soak.verdicts import Verdict

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python of its own: what it holds is what the soak made."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.timeout(120)
def test_some_seconds_leave_nothing_behind() -> None:
    # in development mode: asyncio's own checks, and warnings about what was never closed
    some = ("tasks", "threads", "mixed, tasks", "churn")
    done = python("-X", "dev", "-m", "tests.soak.run", "--minutes", "0.012", "--only", *some)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert all(name in done.stdout for name in some)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_some_minutes_keep_every_bound() -> None:
    done = python("-m", "tests.soak.run", "--minutes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(name in done.stdout for name in PARTS)


LEAKING = """
import sys
from tests.soak import callers, run
kept, init = [], callers.Rows.__init__
callers.Rows.__init__ = lambda self, rows: (init(self, rows), kept.append((self, bytes(5000))))[0]
sys.argv = ["run", "--minutes", "0.04", "--only", "mixed, tasks"]
sys.exit(run.main())
"""


@pytest.mark.soak
@pytest.mark.timeout(120)
def test_a_leak_is_noticed() -> None:
    done = python("-c", LEAKING)
    assert done.returncode == 1, done.stderr
    missed = [line for line in done.stdout.splitlines() if "MISSED" in line]
    assert any("inputs that errors pinned" in line for line in missed)


UNSEEN = """
import asyncio, socket, threading
from tests.soak.gauges import watched

class Broken:
    def __del__(self): raise ValueError("in a finaliser")

async def forgotten():
    asyncio.get_running_loop().create_future().set_exception(ValueError("never retrieved"))
    await asyncio.sleep(0)

with watched() as unseen:
    socket.socket()
    Broken()
    asyncio.run(forgotten())
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
print("\\n".join(unseen.found))
"""


def test_what_nobody_sees_is_seen() -> None:
    seen = python("-c", UNSEEN).stdout
    for kind in ("ResourceWarning", "unraisable", "asyncio: Future exception", "thread: Zero"):
        assert kind in seen


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    line = [(1_000.0 * n, 60.0 + 0.2 * n) for n in range(30)]
    assert slope_mb(line, 10_000) == pytest.approx(2.0)
    assert slope_mb([(calls, 60.0) for calls, _ in line], 10_000) == 0.0
    assert slope_mb(line[:1], 10_000) == 0.0


def test_a_figure_beyond_a_bound_is_a_miss() -> None:
    assert Verdict("p", "w", 1.0, least=1.0, most=1.0).good
    assert Verdict("p", "w", 1.0).good
    assert not Verdict("p", "w", 0.9, least=1.0).good
    assert not Verdict("p", "w", 1.1, most=1.0).good
    assert not Verdict("p", "w", math.nan, most=1.0).good
    assert "MISSED" in str(Verdict("p", "w", 1.1, most=1.0))
    assert "MISSED" not in str(Verdict("p", "w", 1.1))
