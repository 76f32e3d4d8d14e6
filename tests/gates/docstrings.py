"""The rules for docstrings of what the API reference describes; kept by tests here and beside
what can be imported elsewhere only.
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

DOCS = Path(__file__).parents[2] / "docs"
ENTRY = re.compile(r"^\.\. auto(class|exception|function):: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)
# what they take is fixed by the port, whose own docstring tells
OF_A_PORT = {"call_begun", "call_ended", "attempt_failed", "client_opened", "client_closed"}
# raised where an object has no such attribute, or a type is wrong; the language says so
OF_THE_LANGUAGE = {"AttributeError", "TypeError", "StopIteration", "StopAsyncIteration"}


@functools.cache
def given() -> frozenset[str]:
    """Classes that users never make."""
    found: frozenset[str] = runpy.run_path(str(DOCS / "given.py"))["GIVEN"]
    return found


def entries() -> Iterator[tuple[str, set[str]]]:
    """Names in the reference, with the members it leaves out."""
    for page in sorted((DOCS / "api").glob("*.md")):
        for _, path, options in ENTRY.findall(page.read_text(encoding="utf-8")):
            apart = re.findall(r":exclude-members: (.*)", options)
            yield path, set(", ".join(apart).split(", "))


def described(
    *, among: tuple[str, ...] = ("",), apart_from: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Classes, functions and public members by their path, of modules that begin so."""
    found: dict[str, Any] = {}
    for path, apart in entries():
        if not path.startswith(among) or path.startswith(apart_from):
            continue
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


def says_what_it_is(path: str, value: Any) -> None:
    summary = text_of(value).split("\n\n")[0]
    assert summary.endswith((".", ":", "::")), path


def tells_its_arguments(path: str, value: Any) -> None:
    """Each one, where there are several or it is a class."""
    if inspect.isclass(value):
        if made_by_users(value) and path not in given():
            told = told_of(value)
            assert [name for name in parameters(value) if f"{name}: " not in told] == [], path
    elif path.rpartition(".")[2] not in OF_A_PORT and len(parameters(value)) > 1:
        told = told_of(value)
        missing = [
            name
            for name in parameters(value)
            if not re.search(rf"^ +\*{{0,2}}{name}: ", told, re.MULTILINE)
        ]
        assert missing == [], path


def tells_its_fields(path: str, value: Any) -> None:
    if inspect.isclass(value):
        told = section(text_of(value), "Attributes", "Args")
        below = documented_below(value)
        for name in fields_of(value):
            assert name in below or re.search(rf"^ +{name}: ", told, re.MULTILINE), f"{path}.{name}"


def tells_what_it_raises(path: str, value: Any) -> None:
    if not inspect.isclass(value):
        told = section(text_of(value), "Raises")
        assert [name for name in raised(value) if name not in told] == [], path


def says_the_unit(path: str, value: Any) -> None:
    """The name of a duration ends in its unit, or its text names it."""
    told = "" if inspect.isclass(value) else section(text_of(value), "Args")
    for name in {"timeout", "ttl", "seconds"} & set(parameters(value) if told else ()):
        words = " ".join(re.findall(rf"^ +{name}: (.*(?:\n {{6,}}.*)*)", told, re.MULTILINE))
        assert not words or re.search(r"[Ss]econds|long|As for", words), f"{path}: {name}"


RULES = (
    says_what_it_is,
    tells_its_arguments,
    tells_its_fields,
    tells_what_it_raises,
    says_the_unit,
)


def hold(found: dict[str, Any]) -> None:
    """Raises AssertionError with the path of the first that breaks a rule."""
    for rule in RULES:
        for path, value in found.items():
            rule(path, value)
