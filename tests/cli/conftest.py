"""The command as a shell calls it, on an emulator that has no TLS."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from servingclient import cli
from servingclient.emulator import Emulator
from tests.cli.shell import Done, Run


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(tls=False) as running:
        yield running


@pytest.fixture
def run(
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Run:
    monkeypatch.setenv("DATABRICKS_HOST", emulator.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", emulator.token)
    monkeypatch.setenv("HOME", str(tmp_path))

    def ran(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = cli.main(list(arguments))
        return Done(code, *capsys.readouterr())

    return ran
