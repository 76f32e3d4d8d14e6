"""Two real worker processes of one service, scraped through either of them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from servingclient.emulator import Emulator

WORKERS = 2
READY = "Application startup complete"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[[str], bytes]]:
    """``service("/score")`` asks one of two uvicorn workers."""
    files = tmp_path / "metrics"
    files.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "worker_app:app", "--workers", str(WORKERS)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--app-dir", str(Path(__file__).parent)]
    command += ["--timeout-worker-healthcheck", "60"]  # or a slow machine's workers are killed
    with Emulator(tls=False) as emulator:
        environment = {
            "PROMETHEUS_MULTIPROC_DIR": str(files),
            "DATABRICKS_HOST": emulator.host,
            "DATABRICKS_TOKEN": emulator.token,
            "PATH": "/usr/bin:/bin",
        }
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        said, ready = read_along(process)
        try:
            assert ready.wait(40), "".join(said)
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30
            ) as client:
                yield lambda path: client.get(path).raise_for_status().content
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
            assert process.stderr is not None
            process.stderr.close()


def read_along(process: subprocess.Popen[str]) -> tuple[list[str], threading.Event]:
    """What the service says, and when all of its workers are up."""
    said: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if sum(READY in one for one in said) == WORKERS:
                ready.set()

    threading.Thread(target=read, daemon=True).start()
    return said, ready


def total(text: bytes, name: str) -> float:
    families = text_string_to_metric_families(text.decode())
    return sum(s.value for family in families for s in family.samples if s.name == name)


@pytest.mark.soak
@pytest.mark.timeout(60)  # two interpreters start, and import what a service imports
def test_each_worker_tells_of_all(service: Callable[[str], bytes]) -> None:
    pids: set[Any] = set()
    calls = 0
    while len(pids) < WORKERS or calls < 20:
        assert calls < 500, "the kernel never chose the other worker"
        pid, predictions = json.loads(service("/score"))
        assert predictions == [3.0]
        pids.add(pid)
        calls += 1
    for _ in range(6):  # whichever answers
        text = service("/metrics")
        assert total(text, "servingclient_call_duration_seconds_count") == calls
    assert b"pid=" not in text
