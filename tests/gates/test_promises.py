"""Every test that the page of promises names exists, and every numbered promise has its row."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[2]
PAGES = ("reliability.md", "security.md")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NOT_HELD = "**not held**"


def page(name: str = "reliability.md") -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def defined_in(path: Path) -> set[str]:
    """Names of the tests a file defines, also within classes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of each table of three columns."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and not set(cells[0]) <= {"-"}:
            yield cells


@pytest.mark.parametrize("name", PAGES)
def test_every_test_that_is_named_exists(name: str) -> None:
    named = NAMED.findall(page(name))
    assert len(named) > 20
    known: dict[str, set[str]] = {}
    missing = []
    for file, test in named:
        path = ROOT / file
        if file not in known:
            known[file] = defined_in(path) if path.exists() else set()
        if test not in known[file] or not test.startswith("test_"):
            missing.append(f"{file}::{test}")
    assert missing == []


def test_every_row_names_a_test_or_says_that_none_holds_it() -> None:
    for what, promise, held in rows(page()):
        if held != "held by":
            assert promise
            assert NAMED.search(held) or held.startswith(NOT_HELD), what


def test_every_numbered_promise_has_its_row() -> None:
    found = [cells[0] for cells in rows(page())]
    counts = {"F": 10, "T": 15, "R": 8, "B": 5, "P": 4, "C": 5, "A": 7}
    for letter, count in counts.items():
        for number in range(1, count + 1):
            assert found.count(f"{letter}{number}") == 1, f"{letter}{number}"


def test_every_bad_input_and_every_chaos_row_is_told() -> None:
    before, _, after = page().partition("## The chaos matrix")
    bad_inputs = before.partition("## Bad inputs")[2]
    chaos = after.partition("\n## ")[0]
    for text, last in ((bad_inputs, 70), (chaos, 28)):
        numbers: list[int] = []
        for cells in rows(text):
            if match := re.fullmatch(r"(\d+)(?:-(\d+))?", cells[0]):
                numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
        assert numbers == list(range(1, last + 1))
