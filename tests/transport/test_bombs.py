"""A small reply that decodes to a huge one costs neither memory nor time (T13, F5; input 50)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.scripted import bodies
from tests.scripted.server import ScriptedServer, reply
from tests.transport.kit import WIRES


def cost(name: str, server: ScriptedServer) -> dict[str, Any]:
    """What reading the server's second reply costs a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.transport.bomb", name, str(server.port)],
        capture_output=True,
        text=True,
        timeout=18,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", WIRES)
def test_T13_input_50_a_bomb_is_too_large_and_stays_small(name: str):
    bomb = bodies.bomb(1024)
    assert 900_000 < len(bomb) < 1_300_000
    with ScriptedServer([reply(), bomb]) as server:
        found = cost(name, server)
    assert found["outcome"] == "too_large"
    assert found["grown_mib"] <= 96
    assert found["took_s"] <= 2


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("coding", ["br", "zstd", "foo"])
def test_T13_an_unasked_coding_is_refused_without_decoding(name: str, coding: str):
    with ScriptedServer([reply(), bodies.UNASKED_CODINGS[coding]]) as server:
        found = cost(name, server)
    assert found["outcome"] == "unreadable"
    assert found["grown_mib"] <= 8
