"""What the repository holds: nothing of one machine, of one registry, or half done."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkout

HERE = Path(__file__)
MAX_BYTES = 1_000_000


@pytest.fixture(scope="module")
def tracked(request: pytest.FixtureRequest) -> list[Path]:
    root = request.config.rootpath
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=root,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return [root / name for name in listed.split("\0") if name and (root / name).is_file()]


def found(tracked: list[Path], pattern: str) -> list[str]:
    """Places where a pattern occurs, this file apart."""
    wanted = re.compile(pattern)
    return [
        f"{path}:{number}: {match[0]}"
        for path in tracked
        if path != HERE
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if (match := wanted.search(line))
    ]


def test_the_listing_is_not_empty(tracked: list[Path]) -> None:
    assert HERE in tracked


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?<![\w./])/(home|Users|root|opt|mnt|work|workspace)/\w",
        r"[A-Z]:\\\\?Users",
        r"\.pyenv\b",
        r"/tmp/\w",
    ],
)
def test_no_path_of_a_machine(tracked: list[Path], pattern: str) -> None:
    assert found(tracked, pattern) == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"pypi\.org/simple|pythonhosted\.org|jfrog|nexus|artifactory|devpi",
        r"--(extra-)?index-url|--find-links|PIP_INDEX|UV_INDEX|index_url\s*=",
    ],
)
def test_no_package_index_is_named(tracked: list[Path], pattern: str) -> None:
    assert found(tracked, pattern) == []


def test_no_lock_file(tracked: list[Path]) -> None:
    # a lock file names the index it was made with, and resolves nowhere else
    locks = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml"}
    assert [path for path in tracked if path.name in locks] == []


def test_constraints_are_plain(request: pytest.FixtureRequest) -> None:
    plain = re.compile(r'[a-z0-9-]+==[\w.!+]+( ; python_version (<|>=) "3\.\d+")?')
    for name in ("constraints.txt", "constraints-peer.txt", "constraints-engines.txt"):
        lines = (request.config.rootpath / name).read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert pins
        assert [line for line in pins if not plain.fullmatch(line)] == []
        assert pins == sorted(pins, key=lambda line: re.split("[= ]", line)[0])


def test_nothing_half_done(tracked: list[Path]) -> None:
    assert found(tracked, r"^(<{7}|>{7}|={7})( |$)") == []
    assert found(tracked, r"\b(TODO|FIXME|XXX|HACK)\b") == []


def test_nothing_large(tracked: list[Path]) -> None:
    assert [path for path in tracked if path.stat().st_size > MAX_BYTES] == []
