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
from typing import Any, NamedTuple

import pytest

from servingclient.emulator import Emulator, faults
from tests.chaos.form import Form
from tests.chaos.judge import Judge
from tests.chaos.terminated import BATCHES, CALLS, FIRST, IN_FLIGHT
from tests.scripted.server import eventually

PROGRAM = Path(__file__).parent / "terminated.py"
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


def in_flight(kind: str) -> int:
    """Requests that carry the 64 rows."""
    return BATCHES if kind == "batched" else IN_FLIGHT


def terminate(
    emulator: Emulator, colour: str, kind: str, close_timeout_s: float, *, answered: bool
) -> Ended:
    """Start the service, send it SIGTERM when all is under way, and read what it said.

    The requests wait at the endpoint, and are answered right after the signal or never.
    """
    emulator.script("echo", *[faults.slow(GATHERING_S)] * BATCHES)
    command = [sys.executable, "-W", "error", str(PROGRAM), colour, kind]
    command += [emulator.host, emulator.token, str(close_timeout_s)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n", process.communicate()
        assert emulator.wait_for(lambda: emulator.executions("echo")[None] == BATCHES)
        emulator.change_endpoint("echo", slots=0, queue=CALLS)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n", process.communicate()
        capacity, requests = emulator._endpoint("echo").capacity, in_flight(kind)
        assert emulator.wait_for(lambda: capacity.waiting == requests)
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        if answered:
            emulator.change_endpoint("echo", slots=None)
        said, complaints = process.communicate(timeout=close_timeout_s + 10.0)
        took_s = time.monotonic() - began_s
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, complaints
    assert complaints == ""
    found = json.loads(said)
    emulator.change_endpoint("echo", slots=None)  # what waits there is run, and so told of
    assert eventually(lambda: not capacity.running and not capacity.waiting, 5.0)
    return Ended(took_s, Counter(found["outcomes"]), found["wrong"], sent(emulator))


def ways(*default: tuple[str, str]) -> Any:
    """All clients; those given are part of the default suite."""
    every = [(c, k) for c in ("sync", "async") for k in ("lanes", "httpx", "batched")]
    return pytest.mark.parametrize(
        ("colour", "kind"),
        [pytest.param(*one, marks=() if one in default else pytest.mark.soak) for one in every],
    )


def leaves_s(form: Form) -> float:
    """What a process may take beyond ``close_timeout``: for Python to end, too."""
    return 1.0 if form.is_long else 8.0


def close_timeout_s(form: Form) -> float:
    """5 s, the default."""
    return form.scaled_s(5.0)


@ways(("async", "batched"))
def test_chaos_25_sigterm_while_nothing_is_answered(
    request: pytest.FixtureRequest, form: Form, emulator: Emulator, colour: str, kind: str
) -> None:
    limit_s = close_timeout_s(form)
    with Judge(25, f"{colour} {kind} no answers", request.node.user_properties) as judge:
        ended = terminate(emulator, colour, kind, limit_s, answered=False)
        judge.exactly("outcomes", dict(ended.outcomes), {"ClientClosedError": CALLS})
        judge.at_most("exit s", ended.took_s, limit_s + leaves_s(form))
        judge.exactly("rows sent", len(ended.sent), IN_FLIGHT)
        judge.at_most("times a row", max(ended.sent.values()), 1)


@ways(("sync", "lanes"))
def test_chaos_25_sigterm_while_answers_come(
    request: pytest.FixtureRequest, form: Form, emulator: Emulator, colour: str, kind: str
) -> None:
    limit_s = 5.0
    with Judge(25, f"{colour} {kind} answers", request.node.user_properties) as judge:
        ended = terminate(emulator, colour, kind, limit_s, answered=True)
        # an answer may be quicker than the signal, and let in whoever waited next
        judge.exactly("resolved", sum(ended.outcomes.values()), CALLS)
        judge.exactly("others", set(ended.outcomes) - {"answered", "ClientClosedError"}, set())
        judge.at_least("answered", ended.outcomes["answered"], IN_FLIGHT)
        judge.exactly("wrong", ended.wrong, [])
        judge.exactly("sent for nothing", len(ended.sent) - ended.outcomes["answered"], 0)
        judge.at_most("times a row", max(ended.sent.values()), 1)
        judge.at_most("exit s", ended.took_s, limit_s + leaves_s(form))
