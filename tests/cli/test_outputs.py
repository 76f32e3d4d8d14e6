"""What the commands write to: files, devices, pipes, and streams that take nothing."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
from pathlib import Path

import pytest

from servingclient.cli import piped
from tests.cli.shell import COMMAND, ROWS, Run

FULL = Path("/dev/full")


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS)
    return path


def test_a_pipe_by_name_stays_a_pipe(run: Run, given: Path, tmp_path: Path) -> None:
    """As would /dev/null: a rename to it would put a file in its place for all of the machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert run("map", "demo", "--input", str(given), "--output", str(pipe)).code == 0
    reader.join(10)
    assert read == ["3.0\n7.5\n"]
    assert pipe.is_fifo()


def test_a_link_stays_a_link(run: Run, given: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("of before")
    link.symlink_to(target)
    assert run("map", "demo", "--input", str(given), "--output", str(link)).code == 0
    assert link.is_symlink()
    assert target.read_text() == "3.0\n7.5\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--output", "rows.jsonl"], "--output and --input name the same file"),
        (["--output", "a", "--checkpoint", "./a"], "--output and --checkpoint name the same file"),
        (["--output", "."], "is a folder"),
    ],
)
def test_an_output_that_would_cost_the_input_or_the_job_is_refused(
    run: Run, given: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(given.parent)
    code, out, err = run("map", "demo", "--input", "rows.jsonl", *arguments)
    assert (code, out, given.read_text()) == (2, "", ROWS)
    assert told in err
    assert list(given.parent.iterdir()) == [given]


@pytest.mark.skipif(not FULL.exists(), reason="there is no device that is always full")
def test_a_full_disk_is_told(run: Run, given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Path, "replace")  # a defect must not cost the machine its device
    code, out, err = run("map", "demo", "--input", str(given), "--output", str(FULL))
    assert (code, out) == (1, "")
    assert err == "servingclient map: /dev/full took no more: No space left on device.\n"


@pytest.mark.parametrize(
    ("stream", "code", "told"),
    [
        (">/dev/full", 1, "the standard output took no more: No space left on device."),
        (">&-", 1, "the standard output took no more: Bad file descriptor."),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        ("<&-", 2, "The standard input is closed"),
    ],
)
@pytest.mark.skipif(not FULL.exists(), reason="there is no device that is always full")
def test_streams_that_take_and_give_nothing(run: Run, stream: str, code: int, told: str) -> None:
    script = f"printf '1\\n' | {shlex.join([*COMMAND, 'map', 'demo'])} {stream}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert told in done.stderr
    assert done.stdout == ("1.0\n" if code == 0 else "")
    assert len(done.stderr.splitlines()) == (0 if code == 0 else 1)


def test_what_the_terminal_cannot_write_is_escaped(
    run: Run, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = subprocess.run(
        [*COMMAND, "explain", "demo", "--input", str(given)], capture_output=True, check=True
    )
    assert done.stdout.startswith(rb"2 rows \u00d7 2 columns")


def test_json_that_is_escaped_is_json() -> None:
    text = "caf\u00e9 \u2264 \U0001f377"
    piped.ready()
    escaped = text.encode("ascii", piped.ESCAPED)
    assert escaped == rb"caf\u00e9 \u2264 \ud83c\udf77"
    assert json.loads(b'"%b"' % escaped) == text
    assert "\ud800".encode("utf-8", piped.ESCAPED) == rb"\ud800"
