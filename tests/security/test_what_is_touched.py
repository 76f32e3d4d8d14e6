"""What arrives stays small, and a call touches no file and unpickles nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import ServingError, Settings
from servingclient.emulator import Emulator, faults
from servingclient.settings import Pool, Retry
from tests.doors.kit import Door, principal
from tests.enrichment.kit import LOCAL
from tests.enrichment.kit import Door as ApiDoor
from tests.reliability.kit import TOKEN, calls
from tests.scripted import bodies
from tests.scripted.server import ScriptedServer, echo

MIB = 1 << 20
RULES = Settings(retry=Retry(max_attempts=1), pool=Pool(max_reply_bytes=4 * MIB), timeout_s=10.0)
MOST_MIB = 24
"""Six times the limit of a reply: pieces, what they make joined, and what they came in."""


def bomb(status: int) -> faults.Fault:
    body = bodies.bomb(64).partition(b"\r\n\r\n")[2]
    return faults.answer(status, body, headers={"content-encoding": "gzip"}, executed=True)


def error_body(door: Door, emulator: Emulator) -> object:
    emulator.always("demo", bomb(500))
    return door.predict(door.open("demo", principal(emulator), RULES))


def login(door: Door, emulator: Emulator) -> object:
    emulator.token_always(bomb(200))
    return door.predict(door.open("demo", principal(emulator), RULES))


def external(door: Door, emulator: Emulator) -> object:
    apis = ApiDoor(door.colour)
    rules = LOCAL.replace(max_value_bytes=4 * MIB, retry=Retry(max_attempts=1))
    try:
        with ScriptedServer(bodies.bomb(64)) as api:
            client = apis.open(api, rules)
            return apis.run(client.get("/a"))
    finally:
        apis.end()


def description(door: Door, emulator: Emulator) -> object:
    """A call goes on without one, the standard way."""
    emulator.describe_always(bomb(200))
    door.predict(door.open("demo", principal(emulator), RULES))
    raise ServingError("the call succeeded")


@pytest.mark.parametrize("way", [error_body, login, external, description])
def test_T13_a_bomb_of_any_other_reply_stays_small(
    door: Door, emulator: Emulator, way: Callable[[Door, Emulator], Any]
) -> None:
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(ServingError):
            way(door, emulator)
        grown_mib = (tracemalloc.get_traced_memory()[1] - before) / MIB
    finally:
        tracemalloc.stop()
    assert grown_mib < MOST_MIB


CALLER = """
import os, sys
import servingclient.bulk, servingclient.batching, servingclient.enrichment
from servingclient import EnrichmentClient, EnrichmentSettings, ServingClient, Settings
from servingclient.settings import Batching

host, token = sys.argv[1:]
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
seen = []

def hear(event, args):
    if event == "open" and args[2] & writing and args[0] != os.devnull:
        seen.append(f"{event} {args[0]}")
    elif event.startswith(("pickle.", "subprocess.", "os.system", "os.exec", "os.posix_spawn")):
        seen.append(event)
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.chmod", "socket.bind"):
        seen.append(f"{event} {args[0]}")

sys.addaudithook(hear)
batched = Settings(batching=Batching())
with ServingClient("m", host=host, token=token, settings=batched) as client:
    client.predict([{"a": 1.0}])
    list(client.map([{"a": 1.0}]))
local = EnrichmentSettings(allow_private_hosts=True)
with EnrichmentClient(host, ttl=60, auth=token, settings=local) as api:
    api.post("/a", json={"id": "1"})
    api.get("/a")
try:
    ServingClient("m", host=host, token=token + "\\n")
except ValueError:
    pass
print(seen)

import pickle, tempfile
tempfile.TemporaryFile().close()
pickle.loads(pickle.dumps(print))
print({"open", "pickle.find_class"} <= {event.split()[0] for event in seen})
"""


def test_A6_a_call_writes_no_file() -> None:
    """Nor does it start a process, listen, or unpickle; key logs of the environment among it."""
    with ScriptedServer(calls(echo())) as server:
        environment = {"SSLKEYLOGFILE": "keys.log", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", CALLER, f"http://127.0.0.1:{server.port}", TOKEN],
            capture_output=True,
            text=True,
            timeout=18,
            check=False,
            env=dict(os.environ) | environment,  # noqa: TID251 - a process of its own
        )
    assert done.returncode == 0, done.stderr
    nothing, control = done.stdout.splitlines()
    assert nothing == "[]"
    assert control == "True", "what is looked for is heard"
