"""The example service as it is run: several worker processes, callers on sockets, a SIGTERM."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from servingclient import ServingClient
from servingclient.emulator import Emulator, faults

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "service"
WORKERS = 2
UVICORN = ["uvicorn", "--host", "127.0.0.1", "--port", "0", "--timeout-worker-healthcheck", "60"]
GUNICORN = ["gunicorn", "--preload", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:0"]
ADDRESS = re.compile(r"(?:running on|Listening at:) (http://127\.0\.0\.1:\d+)")

pytestmark = [pytest.mark.checkout, pytest.mark.timeout(60)]  # four interpreters start


class Model:
    """The model behind the service: its answer is the amount again; it knows what it was asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def __call__(self, rows: list[Any]) -> list[float]:
        self.asked += [row["amount"] for row in rows]
        return [row["amount"] for row in rows]


@contextmanager
def running(command: list[str], emulator: Emulator) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The service's parent process, and where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--workers", str(WORKERS), "short_notice:app"],
        env={
            "DATABRICKS_HOST": emulator.host,
            "DATABRICKS_TOKEN": emulator.token,
            "PYTHONPATH": f"{HERE}:{EXAMPLE}",
            "PATH": "/usr/bin:/bin",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    found = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if ADDRESS.search(line):
                found.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert found.wait(20), "".join(said)
        (address,) = ADDRESS.findall("".join(said))
        yield process, address
    finally:
        process.terminate()
        process.wait(15)
        reader.join(5)
        assert process.stderr is not None
        process.stderr.close()


async def until_ready(caller: httpx.AsyncClient) -> None:
    """All workers answer that they are ready; each asks on a connection of its own."""
    pids: set[int] = set()
    while len(pids) < WORKERS:
        try:
            pids.add((await caller.get("/pid", headers={"Connection": "close"})).json())
            ready = await caller.get("/readyz")
        except httpx.TransportError:
            continue
        assert ready.status_code == 200


def test_the_endpoint_of_the_example() -> None:
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE / "endpoint.py")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().split("=") for _ in range(2)]
        said = {name.removeprefix("export "): value.strip() for name, value in lines}
        who = {"host": said["DATABRICKS_HOST"], "token": said["DATABRICKS_TOKEN"]}
        with ServingClient("fraud-model", **who) as client:
            assert client.predict([{"amount": 1000.0, "country": 1}]).predictions == [0.5]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


@pytest.mark.parametrize("command", [UVICORN, GUNICORN], ids=["uvicorn", "gunicorn"])
async def test_a_service_of_two_workers(command: list[str]) -> None:
    model = Model()
    amounts = itertools.count(1)
    with Emulator(tls=False) as emulator:
        emulator.add_endpoint("fraud-model", model, slots=64)
        with running(command, emulator) as (process, address):
            async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=10) as caller:
                await until_ready(caller)

                async def score(amount: float, **lines: str) -> httpx.Response:
                    given = [{"amount": amount, "country": 1}]
                    return await caller.post("/score", json=given, headers=lines)

                # each gets its own answer
                async def ask(count: int) -> None:
                    for amount in itertools.islice(amounts, count):
                        reply = await score(amount)
                        assert reply.json()["risks"] == [amount]

                await asyncio.gather(*(ask(20) for _ in range(8)))

                # the caller's time
                emulator.always("fraud-model", faults.hang())
                reply = await score(0.5, **{"X-Request-Timeout": "0.2"})
                assert (reply.status_code, reply.json()["error"]) == (504, "DeadlineExceeded")

                # the endpoint's limit
                emulator.always("fraud-model", faults.throttled(retry_after=9))
                reply = await score(0.5)
                assert (reply.status_code, reply.headers["retry-after"]) == (429, "9")

                # the end, with calls under way and more to come
                emulator.always("fraud-model", faults.slow(0.1))
                model.asked.clear()
                answered: list[float] = []
                outcomes: Counter[int | str] = Counter()

                async def go_on() -> None:
                    for amount in amounts:
                        try:
                            reply = await score(amount)
                        except httpx.ConnectError:
                            return
                        except httpx.TransportError:  # came as the sockets closed
                            outcomes["not accepted"] += 1
                            continue
                        outcomes[reply.status_code] += 1
                        if reply.status_code == 200:
                            assert reply.json()["risks"] == [amount]
                            answered.append(amount)

                async def watch() -> list[Any]:
                    seen = []
                    async with httpx.AsyncClient(base_url=address, trust_env=False) as prober:
                        while True:
                            try:
                                reply = await prober.get("/readyz", headers={"Connection": "close"})
                            except httpx.TransportError:
                                return seen
                            seen.append((reply.status_code, reply.json()["endpoints"]))
                            await asyncio.sleep(0.02)

                load = [asyncio.create_task(go_on()) for _ in range(8)]
                await asyncio.to_thread(emulator.wait_for, lambda: len(model.asked) >= 16)
                before = len(answered)
                process.send_signal(signal.SIGTERM)
                probes = await watch()
                await asyncio.gather(*load)
                await asyncio.to_thread(process.wait, 10)
                assert (503, {"fraud-model": "ending"}) in probes
                assert len(answered) > before
                assert outcomes.keys() <= {200, 503, "not accepted"}
                assert sorted(answered) == sorted(model.asked)  # whoever was let in has an answer
                assert process.returncode == 0
