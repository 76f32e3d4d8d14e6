"""Row 25: SIGTERM to a service with 64 calls in flight and 100 behind them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from servingclient.emulator import Emulator, faults
from tests.chaos.terminated import BATCHES, CALLS, FIRST, IN_FLIGHT

PROGRAM = Path(__file__).parent / "terminated.py"
LEAVES_S = 1.0
"""What a process may take beyond ``close_timeout``: for Python to end, too."""


GATHERING_S = 0.3
"""How long the calls before take: all others have lined up by then."""


class Ended(NamedTuple):
    """How a service ended.

    Attributes:
        took_s: From the signal until the process was gone.
        outcomes: What calls came to, and how many.
        wrong: Calls whose prediction was another's.
        sent: How often each row was sent.
    """

    took_s: float
    outcomes: Counter[str]
    wrong: list[int]
    sent: Counter[str]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(tls=False) as one:
        one.add_endpoint("echo", echo="id")
        yield one


def sent(emulator: Emulator) -> Counter[str]:
    """How often each row arrived, in whatever request."""
    bodies = (one.body or b"" for one in emulator.requests if one.kind == "invocation")
    return Counter(
        row for body in bodies for row in re.findall(rf"row-(?!{FIRST})\d+", body.decode())
    )


def terminate(emulator: Emulator, colour: str, kind: str, close_timeout_s: float) -> Ended:
    """Start the service, send it SIGTERM when all is under way, and read what it said."""
    command = [sys.executable, "-W", "error", str(PROGRAM), colour, kind]
    command += [emulator.host, emulator.token, str(close_timeout_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        assert emulator.wait_for(lambda: sum(sent(emulator).values()) >= IN_FLIGHT)
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said, complaints = process.communicate(timeout=close_timeout_s + 10.0)
        took_s = time.monotonic() - began_s
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, complaints
    assert complaints == ""
    found = json.loads(said)
    return Ended(took_s, Counter(found["outcomes"]), found["wrong"], sent(emulator))


COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
KINDS = pytest.mark.parametrize("kind", ["lanes", "httpx", "batched"])


@COLOURS
@KINDS
def test_row_25_sigterm_while_nothing_is_answered(
    emulator: Emulator, colour: str, kind: str
) -> None:
    close_timeout_s = 0.5
    emulator.script("echo", *[faults.slow(GATHERING_S)] * BATCHES)
    emulator.always("echo", faults.hang("after"))
    ended = terminate(emulator, colour, kind, close_timeout_s)
    assert ended.outcomes == {"ClientClosedError": CALLS}
    assert ended.took_s <= close_timeout_s + LEAVES_S
    assert max(ended.sent.values()) == 1
    assert len(ended.sent) == IN_FLIGHT, "who waited was not sent"


@COLOURS
@KINDS
def test_row_25_sigterm_while_answers_come(emulator: Emulator, colour: str, kind: str) -> None:
    close_timeout_s = 5.0
    emulator.script("echo", *[faults.slow(GATHERING_S)] * BATCHES)
    emulator.always("echo", faults.slow(0.7))
    ended = terminate(emulator, colour, kind, close_timeout_s)
    assert set(ended.outcomes) == {"answered", "ClientClosedError"}
    assert sum(ended.outcomes.values()) == CALLS
    assert ended.wrong == []
    assert ended.outcomes["answered"] >= IN_FLIGHT, "who was under way got the answer"
    assert ended.outcomes["answered"] == len(ended.sent)
    assert max(ended.sent.values()) == 1
    assert ended.took_s <= 0.7 + LEAVES_S, "no longer than the answers take"
