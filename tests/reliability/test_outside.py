"""Each test that others wrote has its counterpart here, and the counterpart exists."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

from tests.reliability.outside import OUTSIDE

ROOT = Path(__file__).parents[2]
SIZES = {  # as many as their files have, or the list in use names
    "databricks-sdk-py, tests/test_refreshable.py": 16,
    "google-auth, tests/test__refresh_worker.py": 9,
    "httpcore, tests/test_cancellations.py": 7,
    "psycopg, tests/pool": 12,
    "urllib3, test_socketlevel.py: TestSocketClosing": 18,
    "urllib3, test_socketlevel.py: the rest": 6,
}

PAIRS = [
    pytest.param(theirs, ours, id=theirs)
    for suite in OUTSIDE.values()
    for theirs, all_ours in suite.items()
    for ours in ((all_ours,) if isinstance(all_ours, str) else all_ours)
]


@functools.cache
def functions_in(path: str) -> dict[str, frozenset[str]]:
    """The test functions of a file, each with the texts in its decorators."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {
        node.name: frozenset(
            part.value
            for decorator in node.decorator_list
            for part in ast.walk(decorator)
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        )
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_a_counterpart_exists(theirs: str, ours: str) -> None:
    if "::" not in ours:
        assert ours.endswith("."), "a reason is a sentence"
        return
    path, _, name = ours.partition("::")
    function, _, case = name.removesuffix("]").partition("[")
    assert Path(path).name.startswith("test_"), "else it is not collected"
    assert function in functions_in(path)
    if case:
        assert case in functions_in(path)[function]


def test_the_suites_are_whole() -> None:
    assert {suite: len(OUTSIDE[suite]) for suite in SIZES} == SIZES
    asked = sum(map(len, OUTSIDE.values()))
    reasons = [one for suite in OUTSIDE.values() for one in suite.values() if "::" not in str(one)]
    assert len(reasons) <= asked / 10, "nearly all of it arises here"
