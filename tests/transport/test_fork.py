"""A forked child shares nothing with its parent (T4, F3).

Run in a process of its own: forking a test run with its threads is no test of anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

from tests.scripted.certificates import Authority
from tests.scripted.server import ScriptedServer, echo_after
from tests.transport.kit import LANES, WIRES

SCRIPT = textwrap.dedent(
    """
    import json, os, sys
    name, url, ca_file = sys.argv[1:]
    from servingclient._types import Origin
    from tests.transport.kit import Driver, answer_of, body_of, settings_of, target_at

    scheme, _, rest = url.partition("://")
    target = target_at(Origin(scheme, "127.0.0.1", int(rest)))
    driver = Driver(name, settings_of(ca_file=ca_file or None))

    def calls(who, count=50):
        outcome = {"right": 0, "wrong": 0, "errors": []}
        for n in range(count):
            try:
                answer = answer_of(driver.send(target, body_of(f"{who}-{n}")))
            except Exception as error:
                outcome["errors"].append(repr(error))
            else:
                outcome["right" if answer == f"{who}-{n}" else "wrong"] += 1
        return outcome

    def in_child(who):
        if driver.loop is not None:
            import asyncio
            from asyncio import events
            events._set_running_loop(None)
            driver.loop = asyncio.new_event_loop()
        return calls(who)

    assert calls("warm", 3)["right"] == 3
    readers = []
    for child in range(4):
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            os.close(read_end)
            try:
                text = json.dumps(in_child(f"child{child}"))
            except BaseException as error:
                text = json.dumps({"right": 0, "wrong": 0, "errors": [repr(error)]})
            os.write(write_end, text.encode())
            os._exit(0)
        os.close(write_end)
        readers.append(read_end)
    outcomes = [calls("parent")]
    for read_end in readers:
        with os.fdopen(read_end) as pipe:
            outcomes.append(json.loads(pipe.read()))
    for _ in readers:
        os.wait()
    outcomes.append(calls("after", 3))
    driver.close()
    print(json.dumps(outcomes))
    """
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", WIRES)
def test_T4_four_children_and_the_parent_get_their_own_answers(
    name: str, tls: bool, authority: Authority
):

    context = authority.good() if tls else None
    with ScriptedServer(echo_after(0.001), tls=context) as server:
        done = subprocess.run(
            [
                *(sys.executable, "-W", "error::ResourceWarning", "-c", SCRIPT),
                *(name, f"{server.scheme}://{server.port}", authority.ca_file if tls else ""),
            ],
            capture_output=True,
            text=True,
            timeout=18,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        *outcomes, after = json.loads(done.stdout)
        assert [outcome["wrong"] for outcome in outcomes] == [0] * 5
        assert [outcome["errors"] for outcome in outcomes] == [[]] * 5
        assert sum(outcome["right"] for outcome in outcomes) == 250
        assert after["right"] == 3
        if name in LANES:  # over httpx, Python 3.12 remarks on the thread that keeps deadlines
            assert done.stderr == ""
        assert "ResourceWarning" not in done.stderr
        assert len(server.connections) == 5  # the parent's own is still the one it warmed
