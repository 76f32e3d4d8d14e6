"""Everything the API reference describes says what it takes, returns and raises.

What counts as public is what ``docs/api`` lists, less the members it leaves out; a gate of its own
holds that list against the doors (test_site.py).
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import itertools
import re
import runpy
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.checkout

DOCS = Path(__file__).parents[2] / "docs"
if not DOCS.exists():
    pytest.skip("there are no pages beside the wheel", allow_module_level=True)
API = DOCS / "api"
GIVEN: frozenset[str] = runpy.run_path(str(DOCS / "given.py"))["GIVEN"]
ENTRY = re.compile(r"^\.\. auto(class|exception|function):: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)
# the engine may be missing here, and databricks-sdk costs 2 s
APART = tuple(f"servingclient.integrations.{name}." for name in ("databricks_sdk", "locust"))
# what they take is fixed by the port, whose own docstring tells
OF_A_PORT = {"call_begun", "call_ended", "attempt_failed", "client_opened", "client_closed"}
# raised where an object has no such attribute, or a type is wrong; the language says so
OF_THE_LANGUAGE = {"AttributeError", "TypeError", "StopIteration", "StopAsyncIteration"}


def entries() -> Iterator[tuple[str, set[str]]]:
    """Names in the reference that can be imported here, with the members it leaves out."""
    for page in sorted(API.glob("*.md")):
        for _, path, options in ENTRY.findall(page.read_text(encoding="utf-8")):
            if not path.startswith(APART):
                apart = re.findall(r":exclude-members: (.*)", options)
                yield path, set(", ".join(apart).split(", "))


def described() -> dict[str, Any]:
    """Classes, functions and public members by their path."""
    found: dict[str, Any] = {}
    for path, apart in entries():
        module, _, name = path.rpartition(".")
        value = found[path] = getattr(importlib.import_module(module), name)
        if inspect.isclass(value):
            for member, held in vars(value).items():
                if not member.startswith("_") and member not in apart and called(held):
                    found[f"{path}.{member}"] = called(held)
    return found


def called(held: Any) -> Any:
    """The function behind a member, or None."""
    if isinstance(held, (classmethod, staticmethod)):
        return held.__func__
    if isinstance(held, property):
        return held.fget
    if isinstance(held, functools.cached_property):
        return held.func
    return held if inspect.isfunction(held) else None


ALL = described()
FUNCTIONS = {path: value for path, value in ALL.items() if not inspect.isclass(value)}
CLASSES = {path: value for path, value in ALL.items() if inspect.isclass(value)}


def text_of(value: Any) -> str:
    return inspect.getdoc(value) or ""


def section(text: str, *names: str) -> str:
    """The part of a docstring below one of these headings."""
    found = re.findall(rf"^(?:{'|'.join(names)}):\n((?:[ ]+.*\n?|\n)+)", text, re.MULTILINE)
    return "\n".join(found)


def parameters(function: Any) -> list[str]:
    known = inspect.signature(function).parameters
    return [name for name in known if name not in ("self", "cls") and not name.startswith("_")]


def raised(function: Any) -> set[str]:
    """Exceptions that a function makes and raises itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    names = {
        one.func.id
        for one in calls
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id[0].isupper()
    }
    return names - OF_THE_LANGUAGE


def fields_of(kind: type) -> list[str]:
    """What a user gives, or reads, of a dataclass or named tuple."""
    if dataclasses.is_dataclass(kind):
        return [one.name for one in dataclasses.fields(kind) if not one.name.startswith("_")]
    return list(getattr(kind, "_fields", ()))


def made_by_users(kind: type) -> bool:
    """Whether it has an ``__init__`` that is not a dataclass', an error's or a port's."""
    apart = issubclass(kind, Exception) or fields_of(kind) or getattr(kind, "_is_protocol", False)
    return "__init__" in vars(kind) and not apart


def told_of(value: Any) -> str:
    """Its arguments, by themselves or by naming whose they are."""
    text = text_of(value)
    whole = re.search(r"\b[Aa]rguments\b[^.]* (is|are)( those)? of", text)
    if whole:
        return "\n".join(f"    {name}: " for name in parameters(value))
    return section(text, "Args")


def documented_below(kind: type) -> set[str]:
    """Fields with a text of their own below them."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id
        for field, below in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
    }


def test_there_is_something_to_read() -> None:
    assert len(CLASSES) > 100
    assert len(FUNCTIONS) > 200


def test_everything_says_what_it_is() -> None:
    for path, value in ALL.items():
        summary = text_of(value).split("\n\n")[0]
        assert summary.endswith((".", ":", "::")), path


def test_every_argument_is_told_where_there_are_several() -> None:
    for path, function in FUNCTIONS.items():
        names = parameters(function)
        if len(names) < 2 or path.rpartition(".")[2] in OF_A_PORT:
            continue
        told = told_of(function)
        missing = [
            name for name in names if not re.search(rf"^ +\*{{0,2}}{name}: ", told, re.MULTILINE)
        ]
        assert missing == [], path


def test_every_argument_of_a_class_is_told() -> None:
    for path, kind in CLASSES.items():
        if made_by_users(kind) and path not in GIVEN:
            told = told_of(kind)
            missing = [name for name in parameters(kind) if f"{name}: " not in told]
            assert missing == [], path


def test_every_field_is_told() -> None:
    for path, kind in CLASSES.items():
        told = section(text_of(kind), "Attributes", "Args")
        below = documented_below(kind)
        for name in fields_of(kind):
            assert name in below or re.search(rf"^ +{name}: ", told, re.MULTILINE), f"{path}.{name}"


def test_what_is_raised_is_told() -> None:
    for path, function in FUNCTIONS.items():
        told = section(text_of(function), "Raises")
        missing = [name for name in raised(function) if name not in told]
        assert missing == [], path


def test_durations_and_sizes_say_their_unit() -> None:
    """A number's name ends in its unit, or its text names it."""
    for path, function in FUNCTIONS.items():
        told = section(text_of(function), "Args")
        for name in parameters(function):
            if name in ("timeout", "ttl", "seconds"):
                line = re.findall(rf"^ +{name}: (.*(?:\n {{6,}}.*)*)", told, re.MULTILINE)
                words = " ".join(line)
                assert not line or re.search(r"[Ss]econds|long|As for", words), f"{path}: {name}"


def test_the_gate_notices() -> None:
    def careless(first: int, second: int) -> None:
        """Do.

        Args:
            first: Told.
        """
        raise ValueError("not told")

    told = section(text_of(careless), "Args")
    assert parameters(careless) == ["first", "second"]
    assert "first: " in told
    assert "second: " not in told
    assert raised(careless) == {"ValueError"}
