"""Everything the API reference describes says what it takes, returns and raises.

What counts as public is what ``docs/api`` lists, less the members it leaves out; a gate of its own
holds that list against the doors (test_site.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.gates import docstrings
from tests.gates.docstrings import DOCS, RULES, described

pytestmark = pytest.mark.checkout

if not DOCS.exists():
    pytest.skip("there are no pages beside the wheel", allow_module_level=True)
# databricks-sdk costs 2 s, and Locust is not here: tests/dropins and tests/engines hold them to it
APART = tuple(f"servingclient.integrations.{name}." for name in ("databricks_sdk", "locust"))
ALL = described(apart_from=APART)


def test_there_is_something_to_read() -> None:
    classes = [path for path, value in ALL.items() if inspect.isclass(value)]
    assert len(classes) > 100
    assert len(ALL) - len(classes) > 200


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_everything_described(rule: Callable[[str, Any], None]) -> None:
    for path, value in ALL.items():
        rule(path, value)


def test_the_gate_notices() -> None:
    def careless(first: int, second: int) -> None:
        """Do.

        Args:
            first: Told.
        """
        raise ValueError("not told")

    for rule in (docstrings.tells_its_arguments, docstrings.tells_what_it_raises):
        with pytest.raises(AssertionError, match=r"a\.careless"):
            rule("a.careless", careless)
    docstrings.says_what_it_is("a.careless", careless)
