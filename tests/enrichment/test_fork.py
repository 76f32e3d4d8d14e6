"""A forked child keeps what was kept, and waits for none of its parent's threads.

Run in a process of its own: forking a test run with its threads is no test of anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

from tests.enrichment.kit import Held
from tests.scripted.server import ScriptedServer

SCRIPT = textwrap.dedent(
    """
    import asyncio, json, os, sys, threading, urllib.request
    colour, url = sys.argv[1:]
    from servingclient import AsyncEnrichmentClient, EnrichmentClient, EnrichmentSettings

    rules = EnrichmentSettings(allow_private_hosts=True, timeout_s=15)
    kind = EnrichmentClient if colour == "sync" else AsyncEnrichmentClient
    client = kind(url, ttl=0.001, settings=rules)
    kept = kind(url, ttl=600, settings=rules)
    loop = asyncio.new_event_loop()

    def run(found):
        return found if colour == "sync" else loop.run_until_complete(found)

    # a value that is kept, and a fetch under way at the fork
    run(kept.get("/kept"))
    if colour == "sync":
        asking = threading.Thread(target=lambda: client.get("/slow"), daemon=True)
        asking.start()
    else:
        asking = loop.create_task(client.get("/slow"))
    while not client._api.lookup.world.flights._flights:
        run(asyncio.sleep(0)) if colour == "async" else None
    if colour == "async":
        loop.run_until_complete(asyncio.sleep(0.05))
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        if colour == "async":
            asyncio.events._set_running_loop(None)
            loop = asyncio.new_event_loop()
        try:
            found = [run(kept.get("/kept")).source, run(client.get("/slow")).source]
        except BaseException as error:
            found = [repr(error)]
        os.write(write_end, json.dumps(found).encode())
        os._exit(0)
    os.close(write_end)
    print("forked", flush=True)
    with os.fdopen(read_end) as pipe:
        print(pipe.read(), flush=True)
    os.wait()
    asking.join() if colour == "sync" else loop.run_until_complete(asking)
    for one in (client, kept):
        run(one.close() if colour == "sync" else one.aclose())
    loop.close()
    """
)


class HeldOnce(Held):
    """Lets everything through but ``/slow``."""

    async def __call__(self, conn, request) -> None:
        if request.path != "/slow":
            conn.processed(request)
            from tests.enrichment.kit import told

            await conn.send(told(request))
        else:
            await super().__call__(conn, request)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_child_asks_itself(colour: str) -> None:
    held = HeldOnce()
    with ScriptedServer(held) as server:
        command = [sys.executable, "-W", "error::ResourceWarning", "-c", SCRIPT, colour]
        process = subprocess.Popen(
            [*command, f"http://127.0.0.1:{server.port}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            # the child's own request shows that it does not wait for the parent's
            server.wait_until(
                lambda: sum(one.path == "/slow" for one in server.requests) == 2, 12.0
            )
            held.free.set()
            printed, complaints = process.communicate(timeout=15)
        finally:
            held.free.set()
            process.kill()
            process.communicate()
    assert process.returncode == 0, complaints
    forked, found = printed.splitlines()
    assert forked == "forked"
    assert json.loads(found) == ["fresh", "origin"]
    assert "ResourceWarning" not in complaints
