"""A real master and two real workers, and what their statistics say."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from servingclient.emulator import Emulator

# not imported here: that patches sockets and threads for all tests behind, and Ray waits for ever
if importlib.util.find_spec("locust") is None:
    pytest.skip("locust is not installed: make engines has it", allow_module_level=True)
HERE = Path(__file__).parent


@pytest.fixture
def emu() -> Iterator[Emulator]:
    with Emulator() as emulator:
        emulator.change_endpoint("demo", schema={"a": "double", "b": "double"})
        yield emulator


def begin(emu: Emulator, *options: str, file: Path = HERE / "locustfile.py") -> subprocess.Popen:
    told = {
        "EMULATOR_HOST": emu.host,
        "EMULATOR_TOKEN": emu.token,
        "EMULATOR_CA": str(emu.ca_file),
        "DATABRICKS_TOKEN": emu.token,
    }
    command = [sys.executable, "-m", "locust", "-f", str(file), *options]
    return subprocess.Popen(
        command,
        env=os.environ | told,  # noqa: TID251 - handed down
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen, timeout_s: float = 18.0) -> str:
    try:
        return process.communicate(timeout=timeout_s)[0]
    finally:
        process.kill()


def table(file: Path) -> Mapping[str, Mapping[str, str]]:
    with file.open(newline="") as text:
        return {row["Name"]: row for row in csv.DictReader(text)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.mark.timeout(60)
def test_a_master_and_two_workers(emu: Emulator, tmp_path: Path) -> None:
    port = str(free_port())
    worker = ("--worker", "--master-host", "127.0.0.1", "--master-port", port)
    workers = [begin(emu, *worker) for _ in range(2)]
    load = ("-u", "8", "-r", "8", "-t", "3s", "--headless", "--only-summary")
    master = ("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port)
    files = ("--csv", str(tmp_path / "run"), "--stop-timeout", "5", "--exit-code-on-error", "0")
    told = ended(begin(emu, *master, "--expect-workers", "2", *load, *files), 50)
    said = [ended(process) for process in workers]

    rows = table(tmp_path / "run_stats.csv")
    count = {name: int(row["Request Count"]) for name, row in rows.items()}
    invocations = [r for r in emu.requests if r.path.endswith("/invocations")]
    assert set(rows) == {"demo", "good", "bad", "Aggregated"}, told
    assert count["Aggregated"] == len(invocations)
    assert count["demo"] > 10
    assert count["good"] >= count["bad"] > 10
    assert [int(rows[name]["Failure Count"]) for name in ("demo", "good")] == [0, 0]
    assert rows["bad"]["Failure Count"] == rows["bad"]["Request Count"]
    assert {row["Type"] for row in rows.values()} == {"PREDICT", ""}
    assert float(rows["demo"]["Min Response Time"]) > 0.0
    assert float(rows["demo"]["Average Content Size"]) > 10.0
    failures = table(tmp_path / "run_failures.csv")
    assert [(name, row["Error"]) for name, row in failures.items()] == [("bad", "BadRequest")]
    assert "Traceback" not in "".join([told, *said])
    # a client for each class in each worker, however many users it has
    assert 1 <= sum(r.kind == "describe" for r in emu.requests) <= 4


BROKEN = """
from servingclient.integrations.locust import ServingUser
class Nothing(ServingUser):
    endpoint = "{endpoint}"
"""


@pytest.mark.parametrize(
    ("endpoint", "says"), [("", "names no endpoint"), ("demo", "has nothing to send")]
)
def test_a_class_that_lacks_something_is_told(
    emu: Emulator, tmp_path: Path, endpoint: str, says: str
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN.format(endpoint=endpoint))
    load = ("--headless", "-u", "1", "-t", "3s")
    process = begin(emu, *load, file=tmp_path / "broken.py")
    assert says in ended(process)
    assert process.returncode != 0
    assert not emu.requests


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    page = (HERE.parents[2] / "docs" / "howto-locust.md").read_text(encoding="utf-8")
    (tmp_path / "example.py").write_text(page.split("```python")[1].split("```")[0])
    with Emulator(tls=False) as emu:
        emu.add_endpoint("fraud-model")
        options = ("--headless", "-u", "2", "-r", "2", "-t", "4s", "--host", emu.host)
        told = ended(begin(emu, *options, file=tmp_path / "example.py"))
        assert sum(r.kind == "invocation" for r in emu.requests) > 3
    (counts,) = re.findall(r"PREDICT +fraud-model +(\d+) +(\d+)\(", told.split("stopped")[-1])[-1:]
    assert int(counts[0]) > 3, told
    assert counts[1] == "0"


def test_its_docstrings_tell_everything() -> None:
    # in a process of its own: importing locust patches sockets and threads
    script = (
        "import locust; from tests.gates.docstrings import described, hold; "
        "found = described(among=('servingclient.integrations.locust.',)); hold(found); "
        "print(*found)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert "servingclient.integrations.locust.ServingUser.predict" in done.stdout.split()
