"""The linters' own rules are on: each forbidden thing, done on purpose, is reported."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkout


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def ruff(root: Path, as_file: str, source: str) -> str:
    done = subprocess.run(
        [
            tool("ruff"),
            "check",
            "--no-cache",
            "--output-format=concise",
            f"--stdin-filename={as_file}",
            "-",
        ],
        cwd=root,
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "" or done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("as_file", "source"),
    [
        ("src/servingclient/policies/retry.py", "import os\n\nX = os.environ['X']\n"),
        ("src/servingclient/_call.py", "import os\n\nX = os.getenv('X')\n"),
        ("tests/policies/test_retry.py", "import time\n\ntime.sleep(1)\n"),
        ("tests/policies/test_retry.py", "from time import sleep\n\nsleep(1)\n"),
    ],
)
def test_banned_calls_are_reported(
    as_file: str, source: str, request: pytest.FixtureRequest
) -> None:
    assert "TID251" in ruff(request.config.rootpath, as_file, source)


def test_settings_may_read_the_environment(request: pytest.FixtureRequest) -> None:
    source = "import os\n\nX = os.environ['X']\n"
    assert "TID251" not in ruff(
        request.config.rootpath, "src/servingclient/settings/root.py", source
    )


def test_every_ignore_gives_its_reason(request: pytest.FixtureRequest) -> None:
    text = (request.config.rootpath / "pyproject.toml").read_text()
    (listed,) = re.findall(r"^ignore = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    lines = listed.splitlines()
    assert lines
    assert [line for line in lines if not re.fullmatch(r'  "[A-Z]+\d*", +# .{10,}', line)] == []


VIOLATIONS = {
    "policies/quota.py": "import time",  # contract 2
    "errors.py": "from servingclient import _call",  # contract 1
    "auth/access.py": "import socket",  # contract 3
    "transport/pool.py": "import databricks.sdk",  # contract 4
    "emulator/scoring.py": "import servingclient.payload",  # contract 5
}


@pytest.fixture
def copied(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    root = request.config.rootpath
    shutil.copytree(root / "src" / "servingclient", tmp_path / "servingclient")
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(where: Path) -> str:
    done = subprocess.run(
        [tool("lint-imports"), "--no-cache"],
        cwd=where,
        env={"PYTHONPATH": str(where), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_contracts_break_when_they_should(copied: Path) -> None:
    for name, line in VIOLATIONS.items():
        path = copied / "servingclient" / name
        path.write_text(f"{path.read_text()}\n{line}\n")
    output = lint_imports(copied)
    for number in range(1, len(VIOLATIONS) + 1):
        assert re.search(rf"^{number} .*BROKEN\b", output, re.MULTILINE), output


def test_a_new_module_must_choose_its_floor(copied: Path) -> None:
    (copied / "servingclient" / "helpers.py").write_text('"""New."""\n')
    assert re.search(r"^1 .*BROKEN\b", lint_imports(copied), re.MULTILINE)
