"""What the page shows of the shell is what the shell shows."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from servingclient.emulator import Emulator

pytestmark = [
    pytest.mark.checkout,
    pytest.mark.skipif(sys.platform == "win32", reason="the examples are of a POSIX shell"),
    pytest.mark.timeout(60),  # each command imports the library anew
]
PAGE = Path(__file__).parents[2] / "docs" / "howto-cli.md"
"""Of all pages the one that is about the shell; others show output of real endpoints."""


def steps() -> Iterator[tuple[str, str]]:
    """Each command of the page with what is shown below it."""
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = step.partition("\n")
            yield command, shown


def test_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = Path(sys.executable).with_name("servingclient")
    monkeypatch.setenv("HOME", str(tmp_path))
    with Emulator(tls=False) as emu:
        monkeypatch.setenv("DATABRICKS_HOST", emu.host)
        monkeypatch.setenv("DATABRICKS_TOKEN", emu.token)
        found = list(steps())
        assert found
        for line, shown in found:
            own = f'servingclient() {{ "{command}" "$@"; }}\n{line}'
            done = subprocess.run(
                ["bash", "--norc", "-c", own],
                check=False,  # what it shows is what is compared
                cwd=tmp_path,
                capture_output=True,
                text=True,
            )
            assert (done.stdout, done.stderr) == (shown, ""), line
